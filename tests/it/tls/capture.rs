//! What somebody on the wire sees.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{Running, are_there, start_balancer, start_server, wait_until};

use super::place::{IN_CLUSTER, Place, REQUIRED};
use crate::users::{PASSWORD, secret_file};

/// What must not be seen: a title and a content.
const TITLE: &str = "title-of-the-captured-file";
const CONTENT: &str = "content of the captured file, which nobody else may read";

/// Captures what passes these ports while `work` is done.
fn capture(dir: &Path, addresses: &[&str], work: impl FnOnce()) -> Vec<u8> {
    let port = |address: &&str| format!("tcp port {}", address.rsplit_once(':').unwrap().1);
    let ports: Vec<_> = addresses.iter().map(port).collect();
    let file = dir.join("captured");
    let mut command = Command::new("tcpdump");
    command
        .args([
            "-i",
            "lo",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-Z",
            "root",
        ])
        .arg("-w")
        .arg(&file)
        .arg(ports.join(" or "));
    let capturing = Running::start(&mut command);
    capturing.wait_for_error("listening on");
    work();
    // The last packets are on their way.
    let size = || fs::metadata(&file).map_or(0, |file| file.len());
    let mut last = 0;
    wait_until("the capture to come to rest", || {
        let before = std::mem::replace(&mut last, size());
        std::thread::sleep(std::time::Duration::from_millis(300));
        last > 1000 && before == last
    });
    capturing.signal("INT");
    capturing.end();
    fs::read(file).unwrap()
}

fn has(captured: &[u8], text: &str) -> bool {
    let mut windows = captured.windows(text.len());
    windows.any(|part| part == text.as_bytes())
}

/// The same files in plain text and over TLS: in plain text the capture sees them, or it would prove
/// nothing.
#[test]
fn a_capture_finds_no_title_content_password_or_token_over_tls() {
    // Nobody else may capture.
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    if !is_root {
        // Not by a macro, whose output is captured.
        let _ = writeln!(std::io::stderr(), "skipped: only root may capture packets");
    }
    if !is_root || !are_there(&["tcpdump"]) {
        return;
    }
    let place = Place::new();
    place.write(TITLE, CONTENT);
    let plain_server = start_server(place.path(), 1, &[]);
    let servers = [plain_server.address.clone()];
    let plain = start_balancer(place.path(), &servers, &["--journal", "plain"]);
    let send = |balancer: &str, flags: &[&str]| {
        let args = ["send", TITLE, "--wait", "delivered", "--balancer", balancer];
        let sent = place.run(&[&args[..], flags].concat());
        assert_eq!(sent.code, Some(0), "{sent:?}");
    };
    let seen = capture(place.path(), &[&plain.address], || {
        send(&plain.address, &[]);
    });
    assert!(has(&seen, TITLE) && has(&seen, CONTENT));
    let seen = capture(place.path(), &[&plain_server.address], || {
        send(&plain.address, &[]);
    });
    assert!(has(&seen, TITLE) && has(&seen, CONTENT));

    secret_file(&place.path().join("password"), PASSWORD);
    let add = [
        "user",
        "add",
        "root",
        "--role",
        "admin",
        "--users",
        "users.json",
    ];
    let added = place.run(&[&add[..], &["--password-file", "password"]].concat());
    assert_eq!(added.code, Some(0), "{added:?}");
    let server = place.server(2, "s2", &[]);
    let auth = ["--auth", "required", "--users", "users.json"];
    let flags = [&IN_CLUSTER[..], &REQUIRED, &auth].concat();
    let name = [format!("s2@{}", server.address)];
    let balancer = start_balancer(place.path(), &name, &flags);
    let admin = balancer.admin.as_deref().unwrap();
    let addresses = [&*balancer.address, admin, &*server.address];
    let mut token = String::new();
    let seen = capture(place.path(), &addresses, || {
        let login = [
            "login",
            "--user",
            "root",
            "--password-file",
            "password",
            "--print",
        ];
        let at = ["--balancer", &*balancer.address, "--ca", "tls/ca.pem"];
        let told = place.run(&[&login[..], &at].concat());
        assert_eq!(told.code, Some(0), "{told:?}");
        told.stdout.trim().clone_into(&mut token);
        secret_file(&place.path().join("token"), &token);
        let show = ["--ca", "tls/ca.pem", "--token-file", "token"];
        send(&balancer.address, &show);
        let asked = place.run(&[&["servers", "--admin", admin][..], &show].concat());
        assert_eq!(asked.code, Some(0), "{asked:?}");
    });
    let secret = &token[token.len() - 20..];
    for text in [TITLE, CONTENT, PASSWORD, secret, "request_type", "Bearer"] {
        assert!(!has(&seen, text), "{text:?} goes over the wire");
    }
    assert_eq!(place.stored(2), [CONTENT.as_bytes()]);
}
