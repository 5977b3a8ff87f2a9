//! `bilico send`: what scripts rely on.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use bilico_testkit::{Ended, Farm, Running, Terminal, bilico, run, wait_until};

/// How `bilico send` with these arguments, run in the farm's directory, ends.
fn send(farm: &Farm, args: &[&str]) -> Ended {
    run(&mut command(farm, args), "")
}

/// `bilico send` to the farm's balancer with these arguments, in the farm's directory.
fn command(farm: &Farm, args: &[&str]) -> Command {
    let mut command = bilico(&["send", "--balancer", &farm.balancer.address]);
    command.args(args).current_dir(farm.dir.path());
    command
}

/// Writes a file below the farm's directory.
fn write(farm: &Farm, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = farm.dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Makes a pipe with a name that nobody writes to.
fn make_pipe(farm: &Farm, name: &str) {
    let made = Command::new("mkfifo")
        .arg(farm.dir.path().join(name))
        .status()
        .unwrap();
    assert!(made.success());
}

/// The objects that were printed, one a line.
fn objects(stdout: &str) -> Vec<Value> {
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "{stdout:?}");
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// The same without the keys, which are different in each run.
fn without_keys(stdout: &str) -> Vec<Value> {
    let mut objects = objects(stdout);
    for object in &mut objects {
        let key = object.as_object_mut().unwrap().remove("key").unwrap();
        assert!(key.as_str().is_some_and(|key| key.len() > 32), "{key}");
    }
    objects
}

fn hash(content: &str) -> String {
    blake3::hash(content.as_bytes()).to_string()
}

/// Bytes that repeat nowhere, the same in every run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

#[test]
fn any_file_arrives_byte_for_byte() {
    let farm = Farm::start(&[1]);
    let files: [(&str, Vec<u8>); 6] = [
        ("every byte.bin", (0..=255).collect()),
        ("empty", vec![]),
        ("noise.bin", noise(5 * 1024 * 1024)),
        ("due parole, è così.txt", "perché no?\r\n".into()),
        ("😀", vec![0]),
        (
            "payload.json",
            br#"{"title": "t", "content": "not unwrapped"}"#.to_vec(),
        ),
    ];
    for (name, content) in &files {
        write(&farm, name, content);
    }
    let names = files.each_ref().map(|(name, _)| *name);
    let ended = send(&farm, &names);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("6 accepted, 6 delivered"),
        "{}",
        ended.stdout
    );
    let stored = farm.all_stored();
    assert_eq!(stored.len(), files.len());
    for (number, (name, content)) in files.iter().enumerate() {
        assert!(
            stored[&format!("{}_{name}", number + 1)] == *content,
            "{name}"
        );
    }
}

#[test]
fn a_file_sent_twice_is_two_files() {
    let farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    assert_eq!(send(&farm, &["a.txt", "./a.txt"]).code, Some(0));
    assert_eq!(send(&farm, &["a.txt"]).code, Some(0));
    let names: Vec<String> = farm.all_stored().into_keys().collect();
    assert_eq!(names, ["1_a.txt", "2_a.txt", "3_a.txt"]);
}

#[test]
fn payloads_are_unwrapped_when_asked_for_and_those_that_are_none_are_named() {
    let farm = Farm::start(&[1]);
    write(
        &farm,
        "good.json",
        r#"{"title": "inner title.txt", "content": "così \u00e8\n"}"#,
    );
    write(
        &farm,
        "buono.txt",
        r#"{"titolo": "sotto/sopra", "contenuto": "sì"}"#,
    );
    for (name, content) in [
        ("text.json", "no JSON"),
        ("list.json", "[]"),
        ("untitled.json", r#"{"content": "x"}"#),
        ("empty.json", ""),
        ("numbers.json", r#"{"title": "x", "content": 5}"#),
        ("latin1.json", "{\"title\": \"x\", \"content\": \"\u{0}\"}"),
    ] {
        write(&farm, name, content);
        let ended = send(&farm, &["--json-payload", "good.json", name, "buono.txt"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(name),
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .contains("2 accepted, 2 delivered, 1 unreadable"),
            "{ended:?}"
        );
    }
    assert_eq!(
        send(&farm, &["--json-payload", "good.json", "buono.txt"]).code,
        Some(0)
    );
    let stored = farm.all_stored();
    assert_eq!(stored["13_inner title.txt"], "così è\n".as_bytes());
    assert_eq!(stored["14_sotto%2Fsopra"], "sì".as_bytes());
}

#[test]
fn directories_go_with_r_and_titles_tell_the_way_below_them() {
    let farm = Farm::start(&[1]);
    write(&farm, "top/a.txt", "a");
    write(&farm, "top/sub/deeper/b.txt", "b");
    write(&farm, "top/sub/.hidden", "c");
    write(
        &farm,
        Path::new("top").join(OsStr::from_bytes(b"latin\xe8.txt")),
        "d",
    );
    write(&farm, "alone.txt", "e");
    fs::create_dir(farm.dir.path().join("top/empty")).unwrap();
    // It leads in a circle.
    std::os::unix::fs::symlink("..", farm.dir.path().join("top/sub/up")).unwrap();
    let ended = send(&farm, &["-r", "top/", "alone.txt"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut stored: Vec<(String, Vec<u8>)> = farm
        .all_stored()
        .into_iter()
        .map(|(name, content)| (name.split_once('_').unwrap().1.into(), content))
        .collect();
    stored.sort();
    let expected = [
        ("a.txt", "a"),
        ("alone.txt", "e"),
        ("latin\u{fffd}.txt", "d"),
        ("sub%2F.hidden", "c"),
        ("sub%2Fdeeper%2Fb.txt", "b"),
    ];
    assert_eq!(
        stored,
        expected.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()))
    );
}

#[test]
fn a_directory_without_r_is_a_mistake_with_a_hint_and_nothing_is_sent() {
    let farm = Farm::start(&[1]);
    write(&farm, "top/a.txt", "a");
    let ended = send(&farm, &["top/a.txt", "top"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.starts_with("error: top is a directory")
            && ended.stderr.contains("hint: pass -r"),
        "{ended:?}"
    );
    assert_eq!(ended.stdout, "");
    assert_eq!(farm.status().accepted, 0);
}

#[test]
fn an_empty_directory_is_no_failure() {
    let farm = Farm::start(&[1]);
    fs::create_dir(farm.dir.path().join("empty")).unwrap();
    let ended = send(&farm, &["-r", "empty"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("0 accepted, 0 delivered"),
        "{ended:?}"
    );
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    for args in [
        &["missing.txt"][..],
        &["a.txt", "missing.txt"],
        &["-r", "missing.txt"],
        &["a.txt/missing.txt"],
    ] {
        let ended = send(&farm, args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains("missing.txt"),
            "{ended:?}"
        );
    }
}

#[test]
fn what_is_no_file_is_named_and_never_waited_for() {
    let farm = Farm::start(&[1]);
    make_pipe(&farm, "pipe");
    write(&farm, "a.txt", "a");
    let started = Instant::now();
    for other in ["pipe", "/dev/zero", "/dev/stdin"] {
        let ended = send(&farm, &[other, "a.txt"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains(&format!("error: {other}: not a regular file")),
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .contains("1 accepted, 1 delivered, 1 unreadable"),
            "{ended:?}"
        );
    }
    // Among the files of a directory it is passed over, as links are.
    make_pipe(&farm, "top");
    fs::remove_file(farm.dir.path().join("top")).unwrap();
    write(&farm, "top/a.txt", "a");
    make_pipe(&farm, "top/pipe");
    assert_eq!(send(&farm, &["-r", "top"]).code, Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

/// A file that shrinks under the hand can no longer be what was promised: which one it was must be
/// told, and the others go on.
#[test]
fn a_file_that_shrinks_while_it_is_sent_is_named_or_sent_as_it_is_then() {
    let farm = Farm::start(&[1]);
    write(&farm, "shrinking.log", "");
    let path = fs::canonicalize(farm.dir.path())
        .unwrap()
        .join("shrinking.log");
    let file = fs::File::options().write(true).open(&path).unwrap();
    write(&farm, "a.txt", "a");
    for changed in ["fail", "retry"] {
        file.set_len(400 * 1024 * 1024).unwrap();
        let running = Running::start(&mut command(
            &farm,
            &["shrinking.log", "a.txt", "--changed", changed],
        ));
        let fds = format!("/proc/{}/fd", running.pid());
        let is_open = || {
            let links = fs::read_dir(&fds)
                .unwrap()
                .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
            links.into_iter().any(|link| link == path)
        };
        wait_until("the file to be open", is_open);
        farm.balancer.signal("STOP");
        file.set_len(0).unwrap();
        // It connects again for the other file, and cannot before the balancer goes on.
        farm.balancer.signal("CONT");
        let ended = running.wait();
        if changed == "fail" {
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                ended
                    .stderr
                    .contains("error: shrinking.log: not sent: it changed"),
                "{ended:?}"
            );
            assert!(
                ended
                    .stdout
                    .contains("1 accepted, 1 delivered, 1 changed while they were read"),
                "{ended:?}"
            );
            assert_eq!(farm.all_stored().into_values().collect::<Vec<_>>(), [b"a"]);
        } else {
            assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
            assert_eq!(
                farm.all_stored()
                    .into_values()
                    .map(|content| content.len())
                    .sum::<usize>(),
                2
            );
            assert_eq!(farm.all_stored().len(), 3);
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_with_the_reason_and_the_others_go() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "1MiB", "--max-json", "64KiB"]);
    write(&farm, "large.bin", noise(2 * 1024 * 1024));
    write(&farm, "a.txt", "a");
    let ended = send(&farm, &["large.bin", "a.txt", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("error: large.bin: refused: "),
        "{ended:?}"
    );
    let [large, small] = &objects(&ended.stdout)[..] else {
        panic!("{ended:?}")
    };
    assert_eq!(
        (&large["state"], &small["state"]),
        (&"refused".into(), &"delivered".into())
    );
    assert!(large["reason"].is_string(), "{large}");
}

#[test]
fn accepted_can_be_enough() {
    let farm = Farm::without_servers(&[1]);
    write(&farm, "a.txt", "a");
    let ended = send(&farm, &["a.txt", "a.txt", "--wait", "accepted"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("2 accepted, 0 delivered"),
        "{}",
        ended.stdout
    );
    let ended = send(&farm, &["a.txt", "--wait", "accepted", "--json"]);
    let expected = serde_json::json!({
        "path": "a.txt", "title": "a.txt", "bytes": 1, "hash": hash("a"), "state": "accepted", "request_number": 3,
    });
    assert_eq!(without_keys(&ended.stdout), [expected]);
}

#[test]
fn a_time_limit_without_a_server_is_exit_code_4() {
    let farm = Farm::without_servers(&[1]);
    write(&farm, "a.txt", "a");
    let ended = send(&farm, &["a.txt", "--timeout", "300ms", "--json"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(
        ended.stderr.starts_with("error: no server is available")
            && ended.stderr.contains("\nhint: "),
        "{ended:?}"
    );
    assert_eq!(objects(&ended.stdout)[0]["state"], "accepted");
}

#[test]
fn a_time_limit_ends_the_waiting_for_a_frozen_server() {
    let farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    farm.servers[0].signal("STOP");
    let started = Instant::now();
    let ended = send(&farm, &["a.txt", "--timeout", "300ms"]);
    // It is 4 if the balancer has meanwhile noticed, 5 if it has not.
    assert!(matches!(ended.code, Some(4 | 5)), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    wait_until("it to be seen down", || !farm.server_status(0).eligible);
    assert_eq!(send(&farm, &["a.txt", "--timeout", "300ms"]).code, Some(4));
    farm.servers[0].signal("CONT");
    wait_until("both to arrive", || farm.status().delivered == 2);
}

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let farm = Farm::start(&[1]);
    write(&farm, "a \"quoted\".txt", "abc");
    write(&farm, "empty", "");
    make_pipe(&farm, "pipe");
    let args = ["a \"quoted\".txt", "pipe", "empty", "--json"];
    let ended = send(&farm, &args);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let server = &farm.servers[0].address;
    let delivered = |path: &str, content: &str, number: u64| {
        serde_json::json!({
            "path": path, "title": path, "bytes": content.len(), "hash": hash(content), "state": "delivered",
            "request_number": number, "server": server, "confirmed": true,
        })
    };
    let unreadable = serde_json::json!({
        "path": "pipe", "title": "pipe", "bytes": 0, "state": "unreadable", "reason": "not a regular file",
    });
    let expected = [
        delivered("a \"quoted\".txt", "abc", 1),
        unreadable,
        delivered("empty", "", 2),
    ];
    assert_eq!(without_keys(&ended.stdout), expected);
}

#[test]
fn json_tells_each_of_three_thousand_files() {
    let farm = Farm::start(&[3, 2, 1]);
    for file in 0..3000 {
        write(&farm, format!("many/{file}"), file.to_string());
    }
    let ended = send(&farm, &["-r", "many", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let objects = objects(&ended.stdout);
    assert_eq!(objects.len(), 3000);
    for object in &objects {
        let title = object["path"]
            .as_str()
            .unwrap()
            .strip_prefix("many/")
            .unwrap();
        let place = farm
            .servers
            .iter()
            .position(|server| object["server"] == *server.address)
            .unwrap();
        let path = farm
            .server_dir(place)
            .join(format!("{}_{title}", object["request_number"]));
        assert_eq!(fs::read_to_string(path).unwrap(), title, "{object}");
    }
}

#[test]
fn quiet_says_nothing_but_errors() {
    let farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    make_pipe(&farm, "pipe");
    let ended = send(&farm, &["-q", "a.txt"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "", "")
    );
    let ended = send(&farm, &["-q", "a.txt", "pipe"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.stderr, "error: pipe: not a regular file\n");
    let ended = send(&farm, &["-q", "--json", "a.txt"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(2), ""),
        "{ended:?}"
    );
}

#[test]
fn no_balancer_is_exit_code_3_with_a_remedy() {
    let mut farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    farm.balancer.kill();
    for args in [
        &["a.txt"][..],
        &["a.txt", "-q"],
        &["a.txt", "--wait", "accepted"],
    ] {
        let ended = send(&farm, args);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            ended
                .stderr
                .starts_with("error: cannot reach the balancer at "),
            "{ended:?}"
        );
        assert!(
            ended.stderr.contains(&farm.balancer.address) && ended.stderr.contains("\nhint: "),
            "{ended:?}"
        );
    }
    let ended = send(&farm, &["a.txt", "--json"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    objects(&ended.stdout);
}

#[test]
fn a_balancer_that_dies_while_it_is_waited_for_is_told() {
    let mut farm = Farm::without_servers(&[1]);
    write(&farm, "a.txt", "a");
    let running = Running::start(&mut command(
        &farm,
        &["a.txt", "a.txt", "--json", "--retry", "0"],
    ));
    wait_until("both to be accepted", || farm.status().accepted == 2);
    farm.balancer.kill();
    let ended = running.wait();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("error: the connection to the balancer was lost"),
        "{ended:?}"
    );
    for object in objects(&ended.stdout) {
        // A receipt may have died with the balancer, but none is made up.
        assert!(
            object["state"] == "accepted" || object["state"] == "unknown",
            "{ended:?}"
        );
    }
}

#[test]
fn a_balancer_that_dies_in_the_middle_of_a_file_is_told() {
    let mut farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    write(&farm, "large.bin", "");
    fs::File::options()
        .write(true)
        .open(farm.dir.path().join("large.bin"))
        .unwrap()
        .set_len(400 * 1024 * 1024)
        .unwrap();
    let running = Running::start(&mut command(&farm, &["a.txt", "large.bin", "--retry", "0"]));
    wait_until("the first to be accepted", || farm.status().accepted == 1);
    farm.balancer.kill();
    let ended = running.wait();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("error: the connection to the balancer was lost"),
        "{ended:?}"
    );
}

#[test]
fn a_signal_ends_the_waiting_with_130_and_tells_what_is_known() {
    let farm = Farm::without_servers(&[1]);
    write(&farm, "a.txt", "a");
    for (accepted, name) in [(1, "INT"), (2, "TERM")] {
        let running = Running::start(&mut command(&farm, &["a.txt", "--json"]));
        wait_until("it to be accepted", || farm.status().accepted == accepted);
        running.signal(name);
        let ended = running.wait();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert_eq!(objects(&ended.stdout).len(), 1, "{ended:?}");
        assert!(ended.stderr.contains("interrupted"), "{ended:?}");
    }
}

/// Answers each connection with `answer` and gives its address.
fn pretender(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It ends with the test's process; it waits for connections that never come.
    std::thread::spawn(move || {
        listener
            .incoming()
            .for_each(|stream| answer(stream.unwrap()))
    });
    address
}

#[test]
fn what_answers_and_is_no_balancer_is_told_within_seconds() {
    let farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    let echo = |mut stream: TcpStream| {
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..read]).is_err() {
                return;
            }
        }
    };
    let silent = |stream: TcpStream| std::mem::forget(stream);
    let web = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    };
    let others = [
        ("a file server", farm.servers[0].address.clone()),
        ("an echo", pretender(echo)),
        ("silence", pretender(silent)),
        ("a web server", pretender(web)),
        ("one that closes", pretender(drop)),
    ];
    for (what, address) in others {
        let started = Instant::now();
        let mut command = bilico(&["send", "--balancer", &address, "a.txt"]);
        let ended = run(command.current_dir(farm.dir.path()), "");
        assert_eq!(ended.code, Some(3), "{what}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(&address),
            "{what}: {ended:?}"
        );
        assert!(
            ended.stderr.contains("no balancer") || ended.stderr.contains("no answer"),
            "{what}: {ended:?}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{what}: {:?}",
            started.elapsed()
        );
    }
    assert_eq!(farm.stored(0).len(), 0);
}

#[test]
fn the_environment_names_the_balancer_and_the_flag_beats_it() {
    let farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    let mut by_environment = bilico(&["send", "a.txt"]);
    by_environment
        .current_dir(farm.dir.path())
        .env("BILICO_BALANCER", &farm.balancer.address);
    assert_eq!(run(&mut by_environment, "").code, Some(0));
    let ended = run(
        command(&farm, &["a.txt"]).env("BILICO_BALANCER", "127.0.0.1:1"),
        "",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(farm.status().delivered, 2);
}

#[test]
fn flags_that_make_no_sense_are_exit_code_2_and_their_value_is_named() {
    let farm = Farm::start(&[1]);
    write(&farm, "a.txt", "a");
    for (args, named) in [
        (&["a.txt", "--balancer", "nonsense"][..], "nonsense"),
        (
            &["a.txt", "--balancer", "127.0.0.1:70000"],
            "127.0.0.1:70000",
        ),
        (&["a.txt", "--timeout", "0"], "'0'"),
        (&["a.txt", "--timeout", "soon"], "soon"),
        (&["a.txt", "--timeout", "-1s"], "-1"),
        (&["a.txt", "--wait", "never"], "never"),
        (&["a.txt", "--retry", "soon"], "soon"),
        (&["a.txt", "--key-prefix", ""], "0 bytes"),
        (&["a.txt", "--key-prefix", &"p".repeat(129)], "129 bytes"),
        (
            &["a.txt", "--key-prefix", "p", "./a.txt"],
            "a.txt and ./a.txt",
        ),
        (&["a.txt", "--frobnicate"], "--frobnicate"),
        (&[], "PATHS"),
    ] {
        let mut command = bilico(&["send"]);
        let ended = run(command.args(args).current_dir(farm.dir.path()), "");
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(named),
            "{args:?}: {ended:?}"
        );
        assert_eq!(ended.stdout, "");
    }
    let mut command = bilico(&["send", "a.txt"]);
    let ended = run(
        command
            .env("BILICO_BALANCER", "nonsense")
            .current_dir(farm.dir.path()),
        "",
    );
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("nonsense"), "{ended:?}");
}

#[test]
fn progress_is_on_a_terminals_standard_error_only() {
    let mut farm = Farm::without_servers(&[1]);
    write(&farm, "a.txt", "a");
    let args = [
        "send",
        "--balancer",
        &farm.balancer.address,
        "a.txt",
        "a.txt",
        "--json",
    ];
    let mut terminal = Terminal::run(farm.dir.path(), r#"exec "$@" > out"#, &args);
    terminal.expect("accepted 2");
    let quiet = ["send", "--balancer", &farm.balancer.address, "a.txt", "-q"];
    let quiet = Terminal::run(farm.dir.path(), r#"exec "$@""#, &quiet);
    wait_until("the quiet one's file to be accepted", || {
        farm.status().accepted == 3
    });
    farm.servers[0].restart();
    assert_eq!(terminal.end().0, Some(0));
    let out = fs::read_to_string(farm.dir.path().join("out")).unwrap();
    assert_eq!(objects(&out).len(), 2);
    assert_eq!(
        quiet.end(),
        (Some(0), String::new()),
        "quiet on a terminal, too"
    );
}

#[test]
fn a_reader_that_has_gone_ends_it_without_a_panic() {
    let farm = Farm::start(&[1]);
    for file in 0..300 {
        write(&farm, format!("many/{file}"), "x");
    }
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#""$@" | head -1"#,
        "sh",
        env!("CARGO_BIN_EXE_bilico"),
        "send",
        "-r",
        "many",
        "--json",
    ]);
    let ended = run(
        shell
            .args(["--balancer", &farm.balancer.address])
            .current_dir(farm.dir.path()),
        "",
    );
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    assert_eq!(objects(&ended.stdout).len(), 1);
}

/// The balancer is killed while files are sent, and comes back: each is accepted, and counted once.
#[test]
fn a_balancer_that_is_killed_and_comes_back_gets_the_rest() {
    let mut farm = Farm::without_servers(&[1]);
    for file in 0..2000 {
        write(&farm, format!("many/{file}"), noise(20_000));
    }
    let mut running = command(&farm, &["-r", "many", "--wait", "accepted", "--json"]);
    let running = Running::start(&mut running);
    wait_until("some to be accepted", || farm.status().accepted > 0);
    farm.balancer.kill();
    farm.balancer.restart();
    let ended = running.wait();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let objects = objects(&ended.stdout);
    assert!(objects.len() == 2000 && objects.iter().all(|object| object["state"] == "accepted"));
}

#[test]
fn a_balancer_that_does_not_come_back_is_given_up_when_the_time_is_up() {
    let mut farm = Farm::without_servers(&[1]);
    write(&farm, "a.txt", "a");
    let args = [
        "send",
        "--balancer",
        &farm.balancer.address,
        "a.txt",
        "--retry",
        "3s",
    ];
    let mut terminal = Terminal::run(farm.dir.path(), r#"exec "$@""#, &args);
    terminal.expect("accepted 1");
    farm.balancer.kill();
    let killed = Instant::now();
    terminal.expect("reconnecting …");
    terminal.expect("the connection to the balancer was lost");
    assert_eq!(terminal.end().0, Some(3));
    assert!(
        killed.elapsed() >= Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
}
