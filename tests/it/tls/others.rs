//! TLS as other programs speak it, and certificates that they make.

use std::process::Command;

use bilico_testkit::{Ended, Port, Running, are_there, run, start_balancer, wait_until};

use super::place::{Place, REQUIRED};

fn openssl(place: &Place, args: &[&str]) -> Ended {
    let mut command = Command::new("openssl");
    run(command.args(args).current_dir(place.path()), "")
}

#[test]
fn openssl_and_curl_get_in_by_tls_1_3_only() {
    if !are_there(&["openssl", "curl"]) {
        return;
    }
    let place = Place::new();
    let (balancer, _server) = place.required();
    let admin = balancer.admin.as_deref().unwrap();
    let connect = |version| {
        let address = &balancer.address;
        let args = [
            "s_client",
            "-connect",
            address,
            "-CAfile",
            "tls/ca.pem",
            version,
        ];
        openssl(&place, &args)
    };
    let connected = connect("-tls1_3");
    assert!(
        connected.stdout.contains("Verification: OK"),
        "{connected:?}"
    );
    assert!(connected.stdout.contains("TLSv1.3"), "{connected:?}");
    let old = connect("-tls1_2");
    assert!(old.stderr.contains("alert protocol version"), "{old:?}");
    place.wait_for_log(&["it offers no TLS 1.3", "peer="]);

    let curl = |args: &[&str]| {
        let mut command = Command::new("curl");
        let common = ["--silent", "--show-error", "--noproxy", "*"];
        run(
            command.args(common).args(args).current_dir(place.path()),
            "",
        )
    };
    let live = format!("https://{admin}/live");
    let asked = curl(&["--cacert", "tls/ca.pem", &live]);
    assert_eq!(asked.stdout, "live\n", "{asked:?}");
    let metrics = curl(&[
        "--cacert",
        "tls/ca.pem",
        &format!("https://{admin}/metrics"),
    ]);
    for series in [
        "bilico_tls_handshakes_total{result=\"done\"}",
        "bilico_tls_handshakes_total{result=\"failed\"} 1",
        "bilico_certificate_expiry_seconds{leg=\"clients\"} 77",
    ] {
        assert!(metrics.stdout.contains(series), "{}", metrics.stdout);
    }
    assert_ne!(
        curl(&[&live]).code,
        Some(0),
        "nobody vouches for the authority"
    );
    let plain = curl(&[&format!("http://{admin}/live")]);
    assert!(plain.stdout.contains("requires https://"), "{plain:?}");
}

#[test]
fn a_certificate_that_expires_soon_is_told() {
    let place = Place::new();
    place.certs(&["renew", "b1", "--days", "10"]);
    let _roles = place.required();
    place.wait_for_log(&["the certificate expires soon", "bilico certs renew"]);
}

/// Each listener as a scanner sees it: TLS 1.3 and nothing older, and one suite between balancers and
/// servers.
#[test]
fn a_scanner_finds_tls_1_3_alone_and_one_suite_at_a_server() {
    if !are_there(&["sslscan"]) {
        return;
    }
    let place = Place::new();
    let (balancer, _plain) = place.required();
    let server = place.server(2, "s2", &[]);
    let scan = |address: &str| {
        let mut command = Command::new("sslscan");
        let scanned = run(command.args(["--no-colour", address]), "");
        assert_eq!(scanned.code, Some(0), "{scanned:?}");
        scanned.stdout
    };
    for (address, suites) in [
        (&*balancer.address, 3),
        (balancer.admin.as_deref().unwrap(), 3),
        (&*server.address, 1),
    ] {
        let found = scan(address);
        let offered = |line: &&str| line.starts_with("Accepted") || line.starts_with("Preferred");
        let offered: Vec<_> = found.lines().filter(offered).collect();
        let are_new = offered.iter().all(|line| line.contains("TLSv1.3"));
        assert!(are_new && offered.len() == suites, "{address}: {found}");
        for old in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2"] {
            let line = found.lines().find(|line| line.starts_with(old)).unwrap();
            assert!(line.ends_with("disabled"), "{address}: {line}");
        }
        assert!(found.contains("TLSv1.3   enabled"), "{address}: {found}");
    }
    let suite = "256 bits  TLS_AES_256_GCM_SHA384";
    assert!(scan(&server.address).contains(suite));
}

/// A session that is remembered from before a reload would skip what the reload has changed.
#[test]
fn a_session_is_resumed_until_the_certificates_are_read_again() {
    if !are_there(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let (balancer, _server) = place.required();
    let connect = |session: &[&str]| {
        let address = &balancer.address;
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", address, "-CAfile", "tls/ca.pem"])
            .args(session)
            .current_dir(place.path());
        let mut running = Running::start(&mut command);
        running.wait_for_output("Verify return code");
        if session[0] == "-sess_out" {
            let is_kept = || place.path().join(session[1]).exists();
            wait_until("the ticket of the session", is_kept);
        }
        // It ends when the balancer closes, which takes no such greeting.
        running.write("nonsense\n");
        running.end().stdout
    };
    assert!(connect(&["-sess_out", "session"]).contains("New, TLSv1.3"));
    assert!(connect(&["-sess_in", "session"]).contains("Reused, TLSv1.3"));
    place.certs(&["renew", "--all"]);
    balancer.signal("HUP");
    place.wait_for_log(&["configuration applied"]);
    let after = connect(&["-sess_in", "session"]);
    assert!(after.contains("New, TLSv1.3"), "{after}");
}

#[test]
fn agents_get_their_tokens_by_tls_where_it_is_required() {
    if !are_there(&["curl"]) {
        return;
    }
    let place = Place::new();
    let port = Port::take();
    let at = port.address();
    let flags = [&REQUIRED[..], &["--agents-http", &at]].concat();
    let _balancer = start_balancer(place.path(), &["127.0.0.1:1=1".to_owned()], &flags);
    let curl = |url: &str| {
        let mut command = Command::new("curl");
        let args = [
            "--silent",
            "--noproxy",
            "*",
            "--cacert",
            "tls/ca.pem",
            "--data",
        ];
        run(
            command
                .args(args)
                .args(["username=host-a&password=secret", url])
                .current_dir(place.path()),
            "",
        )
    };
    let answer = curl(&format!("https://{at}/token")).stdout;
    assert!(answer.contains("\"token_type\":\"bearer\""), "{answer}");
    let answer = curl(&format!("http://{at}/token")).stdout;
    assert!(answer.contains("requires https://"), "{answer}");
}
