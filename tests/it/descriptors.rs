//! Descriptors and places: clients that idle, close or say nothing never keep servers, operators
//! and the journal from getting theirs.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use bilico_testkit::{
    Client, DEADLINE, Farm, PREFACE, Role, Wire, bilico_through, frame, http, http_at, put, run,
    start_balancer, start_server, status, stored, uninterrupted, wait_for_line, wait_until,
};

/// The limit of open files of these balancers.
const LIMIT: usize = 256;

/// Starts a balancer with this limit of open files.
fn launch(dir: &Path, servers: &[String], flags: &[&str], limit: usize) -> Result<Role, String> {
    let limit = format!("--nofile={limit}:{limit}");
    let command = bilico_through(&["prlimit", &limit, "--"]);
    let mut args = vec!["balancer", "--listen", "127.0.0.1:0"];
    args.extend(servers.iter().flat_map(|server| ["--server", server]));
    args.extend(flags);
    Role::launch(command, dir, &args)
}

/// A balancer with few descriptors, and its server, which was up and is down.
fn narrow(dir: &Path) -> (Role, Role) {
    let mut server = start_server(dir, 1, &[]);
    let balancer = launch(dir, &[format!("{}=1", server.address)], &[], LIMIT).unwrap();
    wait_until("the server to be up", || {
        status(&balancer.address).servers[0].eligible
    });
    server.kill();
    (server, balancer)
}

/// The number of descriptors that a process has open.
fn open(role: &Role) -> usize {
    fs::read_dir(format!("/proc/{}/fd", role.pid()))
        .unwrap()
        .count()
}

/// The time until `/ready` is answered, and the status of the answer.
fn ready(balancer: &Role) -> (Duration, u16) {
    let asked = Instant::now();
    let mut stream = TcpStream::connect(balancer.admin.as_deref().unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer from /ready");
    (
        asked.elapsed(),
        answer.split(' ').nth(1).unwrap().parse().unwrap(),
    )
}

/// A greeting and a file, as one client writes them.
fn hello_and_put(title: &str) -> Vec<u8> {
    let mut wire = PREFACE.to_vec();
    wire.extend(frame(r#"{"request_type":"hello","role":"client"}"#, b""));
    wire.extend(frame(&put(1, title), title.as_bytes()));
    wire
}

/// Each client's connection stayed for as long as its file waited, until the balancer had no
/// descriptor left: servers that came up got no files, no operator got an answer, and only a
/// restart helped.
#[test]
fn clients_that_have_gone_cost_no_descriptor_while_their_files_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, balancer) = narrow(dir.path());
    let before = open(&balancer);
    for client in 0..2 * LIMIT {
        let mut wire = Wire::native(&balancer.address);
        wire.write(&frame(&put(1, &format!("{client}.txt")), b"content"));
        wire.frame_of("accepted");
    }
    let (took, _) = ready(&balancer);
    assert!(took < Duration::from_secs(1), "{took:?}");
    wait_until(
        "the connections of those who have gone to be closed",
        || open(&balancer) < before + 10,
    );
    server.restart();
    wait_until("all to be delivered", || {
        status(&balancer.address).queue.files() == 0
    });
    assert_eq!(stored(&dir.path().join("json_files_1")).len(), 2 * LIMIT);
}

/// The same with clients that do not wait for their receipts.
#[test]
fn clients_that_send_and_vanish_cost_no_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, balancer) = narrow(dir.path());
    let before = open(&balancer);
    for client in 0..2 * LIMIT {
        let mut wire = Wire::connect(&balancer.address);
        wire.write(&hello_and_put(&format!("{client}.txt")));
        wire.0.shutdown(Shutdown::Write).unwrap();
        // The greeting is read, so that a reset does not discard the bytes that were sent.
        wire.greeting();
    }
    wait_until("the connections to be closed", || {
        open(&balancer) < before + 10
    });
    let (took, _) = ready(&balancer);
    assert!(took < Duration::from_secs(1), "{took:?}");
    server.restart();
    wait_until("all that was accepted to be delivered", || {
        let status = status(&balancer.address);
        status.accepted > 0
            && status.accepted == stored(&dir.path().join("json_files_1")).len() as u64
    });
}

/// Idle clients took all descriptors: the balancer could not connect to the server that came up,
/// and did not answer `/ready`.
#[test]
fn idle_clients_leave_descriptors_for_servers_and_operators() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, balancer) = narrow(dir.path());
    let mut first = Client::connect(&balancer.address);
    first.put_accepted(1, None, b"content");
    let idle: Vec<TcpStream> = (0..2 * LIMIT)
        .map(|client| {
            let mut stream = TcpStream::connect(&balancer.address).unwrap();
            if client % 2 == 0 {
                stream.write_all(&PREFACE).unwrap();
                stream
                    .write_all(&frame(r#"{"request_type":"hello","role":"client"}"#, b""))
                    .unwrap();
            }
            stream
        })
        .collect();
    // Whatever they get, they have it by then.
    std::thread::sleep(Duration::from_secs(1));
    let (took, code) = ready(&balancer);
    assert!(
        took < Duration::from_secs(1) && code == 503,
        "{code} after {took:?}"
    );
    server.restart();
    first.expect("delivered", 1);
    wait_until("the balancer to be ready", || {
        let (took, code) = ready(&balancer);
        assert!(took < Duration::from_secs(1), "{took:?}");
        code == 200
    });
    let log = fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap();
    assert!(
        log.contains("max-connections") && !log.contains("too many open files"),
        "{log}"
    );
    drop(idle);
}

/// A client that closes its sending half looks like one that has closed. It still gets the receipts
/// of all files that it sent, and then the connection ends.
#[test]
fn a_client_that_ends_its_sending_half_hears_what_became_of_what_it_sent() {
    let farm = Farm::without_servers(&[1]);
    let mut wire = Wire::connect(&farm.balancer.address);
    let mut bytes = hello_and_put("first.txt");
    (2..=100).for_each(|id| bytes.extend(frame(&put(id, "other.txt"), b"content")));
    bytes.extend(frame(r#"{"request_type":"status"}"#, b""));
    wire.write(&bytes);
    wire.0.shutdown(Shutdown::Write).unwrap();
    wire.greeting();
    let mut answers: Vec<String> = std::iter::from_fn(|| wire.frame())
        .map(|(header, _)| header)
        .collect();
    answers.retain(|header| !header.contains(r#""accepted""#));
    assert_eq!(
        answers,
        [r#"{"request_type":"status"}"#],
        "and 100 receipts"
    );
    assert_eq!(farm.status().accepted, 100);
}

/// Clients of the HTTP doorway that wait for a delivery, and listeners to events, end with their
/// connections.
#[test]
fn http_clients_that_have_gone_cost_no_descriptor() {
    let farm = Farm::without_servers(&[1]);
    let before = open(&farm.balancer);
    let at = farm.balancer.admin.as_deref().unwrap();
    let connect = |client| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        if client % 2 == 0 {
            let request = format!(
                "PUT /files/{client}.txt?wait=delivered HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 7\r\n\r\ncontent"
            );
            stream.write_all(request.as_bytes()).unwrap();
        } else {
            stream
                .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                .unwrap();
            stream.read_exact(&mut [0; 15]).unwrap();
        }
        stream
    };
    let clients: Vec<TcpStream> = (0..40).map(connect).collect();
    wait_until("all to be accepted", || farm.status().accepted == 20);
    drop(clients);
    wait_until("the connections to be closed", || {
        open(&farm.balancer) < before + 5
    });
}

/// Silent connections took all places of a file server for ten minutes: probes found no place, and
/// it counted as down.
#[test]
fn silent_connections_do_not_take_a_server_down() {
    let farm = Farm::with(&[1], &["--max-connections", "20"], &[]);
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(&farm.servers[0].address).unwrap())
        .collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let server = farm.server_status(0);
        assert!(server.eligible, "{server:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        farm.send(&["--title", "a", "Cargo.toml"])
            .status
            .code()
            .is_some()
    );
    drop(silent);
}

/// A file server closes a connection whose greeting does not come, or stops half way, for a few
/// seconds.
#[test]
fn a_server_closes_connections_that_do_not_introduce_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let mut peers: Vec<Wire> = (0..3).map(|_| Wire::connect(&server.address)).collect();
    peers[1].write(&PREFACE[..4]);
    peers[2].write(&PREFACE);
    let started = Instant::now();
    for peer in &mut peers {
        peer.rest();
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{:?}",
            started.elapsed()
        );
    }
}

/// The balancer allows silent connections, because old-style clients connect long before they
/// write. But when places run out, it closes silent ones first.
#[test]
fn silent_connections_make_way_for_clients_that_speak() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let flags = ["--max-connections", "20"];
    let balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &flags);
    let mut silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(&balancer.address).unwrap())
        .collect();
    let started = Instant::now();
    let mut client = Client::connect(&balancer.address);
    client.put_accepted(1, None, b"content");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    client.expect("delivered", 1);
    // The oldest were closed, the youngest are still open.
    silent[0].set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(uninterrupted(|| silent[0].read(&mut [0; 1])).unwrap(), 0);
    let last = silent.last_mut().unwrap();
    last.set_nonblocking(true).unwrap();
    assert_eq!(
        last.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let log = || fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap();
    wait_for_line(log, &["WARN", "all places are taken"]);
}

/// Request heads without an end took all places of the admin listener, and an operator waited 16 s.
#[test]
fn half_heads_make_way_for_operators() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = launch(dir.path(), &["127.0.0.1:1=1".to_owned()], &[], LIMIT).unwrap();
    let at = balancer.admin.as_deref().unwrap();
    let halves: Vec<TcpStream> = (0..LIMIT)
        .map(|_| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(b"GET /ready HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    let (took, _) = ready(&balancer);
    // Each of those before it is left alone for 0.2 s, and 32 of them at a time have a place.
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(halves);
}

/// A limit that leaves no descriptors for clients is refused at the start, not when they run out.
#[test]
fn a_limit_that_is_too_small_is_refused_at_the_start_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bilico_through(&["prlimit", "--nofile=64:64", "--"]);
    command.current_dir(dir.path());
    command.args([
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "none",
        "--server",
        "127.0.0.1:1=1",
    ]);
    let ended = run(&mut command, "");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in ["64", "open files", "ulimit -n", "LimitNOFILE"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

/// The balancer raises its soft limit to the hard one.
#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let dir = tempfile::tempdir().unwrap();
    let command = bilico_through(&["prlimit", "--nofile=64:4096", "--"]);
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--server",
        "127.0.0.1:1=1",
    ];
    let balancer = Role::launch(command, dir.path(), &args).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", balancer.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("4096"), "{line}");
}

/// Servers that are added while it runs take their descriptors from the clients' share, and are
/// refused when that is used up.
#[test]
fn servers_that_are_added_count_too() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = launch(dir.path(), &["127.0.0.1:1=1".to_owned()], &[], LIMIT).unwrap();
    let add = |port: u16| {
        http(
            &balancer,
            "POST",
            "/api/v1/servers",
            Some(&json!({"address": format!("127.0.0.1:{port}"), "weight": 1})),
        )
    };
    let refused = (2..100)
        .map(add)
        .find(|response| response.status != 201)
        .expect("a refusal");
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(
        refused.json()["error"]
            .as_str()
            .unwrap()
            .contains("open files"),
        "{refused:?}"
    );
    let listed = http_at(
        balancer.admin.as_deref().unwrap(),
        "GET",
        "/api/v1/servers",
        None,
    )
    .json();
    let added = listed["servers"].as_array().unwrap().len();
    assert!(added > 1, "{listed}");
    let name = listed["servers"][1]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        http(
            &balancer,
            "DELETE",
            &format!("/api/v1/servers/{name}"),
            None
        )
        .status,
        202
    );
    wait_until("its descriptors to be there for another", || {
        add(1000).status == 201
    });
}
