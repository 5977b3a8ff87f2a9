//! `bilico demo --secure`: everything with TLS, a user and a token.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bilico_testkit::{Ended, Running, bilico, run};

use super::helpers::{Scratch, demo, script};

/// A secure demo that is ready, and the variables that its banner says to export.
fn secure(scratch: &Scratch) -> (Running, Vec<(String, String)>) {
    let mut demo = Running::start(demo(scratch).arg("--secure"));
    demo.write("FTP 6\n");
    let banner = demo.wait_for_output("6 accepted, 6 delivered");
    let exports = banner
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("export "));
    let variables = exports.flat_map(str::split_whitespace);
    let variables = variables.filter_map(|pair| pair.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (demo, variables.collect())
}

fn bilico_with(variables: &[(String, String)], dir: &Path, args: &[&str]) -> Ended {
    let mut command = bilico(args);
    let set = variables.iter().map(|(name, value)| (name, value));
    run(command.current_dir(dir).envs(set), "")
}

#[test]
fn what_the_banner_says_works_and_nothing_goes_without_a_token_or_tls() {
    let scratch = Scratch::new();
    let (demo, variables) = secure(&scratch);
    let dir = scratch.path();
    fs::write(dir.join("file.txt"), "hello").unwrap();
    let sent = bilico_with(
        &variables,
        dir,
        &["send", "--wait", "delivered", "file.txt"],
    );
    assert!(
        sent.stdout.starts_with("1 accepted, 1 delivered"),
        "{sent:?}"
    );
    let status = bilico_with(&variables, dir, &["status", "--json"]);
    assert!(
        status.stdout.contains(r#""name":"s1@127.0.0.1:"#),
        "{status:?}"
    );
    let balancer = variables.iter().find(|(name, _)| name == "BILICO_BALANCER");
    let shown = bilico_with(&variables, dir, &["certs", "show", &balancer.unwrap().1]);
    assert!(
        shown.stdout.contains("TLS 1.3") && shown.stdout.contains("bilico://demo/balancer/demo"),
        "{shown:?}"
    );
    let without = |left_out: &str| {
        let some: Vec<_> = variables
            .iter()
            .filter(|(name, _)| name != left_out)
            .cloned()
            .collect();
        bilico_with(&some, dir, &["send", "file.txt"])
    };
    let no_token = without("BILICO_TOKEN_FILE");
    assert!(no_token.stderr.contains("wants a token"), "{no_token:?}");
    let plain = without("BILICO_CA");
    assert!(plain.stderr.contains("plain text is refused"), "{plain:?}");
    assert_eq!(demo.end().code, Some(0));
    scratch.check_nothing_runs();
    for name in ["token", "header", "password", "users.json", "tls/ca.key"] {
        let mode = fs::metadata(dir.join("secure").join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// What the first start has made stays, and the token is a new one.
#[test]
fn a_secure_demo_starts_again_in_its_directory() {
    let scratch = Scratch::new();
    let read = |name: &str| fs::read(scratch.path().join("secure").join(name)).unwrap();
    assert_eq!(secure(&scratch).0.end().code, Some(0));
    let (ca, password, token) = (read("tls/ca.pem"), read("password"), read("token"));
    assert_eq!(secure(&scratch).0.end().code, Some(0));
    assert_eq!((ca, password), (read("tls/ca.pem"), read("password")));
    assert_ne!(token, read("token"));
    // Nor does another demo mind what is there.
    assert_eq!(script(&scratch, "FTP 1\nexit\n").code, Some(0));
}
