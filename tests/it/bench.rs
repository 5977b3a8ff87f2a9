//! `bilico bench`: its figures agree with what the balancer and the servers count.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use bilico_testkit::{Ended, Farm, Running, Terminal, bilico, program, run, status, wait_until};

/// `bilico bench` against the farm's balancer with these arguments.
fn command(farm: &Farm, args: &[&str]) -> Command {
    let mut command = bilico(&["bench", "--balancer", &farm.balancer.address]);
    command.args(args).current_dir(farm.dir.path());
    command
}

/// Runs it to its end.
fn bench(farm: &Farm, args: &[&str]) -> Ended {
    run(&mut command(farm, args), "")
}

/// Runs it with `--json` and returns the object. It must succeed.
#[track_caller]
fn figures(farm: &Farm, args: &[&str]) -> Value {
    let ended = bench(farm, &[args, &["--json"]].concat());
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    object(&ended)
}

#[track_caller]
fn object(ended: &Ended) -> Value {
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Checks that percentiles are there, in their order, and above zero.
#[track_caller]
fn check_percentiles(times: &Value) {
    let at: Vec<f64> = ["p50", "p90", "p99", "p999", "max"]
        .iter()
        .map(|name| times[name].as_f64().unwrap())
        .collect();
    assert!(at.is_sorted() && at[0] > 0.0, "{times}");
}

/// The content of stored files by the part of their names after the number.
fn by_title(farm: &Farm) -> BTreeMap<String, Vec<u8>> {
    let stored = farm.all_stored().into_iter();
    let titled: Vec<_> = stored
        .map(|(name, content)| (name.split_once('_').unwrap().1.to_owned(), content))
        .collect();
    let (count, titled) = (titled.len(), BTreeMap::from_iter(titled));
    assert_eq!(titled.len(), count, "a title came twice");
    titled
}

#[test]
fn every_file_is_stored_once_and_counted_once() {
    let farm = Farm::start(&[2, 1]);
    let args = [
        "--files",
        "700",
        "--warm-up",
        "50",
        "--size",
        "1000",
        "-c",
        "3",
        "--in-flight",
        "20",
    ];
    let started = Instant::now();
    let report = figures(&farm, &args);
    let took = started.elapsed().as_secs_f64();
    let stored = by_title(&farm);
    let titles: Vec<String> = (0..750).map(|file| format!("bench-{file}")).collect();
    assert!(
        titles.iter().all(|title| stored.contains_key(title)) && stored.len() == 750,
        "{:?}",
        stored.keys()
    );
    let content = &stored["bench-0"];
    assert!(content.len() == 1000 && stored.values().all(|other| other == content));
    assert!(
        content.windows(2).any(|pair| pair[0] != pair[1]),
        "it should not look like nothing"
    );
    assert_eq!(
        (&report["files"], &report["bytes"]),
        (&700.into(), &700_000.into()),
        "the warm-up does not count"
    );
    for nothing in ["refused", "dead", "missing"] {
        assert_eq!(report[nothing], 0, "{report}");
    }
    let (seconds, rate) = (
        report["seconds"].as_f64().unwrap(),
        report["files_per_s"].as_f64().unwrap(),
    );
    assert!(seconds > 0.0 && seconds < took, "{seconds} s of {took} s");
    assert!((rate * seconds / 700.0 - 1.0).abs() < 0.05, "{report}");
    assert!(
        (report["mb_per_s"].as_f64().unwrap() * 1000.0 / rate - 1.0).abs() < 0.01,
        "{report}"
    );
    check_percentiles(&report["accepted_ms"]);
    check_percentiles(&report["delivered_ms"]);
    assert!(
        report["delivered_ms"]["max"].as_f64().unwrap() <= took * 1000.0,
        "{report}"
    );
    assert!(
        report["delivered_ms"]["p50"].as_f64() >= report["accepted_ms"]["p50"].as_f64(),
        "{report}"
    );
    let settings = &report["settings"];
    assert_eq!(
        (
            &settings["connections"],
            &settings["in_flight"],
            &settings["rate"]
        ),
        (&3.into(), &20.into(), &Value::Null)
    );
}

#[test]
fn a_mix_of_sizes_is_stored_as_it_was_asked_for() {
    let farm = Farm::start(&[1]);
    let args = [
        "--files",
        "400",
        "--size",
        "10,3000:20%,100KB:10%,0:5%",
        "--seed",
        "5",
        "--keys",
        "--title-prefix",
        "m/",
    ];
    let report = figures(&farm, &args);
    let stored = by_title(&farm);
    assert!(
        stored.len() == 400 && stored.keys().all(|title| title.starts_with("m%2F")),
        "{:?}",
        stored.keys()
    );
    let mut counts = BTreeMap::new();
    for content in stored.values() {
        *counts.entry(content.len()).or_insert(0u32) += 1;
    }
    assert_eq!(
        counts.keys().copied().collect::<Vec<_>>(),
        [0, 10, 3000, 100_000]
    );
    for (size, expected) in [(0, 20), (10, 260), (3000, 80), (100_000, 40)] {
        assert!(
            counts[&size].abs_diff(expected) <= expected / 2,
            "{counts:?}"
        );
    }
    let bytes: usize = stored.values().map(Vec::len).sum();
    assert_eq!(report["bytes"], bytes);
}

#[test]
fn accepted_is_enough_where_that_is_waited_for() {
    let farm = Farm::without_servers(&[1]);
    let report = figures(&farm, &["--files", "100", "--wait", "accepted"]);
    assert_eq!(
        (&report["files"], &report["delivered_ms"]),
        (&100.into(), &Value::Null)
    );
    check_percentiles(&report["accepted_ms"]);
    let status = farm.status();
    assert_eq!((status.accepted, status.delivered), (100, 0));
    // No server takes files: those that wait are told apart from those that were not accepted.
    let ended = bench(&farm, &["--files", "10", "--timeout", "1s"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(4), ""),
        "{ended:?}"
    );
    assert!(
        ended.stderr.contains("10 files are not delivered"),
        "{ended:?}"
    );
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let farm = Farm::start(&[1]);
    let report = figures(
        &farm,
        &["--rate", "200", "--files", "300", "--connections", "4"],
    );
    assert_eq!(
        (&report["files"], &report["held_back"]),
        (&300.into(), &0.into())
    );
    // The last file is due after 1.495 s.
    let seconds = report["seconds"].as_f64().unwrap();
    assert!((1.49..4.0).contains(&seconds), "{report}");
    assert_eq!(
        (
            &report["settings"]["rate"],
            &report["settings"]["in_flight"]
        ),
        (&200.0.into(), &Value::Null)
    );
    assert_eq!(by_title(&farm).len(), 300);
    let timed = figures(
        &farm,
        &["--rate", "100", "--duration", "1s", "--warm-up", "10"],
    );
    assert_eq!(timed["files"], 100);
    assert!(timed["seconds"].as_f64().unwrap() > 0.98, "{timed}");
}

/// A balancer that is stopped for a while delays the files that were due meanwhile: their times
/// begin when they were due.
#[test]
fn the_open_loop_omits_nothing_while_the_balancer_stands_still() {
    let farm = Farm::start(&[1]);
    let running = Running::start(&mut command(
        &farm,
        &[
            "--rate", "200", "--files", "400", "--wait", "accepted", "--json",
        ],
    ));
    wait_until("the first files", || farm.status().accepted > 20);
    farm.balancer.signal("STOP");
    std::thread::sleep(Duration::from_secs(1));
    farm.balancer.signal("CONT");
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let times = object(&ended)["accepted_ms"].clone();
    // Half of the files were due in that second, and waited half a second on average.
    assert!(
        times["max"].as_f64().unwrap() > 900.0 && times["p90"].as_f64().unwrap() > 500.0,
        "{times}"
    );
}

#[test]
fn a_run_lasts_as_long_as_it_was_told() {
    let farm = Farm::start(&[1]);
    let report = figures(&farm, &["--duration", "1s", "--in-flight", "4"]);
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(
        (0.9..5.0).contains(&seconds) && report["files"].as_u64().unwrap() > 10,
        "{report}"
    );
    assert_eq!(
        by_title(&farm).len() as u64,
        report["files"].as_u64().unwrap()
    );
}

#[test]
fn refused_files_are_counted_and_named() {
    let farm = Farm::with(
        &[1],
        &[],
        &["--queue-bytes", "1MiB", "--max-json", "100KiB"],
    );
    let ended = bench(
        &farm,
        &["--files", "60", "--size", "100,600KiB:30%", "--json"],
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report = object(&ended);
    let (files, refused) = (
        report["files"].as_u64().unwrap(),
        report["refused"].as_u64().unwrap(),
    );
    assert!(
        files + refused == 60 && (6..=30).contains(&refused) && report["missing"] == 0,
        "{report}"
    );
    let stored = by_title(&farm);
    assert!(stored.len() as u64 == files && stored.values().all(|content| content.len() == 100));
    let failures = report["failures"].as_array().unwrap();
    assert_eq!(
        (failures.len(), &failures[0]["code"], &failures[0]["files"]),
        (1, &"too_large".into(), &refused.into())
    );
    assert!(
        !stored.contains_key(failures[0]["first"].as_str().unwrap()),
        "{report}"
    );
    let says = format!("error: {refused} files refused (too_large); the first was bench-");
    assert!(
        ended.stderr.starts_with(&says) && ended.stderr.contains("at most"),
        "{ended:?}"
    );
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    for (args, says) in [
        (&["--size", "1KiB:60%,2KiB:60%"][..], "120%"),
        (&["--size", "1KiB,2KiB"], "only one"),
        (&["--size", "much"], "invalid size"),
        (&["--rate", "0"], "invalid rate"),
        (&["--rate", "5", "--in-flight", "3"], "cannot be used with"),
        (&["--files", "5", "--duration", "3s"], "cannot be used with"),
        (&["--files", "0"], "at least 1"),
        (&["--files", "5", "--hold", "3s"], "--hold sends no files"),
        (&["--connections", "0"], "0"),
        (&["--in-flight", "0"], "0"),
        (&["--duration", "0"], "expected more than 0"),
        (
            &["--title-prefix", &"x".repeat(4090)],
            "expected at most 4076 bytes",
        ),
    ] {
        let ended = run(bilico(&["bench"]).args(args), "");
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{args:?}: {ended:?}"
        );
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
    }
}

#[test]
fn nobody_there_and_somebody_else_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = std::thread::spawn(move || drop(listener.accept()));
    let ended = run(&mut bilico(&["bench", "--balancer", &address]), "");
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(3), ""),
        "{ended:?}"
    );
    other.join().unwrap();
    let ended = run(&mut bilico(&["bench", "--balancer", &address]), "");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains("error: cannot reach the balancer")
            && ended.stderr.contains("hint: "),
        "{ended:?}"
    );
}

/// When so many files are delivered, the load generator has receipts: it has fewer under way on all
/// of its connections, and with `--rate 300` these take longer than a second.
const SURELY_TOLD: u64 = 400;

#[test]
fn a_balancer_that_dies_is_an_error_and_what_was_measured_is_told() {
    for args in [
        &["-c", "3"][..],
        &["--rate", "300"],
        &["--rate", "300", "-c", "300", "--wait", "accepted"],
    ] {
        let mut farm = Farm::start(&[1]);
        let running = Running::start(&mut command(
            &farm,
            &[&["--files", "1000000", "--json"], args].concat(),
        ));
        wait_until("receipts", || farm.status().delivered > SURELY_TOLD);
        farm.balancer.kill();
        let ended = running.wait();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            ended
                .stderr
                .starts_with("error: the connection to the balancer was lost"),
            "{ended:?}"
        );
        assert!(ended.stderr.contains(" sent files were "), "{ended:?}");
        assert!(object(&ended)["files"].as_u64().unwrap() > 0, "{ended:?}");
    }
}

#[test]
fn an_interrupted_run_tells_what_was_measured() {
    let farm = Farm::start(&[1]);
    let running = Running::start(&mut command(&farm, &["--duration", "1h", "--json"]));
    wait_until("receipts", || farm.status().delivered > SURELY_TOLD);
    running.signal("INT");
    let ended = running.wait();
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(130), "error: interrupted\n"),
        "{ended:?}"
    );
    assert!(object(&ended)["files"].as_u64().unwrap() > 0, "{ended:?}");
}

#[test]
fn idle_connections_are_held_and_counted() {
    let farm = Farm::start(&[1]);
    let ended = bench(
        &farm,
        &[
            "--connections",
            "300",
            "--files",
            "0",
            "--hold",
            "500ms",
            "--json",
        ],
    );
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    let held = object(&ended);
    assert_eq!(
        (&held["connections"], &held["opened"], &held["stayed"]),
        (&300.into(), &300.into(), &300.into())
    );
    assert!(held["hold_seconds"].as_f64().unwrap() >= 0.5, "{held}");
    assert_eq!(farm.status().accepted, 0);
}

#[test]
fn idle_connections_that_are_closed_are_missed() {
    let farm = Farm::with(&[1], &[], &["--idle-timeout", "200ms"]);
    let ended = bench(&farm, &["--connections", "20", "--hold", "2s"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stdout.starts_with("20 connections opened in ")
            && ended.stdout.contains(", 0 of them open"),
        "{ended:?}"
    );
    assert_eq!(
        ended.stderr,
        "error: 20 connections were closed by the balancer\n"
    );
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let farm = Farm::start(&[1]);
    let limited = |limit: &str, connections: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"])
            .arg(program());
        command.args([
            "bench",
            "--balancer",
            &farm.balancer.address,
            "--hold",
            "100ms",
            "-c",
            connections,
        ]);
        run(command.env(bilico_testkit::ACT_AS_BILICO, "1"), "")
    };
    let raised = limited("-Sn 100", "300");
    assert_eq!(raised.code, Some(0), "{raised:?}");
    let too_low = limited("-n 100", "300");
    assert_eq!(
        (too_low.code, too_low.stdout.as_str()),
        (Some(1), ""),
        "{too_low:?}"
    );
    assert!(
        too_low.stderr.contains("this process may have 100") && too_low.stderr.contains("hint: "),
        "{too_low:?}"
    );
}

#[test]
fn a_terminal_shows_a_live_line_and_then_the_table() {
    let farm = Farm::start(&[1]);
    let address = &farm.balancer.address;
    let mut terminal = Terminal::start(
        farm.dir.path(),
        &[
            "bench",
            "--balancer",
            address,
            "--rate",
            "200",
            "--files",
            "300",
        ],
    );
    terminal.expect("/300");
    terminal.expect("files/s");
    let (code, rest) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(
        rest.contains("300 files in ") && rest.contains("p99.9") && rest.contains("delivered"),
        "{rest}"
    );
    assert_eq!(status(address).delivered, 300);
}
