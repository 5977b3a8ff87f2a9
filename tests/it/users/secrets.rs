//! Secrets are in nothing that a run leaves behind, and the audit log says who was let in.

use std::fs;
use std::path::Path;

use bilico_testkit::{Running, wait_until};
use serde_json::{Value, json};

use super::{Locked, PASSWORD, secret_file};

/// The files below a directory that hold this text.
fn holders(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holders(&path, text));
        } else if let Ok(content) = fs::read(&path)
            && content
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_password_token_or_code_is_left_in_any_file_process_or_answer() {
    let locked = Locked::with(&["--log-level", "trace"]);
    let root = locked.login("root");
    let code = locked
        .printed(Some(&root), &["user", "invite", "anna"])
        .trim()
        .to_owned();
    secret_file(&locked.path("code"), &code);
    let register = [
        "register",
        "--user",
        "anna",
        "--code-file",
        "code",
        "--password-file",
        "password",
    ];
    locked.printed(None, &register);
    let anna = locked.login("anna");
    let mut client = locked.client(&anna);
    client.put_accepted(1, Some("k"), b"x");
    client.expect("delivered", 1);
    // Refused ones, too.
    let wrong = "a wrong password of mine";
    let body = json!({"ask": "login", "user": "anna", "password": wrong}).to_string();
    assert_eq!(
        locked
            .http_with(None, "POST", "/api/v1/account", &body)
            .status,
        401
    );
    let typed_in_the_wrong_place = json!({"ask": "login", "user": wrong}).to_string();
    locked.http_with(None, "POST", "/api/v1/account", &typed_in_the_wrong_place);
    locked.printed(Some(&anna), &["logout"]);
    locked.http(Some(&anna), "GET", "/api/v1/overview");
    let metrics = locked.http(Some(&root), "GET", "/metrics");
    let users = locked.http(Some(&root), "GET", "/api/v1/users");
    let tokens = locked.http(Some(&root), "GET", "/api/v1/tokens");
    let told = [metrics.text(), users.text(), tokens.text()].join("\n");
    assert!(!told.contains("argon2"), "{told}");
    let of_process =
        |name: &str| fs::read(format!("/proc/{}/{name}", locked.balancer.pid())).unwrap();
    let process = [of_process("cmdline"), of_process("environ")].concat();
    let process = String::from_utf8_lossy(&process).into_owned();
    fs::remove_file(locked.path("password")).unwrap();
    fs::remove_file(locked.path("code")).unwrap();
    drop(client);
    for secret in [PASSWORD, &root, &anna, &code, wrong] {
        // Its end: the beginning of a token is its public name.
        let secret = &secret[secret.len().saturating_sub(20)..];
        assert_eq!(
            holders(locked.dir.path(), secret),
            Vec::<String>::new(),
            "{secret}"
        );
        assert!(
            !told.contains(secret) && !process.contains(secret),
            "{secret}"
        );
    }
}

#[test]
fn the_audit_log_says_who_was_let_in_and_who_changed_what() {
    let locked = Locked::with(&["--log-level", "error"]);
    let root = locked.login("root");
    locked.user("anna", "sender");
    let bad = [
        "login",
        "--user",
        "anna",
        "--password-file",
        "bad",
        "--print",
    ];
    secret_file(&locked.path("bad"), "not the password");
    locked.refused(None, &bad);
    locked.printed(Some(&root), &["user", "disable", "anna"]);
    locked.printed(Some(&root), &["drain", &locked.server.address]);
    locked.http(
        Some(&root.replace(&root[4..12], "aaaaaaaa")),
        "GET",
        "/api/v1/users",
    );
    let has = |event: &str, field: &str, value: &str| {
        let is_it = |entry: &Value| {
            entry["event"] == event
                && entry[field]
                    .as_str()
                    .is_some_and(|text| text.contains(value))
        };
        wait_until(&format!("{event}, {field} {value}"), || {
            locked.audit().iter().any(is_it)
        });
    };
    has("login", "user", "root");
    has("login", "reason", "the name or the password is wrong");
    has("user.registered", "user", "anna");
    has("user.disabled", "from", "root@127.0.0.1:");
    has("user.disabled", "about", "anna");
    has("token.refused", "token", "aaaaaaaa");
    has("order.drain", "from", "root@127.0.0.1:");
    has("order.drain", "about", &locked.server.address);
}

/// Orders about members are orders, and who reads what users have typed is written down, too.
#[test]
fn the_audit_log_has_the_orders_about_members() {
    let locked = Locked::start();
    let root = locked.login("root");
    secret_file(&locked.path("token"), locked.user("host-a", "agent").trim());
    let args = ["agent", "--to", &locked.balancer.address, "--every", "1s"];
    let args = [&args[..], &["--token-file", "token"]].concat();
    let agent = Running::start(&mut locked.command(None, &args));
    let state = || {
        let member = locked.http(Some(&root), "GET", "/api/v1/fleet/agent:host-a");
        let is_there = member.status == 200;
        is_there.then(|| member.json()["state"].as_str().unwrap().to_owned())
    };
    wait_until("the agent to be a member", || {
        state().as_deref() == Some("active")
    });
    let commands = "/api/v1/fleet/agent:host-a/commands";
    assert_eq!(locked.http(Some(&root), "GET", commands).status, 200);
    locked.printed(Some(&root), &["fleet", "protect", "agent:host-a"]);
    let refused = locked.refused(Some(&root), &["fleet", "forget", "agent:host-a"]);
    assert!(refused.contains("protected"), "{refused}");
    locked.printed(Some(&root), &["fleet", "protect", "--off", "agent:host-a"]);
    agent.signal("TERM");
    agent.wait();
    wait_until("the agent to be forgotten", || {
        let forget = ["fleet", "forget", "agent:host-a"];
        locked.run(Some(&root), &forget).code == Some(0)
    });
    let told = || -> Vec<Value> {
        let about = |entry: &Value| {
            let event = entry["event"].as_str().unwrap_or_default();
            event.starts_with("member.")
        };
        locked.audit().into_iter().filter(about).collect()
    };
    wait_until("four entries", || told().len() >= 4);
    let events: Vec<Value> = told().iter().map(|entry| entry["event"].clone()).collect();
    assert_eq!(
        events,
        [
            "member.commands",
            "member.kept",
            "member.let_go",
            "member.forgotten"
        ]
    );
    for entry in told() {
        assert_eq!(entry["about"], "agent:host-a");
        let from = entry["from"].as_str().unwrap();
        assert!(from.starts_with("root@127.0.0.1:"), "{from}");
    }
}
