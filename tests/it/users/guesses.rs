//! Guessing: what it costs whoever guesses, and nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bilico_testkit::{Response, wait_for_line};
use serde_json::json;

use super::{Locked, PASSWORD};

/// Asks for a token, and gives the answer.
fn try_login(locked: &Locked, user: &str, password: &str) -> Response {
    let body = json!({"ask": "login", "user": user, "password": password});
    locked.http_with(None, "POST", "/api/v1/account", &body.to_string())
}

#[test]
fn who_guesses_wrong_waits_and_an_administrator_ends_the_wait() {
    let locked = Locked::start();
    let root = locked.login("root");
    locked.user("anna", "sender");
    for attempt in 0..6 {
        let answer = try_login(&locked, "anna", "wrong wrong wrong");
        assert_eq!(answer.status, 401, "{attempt}: {answer:?}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(
            error,
            "the name or the password is wrong, or the user is disabled"
        );
    }
    // The right password is not looked at, either: else the wait would be worth nothing.
    let answer = try_login(&locked, "ANNA", PASSWORD);
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(
        answer
            .text()
            .contains("too many wrong attempts: try again in "),
        "{answer:?}"
    );
    wait_for_line(
        || locked.log(),
        &["not let in", "event=login", "user=ANNA", "too many wrong"],
    );
    let unlocked = locked.printed(Some(&root), &["user", "unlock", "anna"]);
    assert_eq!(unlocked, "those who guessed wrong for anna may try again\n");
    assert_eq!(try_login(&locked, "anna", PASSWORD).status, 200);
    // Names that nobody can have are answered in the same way.
    for name in ["", "an na", "anna\0", "../anna", "é"] {
        let answer = try_login(&locked, name, "wrong wrong wrong");
        assert!(matches!(answer.status, 401 | 429), "{name:?}: {answer:?}");
    }
}

/// Whoever measures learns nothing about who is there.
#[test]
fn unknown_disabled_and_wrong_take_as_long() {
    let locked = Locked::start();
    let root = locked.login("root");
    let users = ["known", "disabled", "unknown"];
    locked.user("known", "sender");
    locked.user("disabled", "sender");
    locked.printed(Some(&root), &["user", "disable", "disabled"]);
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..12 {
        for (user, times) in users.iter().zip(&mut times) {
            locked.printed(Some(&root), &["user", "unlock", user]);
            let begun = Instant::now();
            let answer = try_login(&locked, user, "wrong wrong wrong");
            times.push(begun.elapsed());
            assert_eq!(answer.status, 401, "{user}: {answer:?}");
        }
    }
    let medians = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    // Without the hash, an unknown user would be answered in a tenth of the time.
    assert!(*most < *least * 2, "{users:?}: {medians:?}");
}

/// Many who guess at once cost little memory, and files go their way.
#[test]
fn a_storm_of_guesses_holds_nobody_up() {
    let locked = Locked::start();
    let root = locked.login("root");
    let token = locked.user("anna", "sender");
    let mut client = locked.client(&token);
    client.put_accepted(0, None, b"x");
    let before = locked.balancer.resident();
    let stop = AtomicBool::new(false);
    let (mut worst, mut most) = (Duration::ZERO, 0);
    std::thread::scope(|scope| {
        for guesser in 0..16 {
            let (locked, stop) = (&locked, &stop);
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let answer = try_login(locked, &format!("g{guesser}-{n}"), "wrong wrong wrong");
                    assert!(matches!(answer.status, 401 | 429), "{answer:?}");
                }
            });
        }
        let begun = Instant::now();
        for id in 1.. {
            if begun.elapsed() > Duration::from_secs(3) {
                break;
            }
            let put = Instant::now();
            client.put_accepted(id, None, b"x");
            worst = worst.max(put.elapsed());
            most = most.max(locked.balancer.resident());
        }
        // An administrator can shut somebody out all the while.
        let ordered = Instant::now();
        let disabled = locked.http_with(
            Some(&root),
            "PATCH",
            "/api/v1/users/anna",
            r#"{"disabled": true}"#,
        );
        assert_eq!(disabled.status, 200, "{disabled:?}");
        assert_eq!(client.bye()["code"], "unauthorized");
        assert!(ordered.elapsed() < Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
    });
    // Two hashes of 19 MiB, and what the connections take.
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 80, "{grown} MiB more");
    assert!(worst < Duration::from_secs(2), "a file took {worst:?}");
}

/// The answer to what somebody asks about their account; empty if it is broken off, as it is when the
/// token ends.
fn ask(locked: &Locked, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(locked.balancer.admin.as_ref().unwrap()).unwrap();
    let _ = write!(
        stream,
        "POST /api/v1/account HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Whoever has a token could keep the thread busy that writes what users change.
#[test]
fn a_flood_of_token_requests_keeps_out_neither_other_users_nor_orders() {
    let locked = Locked::start();
    let root = locked.login("root");
    let anna = locked.user("anna", "sender");
    locked.user("bob", "sender");
    let made = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            let (locked, stop, anna, made) = (&locked, &stop, &anna, &made);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask(locked, anna, r#"{"ask": "create-token"}"#);
                    let id = answer
                        .split_once(r#""id":""#)
                        .and_then(|(_, id)| id.get(..8));
                    if let Some(id) = id {
                        made.fetch_add(1, Ordering::Relaxed);
                        let revoke = json!({"ask": "revoke-token", "id": id}).to_string();
                        ask(locked, anna, &revoke);
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        let logins: Vec<_> = (0..5)
            .map(|_| try_login(&locked, "bob", PASSWORD).status)
            .collect();
        let disabled = r#"{"disabled": true}"#;
        let ordered = locked.http_with(Some(&root), "PATCH", "/api/v1/users/anna", disabled);
        let took = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(logins, [200; 5]);
        assert_eq!(ordered.status, 200, "{ordered:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    });
    assert!(made.load(Ordering::Relaxed) > 10, "{made:?}");
}
