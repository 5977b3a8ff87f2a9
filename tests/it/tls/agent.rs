//! `bilico agent` at a balancer's doorway over HTTP that has TLS.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};

use bilico_testkit::{Port, Role, Running, start_balancer, wait_for};
use serde_json::Value;

use super::place::{Place, REQUIRED};
use crate::users::{PASSWORD, secret_file};

const CA: [&str; 2] = ["--ca", "tls/ca.pem"];

/// A balancer with users whose doorway for agents requires TLS, at all addresses of the machine. The
/// file `token` has one of the agent `host-a`, and `password` the password of all.
struct Doorway {
    balancer: Role,
    place: Place,
    at: String,
}

impl Doorway {
    fn open(port: &Port) -> Self {
        Self::of(port, Place::new())
    }

    /// With a certificate `b1` that is there already.
    fn of(port: &Port, place: Place) -> Self {
        secret_file(&place.path().join("password"), PASSWORD);
        let password = ["--password-file", "password"];
        for (name, role) in [("root", "admin"), ("host-a", "agent"), ("host-b", "agent")] {
            let add = ["user", "add", name, "--role", role, "--users", "users.json"];
            let added = place.run(&[&add[..], &password].concat());
            assert_eq!(added.code, Some(0), "{added:?}");
        }
        let at = port.address();
        let everywhere = at.replace("127.0.0.1", "0.0.0.0");
        let users = ["--auth", "required", "--users", "users.json"];
        let flags = [&REQUIRED[..], &users, &["--agents-http", &everywhere]].concat();
        let balancer = start_balancer(place.path(), &["127.0.0.1:1=1".to_owned()], &flags);
        let doorway = Self {
            balancer,
            place,
            at,
        };
        for (user, file) in [("root", "root"), ("host-a", "token")] {
            let token = doorway.login(user);
            secret_file(&doorway.place.path().join(file), &token);
        }
        doorway
    }

    fn login(&self, user: &str) -> String {
        let login = ["login", "--user", user, "--password-file", "password"];
        let at = ["--print", "--balancer", &self.balancer.address];
        let told = self.place.run(&[&login[..], &at, &CA].concat());
        assert_eq!(told.code, Some(0), "{told:?}");
        told.stdout
    }

    /// An agent that tells this place, with more flags.
    fn agent(&self, to: &str, flags: &[&str]) -> Running {
        agent(&self.place, to, flags)
    }

    /// What the balancer knows of a member, once it has figures.
    fn member(&self, name: &str) -> Value {
        let admin = self.balancer.admin.as_deref().unwrap();
        let show = ["fleet", "show", name, "--json", "--admin", admin];
        let token = ["--token-file", "root"];
        wait_for("the member with figures", || {
            let shown = self.place.run(&[&show[..], &token, &CA].concat());
            let member: Value = serde_json::from_str(&shown.stdout).ok()?;
            member["facts"]["cpu"].is_number().then_some(member)
        })
    }
}

fn agent(place: &Place, to: &str, flags: &[&str]) -> Running {
    let command = ["agent", "--every", "1s", "--to", to];
    Running::start(&mut place.command(&[&command[..], flags].concat()))
}

#[test]
fn figures_come_over_tls_from_whoever_proves_itself() {
    let port = Port::take();
    let doorway = Doorway::open(&port);
    let secure = format!("wss://{}", doorway.at);
    let by_token = doorway.agent(&secure, &[&CA[..], &["--token-file", "token"]].concat());
    by_token.wait_for_error(&format!("telling {secure} the figures of this host"));
    assert_eq!(doorway.member("agent:host-a")["trust"], "proved");

    // The token is asked for over TLS, too: the balancer takes nothing else.
    let secure = format!("https://{}", doorway.at.replace("127.0.0.1", "localhost"));
    let user = ["--user", "host-b", "--token-file", "password"];
    let _by_password = doorway.agent(&secure, &[&CA[..], &user].concat());
    assert_eq!(doorway.member("agent:host-b")["trust"], "proved");
}

/// An address of this machine that a connection does not have to itself.
fn in_the_open() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the system says from where it would be.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// The token goes over TLS to where others could read it, and not in plain text.
#[test]
fn a_token_goes_to_another_machine_over_tls_only() {
    let Some(own) = in_the_open() else {
        return;
    };
    let place = Place::new();
    for file in ["balancer-b1.pem", "balancer-b1.key"] {
        std::fs::remove_file(place.path().join("tls").join(file)).unwrap();
    }
    let hosts = format!("127.0.0.1,{own}");
    place.certs(&["issue", "balancer", "b1", "--san", &hosts]);
    let port = Port::take();
    let doorway = Doorway::of(&port, place);
    let at = doorway.at.replace("127.0.0.1", &own.to_string());
    let token = ["--token-file", "token"];
    let in_plain_text = doorway.agent(&format!("ws://{at}"), &token);
    let said = in_plain_text.wait_for_error("; it is tried again");
    assert!(said.contains("not sent in plain text"), "{said}");
    assert!(said.contains("use wss:// with --ca FILE"), "{said}");
    let _secure = doorway.agent(&format!("wss://{at}"), &[&CA[..], &token].concat());
    let member = doorway.member("agent:host-a");
    assert_eq!(member["trust"], "proved", "{member}");
}

/// Each is told with what to do, and tried again.
#[test]
fn who_is_not_trusted_or_speaks_no_tls_is_told_the_remedy() {
    let port = Port::take();
    let doorway = Doorway::open(&port);
    let other = Place::new();
    let other_ca = other.path().join("tls/ca.pem");
    let other_ca = ["--ca", other_ca.to_str().unwrap()];
    let token = ["--token-file", "token"];
    let at = &doorway.at;
    let elsewhere = at.replace("127.0.0.1", "127.0.0.2");
    for (to, ca, expected) in [
        (
            format!("wss://{at}"),
            &other_ca[..],
            &[
                "not signed by the authority that is trusted here",
                "`bilico certs show",
            ][..],
        ),
        (
            format!("wss://{elsewhere}"),
            &CA,
            &["its certificate is not for 127.0.0.2", "--san"],
        ),
        (
            format!("ws://{at}"),
            &[],
            &["this listener requires https:// and wss://", "--ca FILE"],
        ),
    ] {
        let agent = doorway.agent(&to, &[ca, &token].concat());
        let said = agent.wait_for_error("; it is tried again");
        assert!(
            expected.iter().all(|part| said.contains(part)),
            "{to}: {said}"
        );
    }
}

/// A listener without TLS, which gets it while the agent tries.
#[test]
fn an_agent_gets_in_once_tls_is_switched_on() {
    let port = Port::take();
    let place = Place::new();
    let at = port.address();
    let flags = ["--agents-http", &at];
    let balancer = start_balancer(place.path(), &["127.0.0.1:1=1".to_owned()], &flags);
    let agent = agent(&place, &format!("wss://{at}"), &CA);
    let said = agent.wait_for_error("; it is tried again");
    assert!(said.contains("is TLS off there?"), "{said}");
    assert!(said.contains("start the balancer with --tls"), "{said}");
    drop(balancer);

    let listener = TcpListener::bind(&at).unwrap();
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(first, [0x16], "nothing but TLS is tried");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    drop(listener);
    let flags = [&REQUIRED[..], &flags].concat();
    let _balancer = start_balancer(place.path(), &["127.0.0.1:1=1".to_owned()], &flags);
    agent.wait_for_error("telling wss://");
}
