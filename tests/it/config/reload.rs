//! Reloads while files are sent.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use bilico_testkit::{
    Role, bilico, http, run, start_balancer, start_server, status, stored, wait_for_line,
    wait_until,
};
use serde_json::{Value, json};

use super::place::{Place, servers};

/// The number of files in a round.
const ROUND: usize = 40;

/// Sends these files and waits until all are stored. The test fails if one is not.
#[track_caller]
fn send(balancer: &Role, folder: &Path) {
    let ended = run(
        &mut bilico(&[
            "send",
            "-q",
            "-r",
            folder.to_str().unwrap(),
            "--balancer",
            &balancer.address,
        ]),
        "",
    );
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
}

fn wait_until_up(balancer: &Role) {
    wait_until("all servers to be up", || {
        status(&balancer.address)
            .servers
            .iter()
            .all(|server| server.eligible)
    });
}

fn keep_sending<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    balancer: &'scope Role,
    folder: &'scope Path,
    stop: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, usize> {
    scope.spawn(move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            send(balancer, folder);
            rounds += 1;
        }
        rounds * ROUND
    })
}

#[test]
fn a_reload_under_load_loses_nothing() {
    let place = Place::new("");
    let farm: Vec<Role> = (1..=3)
        .map(|n| start_server(place.path(), n, &[]))
        .collect();
    let [first, second, third] = [0, 1, 2].map(|n: usize| &*farm[n].address);
    let count = |n: usize| stored(&place.path().join(format!("json_files_{n}"))).len();
    place.write(&format!(
        "[balancer]\nservers = [\"{first}=3\", \"{second}=1\"]\n[log]\nlevel = \"warn\"\n"
    ));
    let balancer = place.balancer();
    wait_until_up(&balancer);
    assert!(!place.log().contains("INFO"), "{}", place.log());
    let folder = place.files(ROUND);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sending = keep_sending(scope, &balancer, &folder, &stop);
        wait_until("files on the server that is to go", || {
            count(2) > 0 || sending.is_finished()
        });
        let new = format!("{{ address = \"{third}\", weight = 2 }}");
        place.write(&format!(
            "[balancer]\nservers = [\"{first}=1\", {new}]\n[log]\nlevel = \"info\"\n"
        ));
        place.reload(&balancer);
        wait_until("the old server to be gone", || {
            servers(&balancer).len() == 2 || sending.is_finished()
        });
        let left = count(2);
        wait_until("files on the new server", || {
            count(3) > ROUND || sending.is_finished()
        });
        assert_eq!(count(2), left, "a server that was removed gets files");
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap()
    });
    assert_eq!(
        count(1) + count(2) + count(3),
        sent,
        "each file is stored once"
    );
    assert_eq!(
        servers(&balancer),
        [(first.to_owned(), 1), (third.to_owned(), 2)]
    );

    wait_until_up(&balancer);
    let before = [count(1), count(3)];
    send(&balancer, &place.files(300));
    let gained = [count(1) - before[0], count(3) - before[1]];
    assert_eq!(gained[0] + gained[1], 300);
    assert!(
        (95..=105).contains(&gained[0]),
        "weights 1:2 gave {gained:?}"
    );
    let log = place.log();
    for change in [
        format!("server {first}: weight 1 (was 3)"),
        format!("server {third} added, weight 2"),
        format!("server {second} removed"),
        "log level: info (was warn)".to_owned(),
    ] {
        assert!(log.contains(&change), "no {change:?} in {log}");
    }
    assert!(log.contains("INFO"), "the new level holds");
}

#[test]
fn a_reload_of_a_broken_file_changes_nothing_and_says_why() {
    let place = Place::new("");
    let server = start_server(place.path(), 1, &[]);
    let line = format!("servers = [\"{}=3\"]\n", server.address);
    place.write(&format!("[balancer]\n{line}queue-files = 500\n"));
    let balancer = place.balancer();
    wait_until_up(&balancer);
    let was = servers(&balancer);
    for (broken, problem) in [
        (
            "[balancer]\nservers = [\"127.0.0.1:1\"]\nqueue-file = 9\n",
            "did you mean `queue-files`?",
        ),
        (
            "[balancer]\nservers = [\"127.0.0.1:1\"]\n[server]\nclean = 1\n",
            "bilico.toml:4: [server] clean",
        ),
        (
            "[balancer]\nservers = [\"127.0.0.1:1\"]\nqueue-bytes = \"1MiB\"\n",
            "--queue-bytes",
        ),
        ("[balancer\n", "bilico.toml:1: "),
        ("[balancer]\n", "--server ADDR=WEIGHT"),
    ] {
        place.write(broken);
        balancer.signal("HUP");
        wait_for_line(
            || place.log(),
            &[
                "ERROR",
                "configuration not reloaded, nothing has changed",
                problem,
            ],
        );
        assert_eq!(servers(&balancer), was, "{broken}");
        assert_eq!(status(&balancer.address).queue.max_files, 500);
    }
    fs::remove_file(place.config()).unwrap();
    balancer.signal("HUP");
    wait_for_line(|| place.log(), &["ERROR", "cannot read the file"]);
    send(&balancer, &place.files(5));

    // A file that is valid again is applied.
    place.write(&format!(
        "[balancer]\n{line}queue-files = 600\nlisten = \"127.0.0.1:9\"\n[log]\nkeep = 3\n"
    ));
    place.reload(&balancer);
    assert_eq!(status(&balancer.address).queue.max_files, 600);
    wait_for_line(
        || place.log(),
        &["configuration applied", "queue-files: 600 (was 500)"],
    );
    wait_for_line(
        || place.log(),
        &["WARN", "needs a restart", "log keep: 3 (was 8)"],
    );
    assert!(
        !place.log().contains("listen: "),
        "the flag decides where it listens"
    );
}

#[test]
fn a_reload_says_which_limits_it_applies() {
    let place = Place::new("[balancer]\nservers = [\"127.0.0.1:1\"]\n");
    let balancer = place.balancer();
    let applied = [
        ("in-doubt", "\"wait\""),
        ("max-attempts", "7"),
        ("remember", "\"2h\""),
        ("remember-files", "7"),
        ("queue-files", "7"),
        ("queue-bytes", "\"7GiB\""),
        ("max-json", "\"7MiB\""),
        ("window-files", "7"),
        ("window-bytes", "\"7MiB\""),
        ("probe-interval", "\"7s\""),
        ("probe-timeout", "\"7s\""),
        ("servers-speak", "\"native\""),
        ("fall", "7"),
        ("rise", "7"),
        ("stall-timeout", "\"7s\""),
        ("old-style-timeout", "\"7s\""),
        ("idle-timeout", "\"7s\""),
    ];
    let restart = [
        ("journal", "\"elsewhere\""),
        ("durability", "\"os\""),
        ("segment-size", "\"7MiB\""),
        ("max-connections", "7"),
        ("shutdown-timeout", "\"7s\""),
    ];
    let lines = applied
        .iter()
        .chain(&restart)
        .map(|(key, value)| format!("{key} = {value}\n"));
    place.write(&format!(
        "[balancer]\nservers = [\"127.0.0.1:1\"]\n{}",
        lines.collect::<String>()
    ));
    place.reload(&balancer);
    for (keys, message) in [
        (&applied[..], "configuration applied"),
        (&restart, "needs a restart"),
    ] {
        for (key, value) in keys {
            let change = format!("{key}: {} (was ", value.trim_matches('"'));
            wait_for_line(|| place.log(), &[message, &change]);
        }
    }
    let queue = status(&balancer.address).queue;
    assert_eq!((queue.max_files, queue.max_bytes), (7, 7 << 30));
    assert!(!place.path().join("elsewhere").exists());

    // Settings that need a restart are named at each reload; settings that were applied are not.
    let before = place.log().len();
    place.reload(&balancer);
    let again = place.log().split_off(before);
    assert!(
        again.contains("durability") && !again.contains("queue-files"),
        "{again}"
    );
}

#[test]
fn a_hangup_without_a_file_does_not_end_a_role() {
    let place = Place::new("[log]\nlevel = \"warn\"\n");
    let mut plain = start_server(place.path(), 1, &[]);
    let balancer = start_balancer(place.path(), &["127.0.0.1:1=1".to_owned()], &[]);
    let mut told = start_server(place.path(), 2, &["--config", "bilico.toml"]);
    let log = |role: &Role| {
        let port = role.address.rsplit_once(':').unwrap().1;
        fs::read_to_string(place.path().join(format!("logs/server-{port}.log"))).unwrap()
    };
    plain.signal("HUP");
    wait_for_line(|| log(&plain), &["no configuration file to reload"]);
    balancer.signal("HUP");
    wait_for_line(|| place.log(), &["no configuration file to reload"]);
    assert_eq!(status(&balancer.address).servers.len(), 1);

    // A server applies the level of its log.
    assert!(!log(&told).contains("INFO"));
    place.write("[log]\nlevel = \"info\"\n[server]\nwork-delay = \"1ms\"\n");
    told.signal("HUP");
    wait_for_line(|| log(&told), &["INFO", "log level: info (was warn)"]);
    wait_for_line(
        || log(&told),
        &["WARN", "needs a restart", "work-delay: 1ms (was 0)"],
    );
    assert_eq!((plain.stop(), told.stop()), (Some(0), Some(0)));
}

#[test]
fn a_reload_over_http_takes_back_all_orders_but_drains() {
    let place = Place::new("");
    let farm: Vec<Role> = (1..=2)
        .map(|n| start_server(place.path(), n, &[]))
        .collect();
    let [first, second] = [0, 1].map(|n: usize| &*farm[n].address);
    let file =
        |more: &str| format!("[balancer]\nservers = [\"{first}=3\", \"{second}=1\"]\n{more}");
    place.write(&file(""));
    let balancer = place.balancer();
    wait_until_up(&balancer);
    let reload = || http(&balancer, "POST", "/api/v1/reload", None);
    let answer = reload();
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"applied": [], "restart": []})),
        "nothing is different"
    );

    let patch = |server: &str, change: &Value| {
        let answer = http(
            &balancer,
            "PATCH",
            &format!("/api/v1/servers/{server}"),
            Some(change),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    patch(first, &json!({"weight": 9}));
    patch(second, &json!({"drained": true}));
    place.write(&file("fall = 5\ndurability = \"os\"\n"));
    let answer = reload();
    let applied = [
        format!("server {first}: weight 3 (was 9)"),
        "fall: 5 (was 2)".to_owned(),
    ];
    let wanted = json!({"applied": applied, "restart": ["durability: os (was disk)"]});
    assert_eq!((answer.status, answer.json()), (200, wanted));
    let report = status(&balancer.address).servers;
    assert_eq!(
        report
            .iter()
            .map(|server| (server.weight, server.drained))
            .collect::<Vec<_>>(),
        [(3, false), (1, true)]
    );

    place.write(&file("fal = 5\nrise = 0\n"));
    let answer = reload();
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(
        error.contains("bilico.toml:3: unknown key `fal` in [balancer]; did you mean `fall`?"),
        "{error}"
    );
    assert!(
        error.contains(r#"bilico.toml:4: [balancer] rise: invalid value "0": expected a whole number from 1 to"#),
        "{error}"
    );
    let notices = http(&balancer, "GET", "/api/v1/notices", None).json();
    let kinds: Vec<_> = notices["notices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|notice| &notice["kind"])
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| ***kind == "reloaded").count(),
        2,
        "{notices}"
    );
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| ***kind == "reload_failed")
            .count(),
        1,
        "{notices}"
    );

    let plain = start_balancer(
        place.path(),
        &["127.0.0.1:1=1".to_owned()],
        &["--journal", "other"],
    );
    assert_eq!(http(&plain, "POST", "/api/v1/reload", None).status, 501);
}
