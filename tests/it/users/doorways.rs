//! Each doorway refuses whoever shows nothing, or nothing good.

use bilico_testkit::{Port, Wire, frame, old_style_put, put, wait_for_line};
use serde_json::json;

use super::{Locked, PASSWORD};

#[test]
fn who_shows_no_token_can_do_nothing_but_ask_for_one() {
    let locked = Locked::start();
    let (mut client, hello) = locked.greet(None);
    assert_eq!(
        (&hello["locked"], &hello["user"]),
        (&json!(true), &json!(null))
    );
    client.put(1, None, b"x");
    let bye = client.bye();
    assert_eq!(bye["code"], "unauthorized", "{bye}");
    let reason = bye["reason"].as_str().unwrap();
    assert!(
        reason.contains("takes a token with the right `send`"),
        "{reason}"
    );
    // The status and another greeting are no better.
    for header in [
        r#"{"request_type":"status"}"#,
        r#"{"request_type":"hello","role":"client"}"#,
    ] {
        let (mut client, _) = locked.greet(None);
        client.wire.write(&frame(header, b""));
        assert_eq!(client.bye()["code"], "unauthorized", "{header}");
    }
    // Nor is asking over and over.
    let (mut client, _) = locked.greet(None);
    for _ in 0..4 {
        client.wire.write(&frame(
            r#"{"request_type":"account"}"#,
            br#"{"ask":"whoami"}"#,
        ));
        let (_, answer) = client.wire.message().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(r#""code":"unauthorized""#), "{answer}");
    }
    assert_eq!(client.bye()["code"], "unauthorized");
    // An old-style client cannot say who it is, and is closed.
    let mut old = Wire::connect(&locked.balancer.address);
    old.write(old_style_put("a.json", "x").as_bytes());
    assert_eq!(old.rest(), b"");
    wait_for_line(|| locked.log(), &["connection closed", "takes a token"]);
    for (method, path) in [
        ("PUT", "/files/a.txt"),
        ("GET", "/api/v1/overview"),
        ("GET", "/api/v1/events"),
        ("GET", "/metrics"),
        ("POST", "/api/v1/reload"),
        ("GET", "/api/v1/users"),
    ] {
        let answer = locked.http(None, method, path);
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(locked.http(None, "GET", "/live").status, 200);
    assert_eq!(locked.stored(), Vec::<Vec<u8>>::new());
}

#[test]
fn what_is_no_good_token_is_refused_in_the_same_words_whatever_is_wrong_with_it() {
    let locked = Locked::start();
    let root = locked.login("root");
    let anna = locked.user("anna", "sender");
    let gone = locked.login("anna");
    let id = gone.split('_').nth(1).unwrap();
    locked.printed(Some(&root), &["user", "revoke", "--token", id]);
    let of_removed = locked.user("carl", "sender");
    locked.printed(Some(&root), &["user", "remove", "carl"]);
    let elsewhere = [
        "login",
        "--user",
        "anna",
        "--password-file",
        "password",
        "--print",
    ];
    let elsewhere = [&elsewhere[..], &["--from", "10.0.0.0/8"]].concat();
    let elsewhere = locked.printed(None, &elsewhere).trim().to_owned();
    let mut texts = std::collections::BTreeSet::new();
    for bad in [&gone, &of_removed, &elsewhere] {
        let (_, bye) = locked.greet(Some(bad));
        assert_eq!(
            (&bye["request_type"], &bye["code"]),
            (&json!("bye"), &json!("unauthorized"))
        );
        texts.insert(bye["reason"].as_str().unwrap().to_owned());
        let answer = locked.http(Some(bad), "PUT", "/files/a.txt");
        assert_eq!(answer.status, 401, "{answer:?}");
        texts.insert(answer.json()["error"].as_str().unwrap().to_owned());
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    let cut = &anna[..anna.len() - 1];
    let (_, bye) = locked.greet(Some(cut));
    assert!(
        bye["reason"].as_str().unwrap().contains("misspelt or cut"),
        "{bye}"
    );
    // A good one is good all the while.
    let mut client = locked.client(&anna);
    client.put_accepted(1, None, b"x");
    client.expect("delivered", 1);
    assert_eq!(locked.stored(), [b"x"]);
}

#[test]
fn each_role_can_do_what_it_is_there_for() {
    let locked = Locked::start();
    let root = locked.login("root");
    let server = format!("/api/v1/servers/{}", locked.server.address);
    let drain = r#"{"drained": false}"#;
    let asks = [
        ("PUT", "/files/a.txt", ""),
        ("GET", "/api/v1/overview", ""),
        ("PATCH", &server, drain),
        ("GET", "/api/v1/users", ""),
        ("GET", "/metrics", ""),
    ];
    for (role, may) in [
        ("sender", [true, false, false, false, false]),
        ("viewer", [false, true, false, false, true]),
        ("operator", [true, true, true, false, true]),
        ("admin", [true, true, true, true, true]),
        ("metrics", [false, false, false, false, true]),
    ] {
        let token = locked.user(&format!("a-{role}"), role);
        for ((method, path, body), may) in asks.into_iter().zip(may) {
            let status = locked.http_with(Some(&token), method, path, body).status;
            let expected = if may { 200..300 } else { 403..404 };
            assert!(
                expected.contains(&status),
                "{role}: {method} {path}: {status}"
            );
        }
        let (mut client, hello) = locked.greet(Some(&token));
        assert_eq!(hello["user"], format!("a-{role}"));
        client.wire.write(&frame(&put(1, "x"), b"x"));
        let answer = client.next();
        let expected = if may[0] { "accepted" } else { "refused" };
        assert_eq!(answer["request_type"], expected, "{role}: {answer}");
    }
    // A token of fewer rights than its user's.
    let args = ["token", "create", "--rights", "metrics"];
    let narrow = locked.printed(Some(&root), &args).trim().to_owned();
    assert_eq!(locked.http(Some(&narrow), "GET", "/metrics").status, 200);
    assert_eq!(
        locked.http(Some(&narrow), "GET", "/api/v1/users").status,
        403
    );
    let more = locked.refused(Some(&narrow), &["token", "create", "--rights", "admin"]);
    assert!(more.contains("a token cannot have admin"), "{more}");
    let longer = locked.refused(Some(&narrow), &["token", "create", "--expires", "1000h"]);
    assert!(longer.contains("cannot outlive"), "{longer}");
}

#[test]
fn a_newcomer_registers_logs_in_sends_and_logs_out() {
    let locked = Locked::start();
    let config = locked.path("config");
    let as_anna = |args: &[&str]| {
        let mut command = locked.command(None, args);
        bilico_testkit::run(command.env("XDG_CONFIG_HOME", &config), "")
    };
    let root = locked.login("root");
    let code = locked.printed(Some(&root), &["user", "invite", "anna"]);
    super::secret_file(&locked.path("code"), &code);
    let sent = as_anna(&["send", "password"]);
    assert_eq!(sent.code, Some(1));
    assert!(
        sent.stderr.contains("wants a token") && sent.stderr.contains("bilico login"),
        "{sent:?}"
    );
    let with_password = ["--user", "anna", "--password-file", "password"];
    let registered = as_anna(&[&["register", "--code-file", "code"][..], &with_password].concat());
    assert_eq!(registered.code, Some(0), "{registered:?}");
    let again = as_anna(&[&["register", "--code-file", "code"][..], &with_password].concat());
    assert!(
        again.stderr.contains("the code was used or has expired"),
        "{again:?}"
    );
    let logged_in = as_anna(&[&["login"][..], &with_password].concat());
    assert!(
        logged_in.stdout.starts_with("logged in as anna until "),
        "{logged_in:?}"
    );
    let who = as_anna(&["whoami"]);
    assert!(who.stdout.starts_with("anna, with the token "), "{who:?}");
    let sent = as_anna(&["send", "password", "-q"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert_eq!(locked.stored(), [PASSWORD.as_bytes()]);
    let listed = as_anna(&["token", "list", "--json"]);
    assert_eq!(listed.stdout.matches(r#""id":"#).count(), 1, "{listed:?}");
    let out = as_anna(&["logout"]);
    assert_eq!(out.stdout, "logged out: the token has ended\n", "{out:?}");
    let who = as_anna(&["whoami"]);
    assert!(who.stderr.contains("takes a token"), "{who:?}");
}

/// Metrics for Prometheus on another machine, with a token or without, and nothing else.
#[test]
fn the_metrics_listener_is_open_or_wants_a_token_as_it_is_told() {
    for (who, without) in [("everybody", 200), ("users", 401)] {
        let port = Port::take();
        let at = port.address();
        let locked = Locked::with(&["--metrics", &at, "--metrics-for", who]);
        let scraper = locked.user("scraper", "metrics");
        let sender = locked.user("sender", "sender");
        let asks = |token: Option<&str>| {
            let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
            let request = format!(
                "GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{}\r\n",
                token.unwrap_or_default()
            );
            bilico_testkit::http_raw(&at, request.as_bytes()).status
        };
        assert_eq!(asks(None), without, "{who}");
        assert_eq!(asks(Some(&scraper)), 200, "{who}");
        let of_sender = if who == "users" { 403 } else { 200 };
        assert_eq!(asks(Some(&sender)), of_sender, "{who}");
    }
}

/// A client that cannot say who it is may send, if its network is that of a user, for as long as the
/// user may.
#[test]
fn old_style_clients_of_a_network_are_taken_for_its_user() {
    let locked = Locked::with(&["--old-style-from", "10.0.0.0/8=root,127.0.0.0/8=tills"]);
    let send = || {
        let mut old = Wire::connect(&locked.balancer.address);
        old.write(old_style_put("a.json", "x").as_bytes());
        old
    };
    assert_eq!(send().rest(), b"", "there is no such user yet");
    locked.user("tills", "admin");
    let mut old = send();
    bilico_testkit::wait_until("the file to be stored", || locked.stored() == [b"x"]);
    wait_for_line(|| locked.log(), &["received", "from=tills@127.0.0.1:"]);
    locked.printed(None, &["user", "disable", "tills", "--users", "users.json"]);
    assert_eq!(old.rest(), b"", "it is closed");
    assert_eq!(send().rest(), b"");
    // It is no way to anything else.
    assert_eq!(locked.http(None, "PUT", "/files/a").status, 401);
}
