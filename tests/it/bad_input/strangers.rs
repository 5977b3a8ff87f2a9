//! Peers that speak the protocols of others hear in those where they should go.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bilico_testkit::{Farm, PREFACE, Served, Wire, response, run, wait_for_line};

/// What is said to somebody who begins like this, up to the end of the connection.
fn told(address: &str, begin: &[u8]) -> Vec<u8> {
    let mut wire = Wire::connect(address);
    wire.write(begin);
    wire.rest()
}

fn text(address: &str, begin: &[u8]) -> String {
    String::from_utf8_lossy(&told(address, begin)).into_owned()
}

/// A fatal alert of TLS.
const ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 40];

/// The beginning of a handshake.
const HANDSHAKE: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[test]
fn who_speaks_another_protocol_at_a_native_port_is_told_where_to_go() {
    let farm = Farm::start(&[1]);
    let alone = Served::start();
    let doorway = format!("http://{}/files/", farm.balancer.admin.as_ref().unwrap());
    for (address, words) in [
        (&farm.balancer.address, doorway.as_str()),
        (&alone.role.address, "clients go to a balancer"),
    ] {
        for request in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "PUT /files/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            "PROPFIND /files/ HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let answer = response(&told(address, request.as_bytes()));
            assert_eq!(answer.status, 421, "{}", answer.text());
            assert!(answer.json()["hint"].as_str().unwrap().contains(words));
            assert!(answer.text().ends_with('\n'));
        }
        for line in ["USER anonymous\r\n", "EHLO x\r\n", "QUIT\r\n"] {
            let answer = text(address, line.as_bytes());
            assert!(
                answer.starts_with("421 ") && answer.ends_with("\r\n"),
                "{answer:?}"
            );
            assert!(answer.contains(words), "{answer}");
        }
        let ssh = text(address, b"SSH-2.0-OpenSSH_9.2p1\r\n");
        assert!(!ssh.starts_with("SSH-") && ssh.contains(words), "{ssh:?}");
        assert_eq!(told(address, HANDSHAKE), ALERT);
        // Nobody knows what that is.
        assert_eq!(told(address, b"nonsense"), b"");
        assert_eq!(told(address, b"ABC DEF\r\n"), b"");
    }
    wait_for_line(
        || farm.log(),
        &["connection closed", "an HTTP request came"],
    );
    assert_eq!(farm.status().accepted, 0);
}

/// Byte by byte, and never to the end.
#[test]
fn a_slow_stranger_is_not_waited_for_and_holds_nobody_up() {
    let farm = Farm::start(&[1]);
    let mut slow = Wire::connect(&farm.balancer.address);
    let began = Instant::now();
    slow.write(b"GE");
    assert_eq!(slow.rest(), b"");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let mut wire = Wire::connect(&farm.balancer.address);
    for byte in b"GET / HTTP/1.1\r\n" {
        if wire.0.write_all(&[*byte]).is_err() {
            break;
        }
    }
    assert_eq!(response(&wire.rest()).status, 421);
}

/// Who waits for a word, as clients of FTP do, gets one when nobody waits for them any longer.
#[test]
fn who_says_nothing_hears_a_line_at_the_end() {
    let farm = Farm::with(&[1], &[], &["--idle-timeout", "500ms"]);
    let line = text(&farm.balancer.address, b"");
    assert!(
        line.starts_with("421 ") && line.contains("/files/"),
        "{line:?}"
    );
}

#[test]
fn who_speaks_no_http_at_the_admin_port_is_told_so() {
    let farm = Farm::start(&[1]);
    let admin = farm.balancer.admin.as_ref().unwrap();
    let native = text(admin, &PREFACE);
    assert!(
        native.contains("bye") && native.contains("this port speaks HTTP"),
        "{native:?}"
    );
    let object = text(
        admin,
        br#"{"titolo": "x", "contenuto": "y", "request_type": "f"}"#,
    );
    assert!(
        object.starts_with("{\"error\":\"this port speaks HTTP\"") && object.ends_with('\n'),
        "{object:?}"
    );
    let ftp = text(admin, b"USER anonymous\r\n");
    assert!(ftp.starts_with("421 "), "{ftp:?}");
    assert!(text(admin, b"SSH-2.0-x\r\n").contains("speaks HTTP"));
    assert_eq!(told(admin, HANDSHAKE), ALERT);
    let live = response(&told(
        admin,
        b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ));
    assert_eq!(live.text(), "live\n");
}

/// The library has no body for what it refuses by itself.
#[test]
fn requests_that_are_not_understood_hear_why() {
    let farm = Farm::start(&[1]);
    let admin = farm.balancer.admin.as_ref().unwrap();
    let host = "Host: localhost\r\n";
    for (request, status, words) in [
        (
            format!("PUT /files/x HTTP/1.1\r\n{host}Transfer-Encoding: gzip\r\n\r\n"),
            400,
            "Transfer-Encoding: gzip",
        ),
        (
            format!("PUT /files/x HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n"),
            400,
            "Content-Length",
        ),
        (
            format!("GET /live HTTP/1.1\r\n{host}no colon\r\n\r\n"),
            400,
            "valid headers",
        ),
        (
            format!(
                "GET /live HTTP/1.1\r\n{host}X: {}\r\n\r\n",
                "x".repeat(20_000)
            ),
            431,
            "16 KiB",
        ),
    ] {
        for before in ["", "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            let all = text(admin, format!("{before}{request}").as_bytes());
            let last = all
                .rfind("HTTP/1.1 ")
                .unwrap_or_else(|| panic!("{request}: {all:?}"));
            let answer = response(&all.as_bytes()[last..]);
            assert_eq!(answer.status, status, "{all}");
            assert!(answer.text().contains(words), "{all}");
            assert!(answer.text().ends_with('\n') && answer.json()["error"].is_string());
        }
    }
}

#[test]
fn curl_shows_what_it_is_told() {
    let farm = Farm::start(&[1]);
    let curl = |url: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "30", url]);
        run(command.stdin(Stdio::null()), "")
    };
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "curl is missing");
        return;
    }
    let address = &farm.balancer.address;
    let http = curl(&format!("http://{address}/files/x"));
    assert!(http.stdout.contains("/files/"), "{http:?}");
    let https = curl(&format!("https://{address}/"));
    assert!(https.stderr.contains("alert"), "{https:?}");
}
