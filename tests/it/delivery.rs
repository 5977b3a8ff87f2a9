//! Files reach the servers by weight, whatever dies or stalls.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bilico_testkit::{
    Farm, Role, Wire, bilico, pretend, server_hello, sized, start_balancer, start_server, status,
    stored, wait_until,
};
use serde_json::json;

/// So many files that a server is killed or stopped in their midst.
fn many() -> usize {
    sized(800, 2000)
}

/// Writes `count` files of `size` bytes into the farm's directory and returns their folder.
fn make_files(farm: &Farm, count: usize, size: usize) -> String {
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..count {
        let mut content = format!("file {file} ").into_bytes();
        content.resize(size, b'x');
        fs::write(folder.join(format!("{file}.bin")), content).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

/// Starts to send a folder and returns the process.
fn start_sending(farm: &Farm, folder: &str, wait: &str) -> std::process::Child {
    bilico(&[
        "send",
        "-r",
        folder,
        "--balancer",
        &farm.balancer.address,
        "--wait",
        wait,
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap()
}

/// Checks that `count` files are stored, each with the content of its source.
fn check_stored(farm: &Farm, folder: &str, count: usize) {
    let stored = farm.all_stored();
    assert_eq!(stored.len(), count);
    for (name, content) in stored {
        let title = name.split_once('_').unwrap().1;
        assert_eq!(
            content,
            fs::read(format!("{folder}/{title}")).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn six_hundred_files_go_three_to_two_to_one() {
    let farm = Farm::start(&[3, 2, 1]);
    let folder = make_files(&farm, 600, 300);
    let output = farm.send(&["-r", &folder]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        [0, 1, 2].map(|place| farm.stored(place).len()),
        [300, 200, 100]
    );
    check_stored(&farm, &folder, 600);
}

/// Every file is delivered although one server dies half way. Once it is back, it is used again. A
/// file that the dead server had stored but not acknowledged may be there twice: see the README's
/// limits.
#[test]
fn a_killed_server_loses_nothing_and_is_used_again() {
    let mut farm = Farm::start(&[3, 2, 1]);
    let folder = make_files(&farm, many(), 20_000);
    let sending = start_sending(&farm, &folder, "delivered");
    wait_until("some files to be delivered", || {
        farm.server_status(0).delivered > 50
    });
    let delivered_before = farm.status().delivered;
    farm.servers[0].kill();
    assert!(
        delivered_before < many() as u64,
        "the kill came too late to test anything"
    );
    wait_until("the balancer to notice", || !farm.server_status(0).eligible);
    farm.servers[0].restart();
    let output = sending.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(farm.status().delivered, many() as u64);

    farm.wait_until_up();
    let before = farm.stored(0).len();
    let more = farm.send(&["-r", &folder]);
    assert!(more.status.success(), "{more:?}");
    let back = farm.stored(0).len() - before;
    assert!(
        (many() / 2).abs_diff(back) <= 2,
        "three in six go to the server that is back, give or take two: {back}"
    );

    let titles: std::collections::BTreeSet<String> = (0..3)
        .flat_map(|place| farm.stored(place))
        .map(|(name, content)| {
            let title = name.split_once('_').unwrap().1.to_owned();
            assert_eq!(
                content,
                fs::read(format!("{folder}/{title}")).unwrap(),
                "{name}"
            );
            title
        })
        .collect();
    assert_eq!(titles.len(), many(), "none is missing");
}

#[test]
fn the_files_of_a_frozen_server_go_on_within_seconds() {
    let farm = Farm::start(&[1, 1, 1]);
    let folder = make_files(&farm, 300, 1000);
    farm.servers[1].signal("STOP");
    let started = Instant::now();
    let output = farm.send(&["-r", &folder]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    let frozen = farm.server_status(1);
    assert!(
        !frozen.eligible && frozen.returned > 0,
        "files were in flight to it: {frozen:?}"
    );
    farm.servers[1].signal("CONT");
    farm.wait_until_up();
    let delivered = farm.server_status(1).delivered;
    assert!(farm.send(&["-r", &folder]).status.success());
    assert_eq!(farm.server_status(1).delivered, delivered + 100);
}

#[test]
fn files_wait_while_all_servers_are_down() {
    let mut farm = Farm::start(&[2, 1]);
    farm.servers.iter_mut().for_each(Role::kill);
    wait_until("both to be seen down", || {
        farm.status().servers.iter().all(|server| !server.eligible)
    });
    let folder = make_files(&farm, 90, 500);
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    assert_eq!(farm.status().queue.files(), 90);
    let late = farm.send(&["-r", &folder, "--timeout", "1s"]);
    assert_eq!(
        late.status.code(),
        Some(4),
        "no server is available: {late:?}"
    );
    farm.servers.iter_mut().for_each(Role::restart);
    wait_until("all of them to arrive", || farm.status().delivered == 180);
    assert_eq!(farm.all_stored().len(), 180);
}

#[test]
fn a_stopping_balancer_delivers_what_it_has_and_its_numbers_go_on() {
    let mut farm = Farm::start(&[2, 1]);
    let folder = make_files(&farm, many(), 2000);
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    assert_eq!(farm.balancer.stop(), Some(0));
    check_stored(&farm, &folder, many());
    farm.balancer.restart();
    farm.wait_until_up();
    assert!(farm.send(&["-r", &folder]).status.success());
    assert_eq!(
        farm.all_stored().len(),
        2 * many(),
        "no number is given twice"
    );
}

#[test]
fn a_balancer_that_stops_with_files_waiting_keeps_them_for_its_next_start() {
    let mut farm = Farm::with(&[1], &[], &["--shutdown-timeout", "300ms"]);
    farm.servers[0].kill();
    let folder = make_files(&farm, 5, 10);
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    assert_eq!(farm.balancer.stop(), Some(0));
    assert!(
        farm.log().contains("balancer stopped undelivered=5"),
        "{}",
        farm.log()
    );
    farm.servers[0].restart();
    farm.balancer.restart();
    wait_until("all of them to arrive", || farm.status().delivered == 5);
    check_stored(&farm, &folder, 5);
}

/// A server that is stopped in order acknowledges all files that it has stored, so none is sent
/// twice.
#[test]
fn a_stopping_server_leaves_nothing_lost_and_nothing_double() {
    let mut farm = Farm::start(&[1, 1]);
    let folder = make_files(&farm, many(), 20_000);
    let sending = start_sending(&farm, &folder, "delivered");
    wait_until("some files to be delivered", || {
        farm.server_status(0).delivered > 50
    });
    assert!(
        farm.status().delivered < many() as u64,
        "the stop came too late to test anything"
    );
    assert_eq!(farm.servers[0].stop(), Some(0));
    let output = sending.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    check_stored(&farm, &folder, many());
}

/// What a pretended server does on a link after the greetings.
type OnLink = fn(Wire);

/// A peer that answers probes as a server does, but says that it has this role.
fn pretend_role(role: &str, on_link: OnLink) -> String {
    let mut hello = server_hello();
    hello["role"] = json!(role);
    pretend(&hello, on_link)
}

/// Acknowledges numbers that it was never sent.
fn acknowledge_nonsense(mut wire: Wire) {
    for number in [0, 7_000_000, u64::MAX] {
        wire.say(&json!({"request_type": "stored", "request_number": number}));
    }
    wire.swallow();
}

/// Sends a message that no server sends.
fn talk_nonsense(mut wire: Wire) {
    wire.say(&json!({"request_type": "accepted", "id": 1, "request_number": 1}));
    wire.swallow();
}

/// Checks that the real one of two servers stores all 60 files, and why the pretended one gets
/// none.
fn check_that_the_real_server_gets_all(on_link: OnLink, reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    let real = start_server(dir.path(), 1, &[]);
    let servers = [
        format!("{}=1", pretend_role("server", on_link)),
        format!("{}=1", real.address),
    ];
    let balancer = start_balancer(dir.path(), &servers, &["--stall-timeout", "500ms"]);
    wait_until("the real server to be up", || {
        status(&balancer.address).servers[1].eligible
    });
    for file in 0..60 {
        fs::write(dir.path().join(format!("{file}.bin")), "x").unwrap();
    }
    let files: Vec<String> = (0..60).map(|file| format!("{file}.bin")).collect();
    let mut args = vec!["send", "--balancer", &balancer.address];
    args.extend(files.iter().map(String::as_str));
    let output = bilico(&args).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stored(&dir.path().join("json_files_1")).len(), 60);
    let log = || fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap();
    wait_until("the reason to be logged", || log().contains(reason));
}

#[test]
fn a_server_that_answers_probes_but_acknowledges_nothing_is_left() {
    check_that_the_real_server_gets_all(Wire::swallow, "acknowledged nothing for");
}

#[test]
fn acknowledgements_of_files_that_were_never_sent_deliver_nothing() {
    check_that_the_real_server_gets_all(acknowledge_nonsense, "answers for file 0, which");
}

#[test]
fn a_server_that_talks_nonsense_is_left() {
    check_that_the_real_server_gets_all(talk_nonsense, "unexpected message from the server");
}

#[test]
fn a_balancer_is_not_taken_for_a_server() {
    let farm = Farm::start(&[1]);
    let dir = tempfile::tempdir().unwrap();
    let servers = [
        format!("{}=1", farm.balancer.address),
        format!("{}=1", pretend_role("balancer", Wire::swallow)),
    ];
    let mut balancer = start_balancer(dir.path(), &servers, &[]);
    wait_until("both to be found out", || {
        let reasons: Vec<String> = status(&balancer.address)
            .servers
            .into_iter()
            .filter_map(|server| server.reason)
            .collect();
        reasons.len() == 2 && reasons.iter().all(|reason| !reason.contains("not probed"))
    });
    // At its end it has written all lines.
    balancer.stop();
    let log = fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap();
    assert!(!log.contains("recognised"), "{log}");
}

/// As under systemd's `LimitFSIZE=`: the default action of the signal is to end the process.
#[test]
fn a_server_at_its_limit_of_file_size_refuses_and_lives() {
    let farm = Farm::start(&[1, 1]);
    farm.servers[0].limit("fsize", "100000");
    let folder = make_files(&farm, 6, 200_000);
    let output = farm.send(&["-r", &folder]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((farm.stored(0).len(), farm.stored(1).len()), (0, 6));
    assert!(
        farm.server_log(0).contains("cannot store"),
        "{}",
        farm.server_log(0)
    );
    wait_until("it to be tried again", || farm.server_status(0).eligible);
}
