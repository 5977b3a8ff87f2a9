//! Balancers that are missing, die, come back, or are something else.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bilico_testkit::{Farm, Running, Terminal, bilico, noise, run, wait_until};

use super::helpers::{command, objects, send};

#[test]
fn no_balancer_is_exit_code_3_with_a_remedy() {
    let mut farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
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
fn a_balancer_that_dies_before_its_receipts_is_reported() {
    let mut farm = Farm::without_servers(&[1]);
    farm.write("a.txt", "a");
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
        // A receipt may be lost with the balancer, but no receipt is invented.
        assert!(
            object["state"] == "accepted" || object["state"] == "unknown",
            "{ended:?}"
        );
    }
}

#[test]
fn a_balancer_that_dies_within_a_file_is_reported() {
    let mut farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    farm.write("large.bin", "");
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

/// Hands each connection to `answer`. Returns the address.
fn pretender(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // The thread ends with the test's process.
    std::thread::spawn(move || {
        listener
            .incoming()
            .for_each(|stream| answer(stream.unwrap()));
    });
    address
}

#[test]
fn a_peer_that_is_not_a_balancer_is_reported_within_seconds() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
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
            ended.stderr.contains("is not a Bilico balancer") || ended.stderr.contains("no answer"),
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

/// The balancer is killed while files are sent, and comes back: each is accepted, and counted once.
#[test]
fn a_balancer_that_is_killed_and_comes_back_gets_the_rest() {
    let mut farm = Farm::without_servers(&[1]);
    for file in 0..2000 {
        farm.write(format!("many/{file}"), noise(1, 20_000));
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
fn a_balancer_that_does_not_come_back_is_given_up_in_time() {
    let mut farm = Farm::without_servers(&[1]);
    farm.write("a.txt", "a");
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
