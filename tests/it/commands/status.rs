//! `bilico status` and `bilico events`.

use bilico_testkit::{Farm, Role, Running, Terminal, bilico, run, wait_for};
use serde_json::Value;

use super::helpers::{admin, command, order, printed, printed_json, refused, row, send};

#[test]
fn the_exit_code_of_status_says_whether_files_get_through() {
    let mut farm = Farm::start(&[3, 2, 1]);
    send(&farm, 60, &[]);
    let text = wait_for("the shares to be there", || {
        let text = printed(&farm.balancer, &["status"]);
        (text.contains("60 delivered") && text.contains("50.0 %")).then_some(text)
    });
    assert!(
        text.contains("takes files") && text.contains("60 accepted"),
        "{text}"
    );
    assert!(text.contains("3 of 3 can get files"), "{text}");
    for (server, (weight, delivered)) in
        farm.servers
            .iter()
            .zip([("3", "30"), ("2", "20"), ("1", "10")])
    {
        let row = row(&text, &server.address);
        assert_eq!(row[1], "up", "{text}");
        assert!(row.contains(&weight) && row.contains(&delivered), "{text}");
        assert!(
            row.iter()
                .any(|cell| cell.contains("MiB") || cell.contains("GiB")),
            "its memory: {text}"
        );
    }
    assert!(!text.contains('\x1b'), "no colours off a terminal");

    let whole = printed_json(&farm.balancer, &["status"]);
    assert_eq!(
        (
            &whole["overview"]["accepted"],
            &whole["overview"]["accepting"]
        ),
        (&60.into(), &true.into())
    );
    assert_eq!(whole["servers"].as_array().unwrap().len(), 3);
    assert_eq!(whole["servers"][0]["name"], *farm.servers[0].address);

    farm.servers.iter_mut().for_each(Role::kill);
    let ended = wait_for("all to be seen down", || {
        let ended = order(&farm.balancer, &["status"]);
        (ended.code == Some(4)).then_some(ended)
    });
    assert!(
        ended.stdout.contains("0 of 3 can get files")
            && ended.stdout.contains("takes files, but no server"),
        "{}",
        ended.stdout
    );
    assert_eq!(row(&ended.stdout, &farm.servers[1].address)[1], "down");
    assert_eq!(order(&farm.balancer, &["status", "--json"]).code, Some(4));
}

#[test]
fn a_missing_balancer_has_its_own_exit_code_and_a_hint() {
    let mut farm = Farm::start(&[1]);
    farm.balancer.kill();
    for args in [
        &["status"][..],
        &["status", "--watch"],
        &["weight", "5001", "3"],
        &["drain", "5001", "--wait"],
        &["undrain", "5001"],
        &["servers"],
        &["servers", "list"],
        &["servers", "add", "127.0.0.1:5009=1"],
        &["servers", "remove", "5001"],
        &["reload"],
        &["events"],
        &["events", "-f"],
    ] {
        refused(
            &farm.balancer,
            args,
            3,
            &[
                "error: cannot reach",
                admin(&farm.balancer),
                "hint: is a balancer running there?",
            ],
        );
    }
    // Something else answers there: a server's native port does not speak HTTP.
    let mut elsewhere = bilico(&["status", "--admin", &farm.servers[0].address]);
    let ended = run(&mut elsewhere, "");
    assert!(
        matches!(ended.code, Some(1 | 3)) && ended.stderr.contains("hint: "),
        "{ended:?}"
    );
    let named = run(
        bilico(&["status"]).env("BILICO_ADMIN", admin(&farm.balancer)),
        "",
    );
    assert!(
        named.code == Some(3) && named.stderr.contains(admin(&farm.balancer)),
        "the environment names it: {named:?}"
    );
}

#[test]
fn events_go_on_over_a_restart() {
    let mut farm = Farm::start(&[1]);
    let server = farm.servers[0].address.clone();
    printed(&farm.balancer, &["drain", &server]);
    let before = printed(&farm.balancer, &["events"]);
    let last = before.lines().last().unwrap();
    assert!(
        last.contains("warn") && last.contains(&server) && last.contains("drained"),
        "{before}"
    );
    let id = last.split_whitespace().next().unwrap();
    assert_eq!(printed(&farm.balancer, &["events", "--since-id", id]), "");
    let notices: Vec<Value> = printed(&farm.balancer, &["events", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(notices.len(), before.lines().count());
    let is_drain = |notice: &&Value| notice["kind"] == "drain" && notice["server"] == *server;
    assert_eq!(notices.iter().filter(is_drain).count(), 1, "{notices:?}");

    let following = Running::start(&mut command(&farm.balancer, &["events", "-f"]));
    following.wait_for_output(last);
    printed(&farm.balancer, &["undrain", &server]);
    following.wait_for_output("no longer drained");
    farm.balancer.kill();
    following.wait_for_error("the balancer is away");
    farm.balancer.restart();
    following.wait_for_error("restarted");
    printed(&farm.balancer, &["weight", &server, "7"]);
    let all = following.wait_for_output("weight 7");
    assert_eq!(all.matches("no longer drained").count(), 1, "{all}");
    assert!(
        all.matches("weight 7").count() == 1 && all.contains(" up"),
        "what it missed, it is told: {all}"
    );
    following.signal("TERM");
    assert_ne!(following.wait().code, Some(0));
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let farm = Farm::start(&[1]);
    let show = |args: &[&str], script: &str| {
        let args = [&["status"], args, &["--admin", admin(&farm.balancer)]].concat();
        Terminal::run(farm.dir.path(), script, &args)
    };
    show(&[], r#"exec "$@""#).expect(" \x1b[32mup\x1b[0m ");
    show(&["--no-color"], r#"exec "$@""#).expect(" up ");
    show(&[], r#"NO_COLOR=1 exec "$@""#).expect(" up ");
}

/// Usage lines once showed `--admin` as needed, because a variable had set it; and numbers were
/// refused in the words of the library: "invalid digit found in string", "-1 is not in 0..=1000000".
#[test]
fn a_refused_command_line_is_told_what_is_expected() {
    let of_weight = "for '<WEIGHT>': expected a whole number from 0 to 1,000,000";
    for (args, part) in [
        (&["weight", "5001", "-1"][..], of_weight),
        (&["weight", "5001", "abc"], of_weight),
        (&["weight", "5001", "1000001"], of_weight),
        (&["queue", "show", "abc"], "': expected a whole number"),
        (
            &["logs", "-n", "x"],
            "expected a whole number from 0 to 1,000,000",
        ),
        (
            &["bench", "-c", "0"],
            "expected a whole number from 1 to 60,000",
        ),
        (
            &["weight"],
            "Usage: bilico weight [OPTIONS] <SERVER> <WEIGHT>\n",
        ),
        (
            &["queue", "show"],
            "Usage: bilico queue show [OPTIONS] <NUMBER>\n",
        ),
        (
            &["balancer"],
            "a balancer needs servers: name them with --server ADDR=WEIGHT, or let servers register",
        ),
    ] {
        let ended = run(&mut bilico(args), "");
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
        assert!(
            !ended.stderr.contains("digit"),
            "{args:?}: {}",
            ended.stderr
        );
    }
}
