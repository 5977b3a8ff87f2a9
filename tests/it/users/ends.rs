//! What a token has opened ends with it.

use std::io::Read;
use std::time::{Duration, Instant};

use bilico_testkit::{Wire, wait_until};

use super::Locked;

/// The longest time between the end of a token and that of what it opened.
const SOON: Duration = Duration::from_millis(2500);

/// Ends a token of a user.
type Way<'a> = Box<dyn Fn(&str, &str) + 'a>;

/// Ends a token in each way, and looks at a native connection and at a stream of events.
#[test]
fn revoked_disabled_demoted_removed_and_expired_tokens_end_what_they_opened() {
    let locked = Locked::start();
    let root = locked.login("root");
    let viewer = |name: &str| locked.user(name, "operator");
    let id = |token: &str| token.split('_').nth(1).unwrap().to_owned();
    let ways: [(&str, Way<'_>); 6] = [
        (
            "revoked",
            Box::new(|_, token| {
                locked.printed(Some(&root), &["user", "revoke", "--token", &id(token)]);
            }),
        ),
        (
            "all-revoked",
            Box::new(|user, _| {
                locked.printed(Some(&root), &["user", "revoke", user]);
            }),
        ),
        (
            "disabled",
            Box::new(|user, _| {
                locked.printed(Some(&root), &["user", "disable", user]);
            }),
        ),
        (
            "demoted",
            Box::new(|user, _| {
                locked.printed(Some(&root), &["user", "role", user, "metrics"]);
            }),
        ),
        // In the file itself: the balancer follows.
        (
            "removed",
            Box::new(|user, _| {
                locked.printed(None, &["user", "remove", user, "--users", "users.json"]);
            }),
        ),
        (
            "logged-out",
            Box::new(|_, token| {
                locked.printed(Some(token), &["logout"]);
            }),
        ),
    ];
    for (user, end) in ways {
        let token = viewer(user);
        check(&locked, user, &token, || end(user, &token));
    }
    let args = [
        "login",
        "--user",
        "root",
        "--password-file",
        "password",
        "--print",
    ];
    let short = locked.printed(None, &[&args[..], &["--expires", "3s"]].concat());
    check(&locked, "expired", short.trim(), || {
        std::thread::sleep(Duration::from_secs(3));
    });
    // Those of others go on.
    assert_eq!(locked.http(Some(&root), "GET", "/api/v1/users").status, 200);
}

#[track_caller]
fn check(locked: &Locked, what: &str, token: &str, end: impl FnOnce()) {
    let mut client = locked.client(token);
    let mut events = events(locked, token);
    end();
    let begun = Instant::now();
    let bye = client.bye();
    assert_eq!(bye["code"], "unauthorized", "{what}: {bye}");
    let mut rest = Vec::new();
    let _ = events.0.read_to_end(&mut rest);
    assert!(begun.elapsed() < SOON, "{what}: {:?}", begun.elapsed());
    // A demoted one is known still.
    let status = locked.http(Some(token), "GET", "/api/v1/overview").status;
    assert_eq!(status, if what == "demoted" { 403 } else { 401 }, "{what}");
}

/// A stream of events that has begun.
fn events(locked: &Locked, token: &str) -> Wire {
    let admin = locked.balancer.admin.as_ref().unwrap();
    let mut events = Wire::connect(admin);
    events.write(
        format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .as_bytes(),
    );
    let mut begin = [0; 12];
    events.0.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    events
}

/// A file whose upload is under way when its token ends is not accepted, and leaves nothing.
#[test]
fn an_upload_ends_with_its_token() {
    let locked = Locked::start();
    let token = locked.user("anna", "sender");
    let mut client = locked.client(&token);
    let frame = bilico_testkit::frame(&bilico_testkit::put(1, "x"), &vec![7; 1_000_000]);
    client.wire.write(&frame[..frame.len() / 2]);
    locked.printed(None, &["user", "disable", "anna", "--users", "users.json"]);
    assert_eq!(client.bye()["code"], "unauthorized");
    drop(client);
    wait_until("nothing to be left of it", || {
        locked.balancer.unfinished(&locked.path("journal")) == 0
    });
    assert_eq!(locked.stored(), Vec::<Vec<u8>>::new());
}
