//! Who may join the fleet, and what they are taken for. Whoever may not is told why, and counted by
//! reason.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::access::{At, Pass, Right};
use crate::balancer::join::{Join, Joining};
use crate::config::{MAX_WEIGHT, address_of, parse_server};
use crate::fleet::DoorName;
use crate::fleet_core::registry::{DEFAULT_LEASE, Registration};
use crate::fleet_core::{Facts, Identity, Source, Trust};
use crate::protocol::{Hello, Proof, Refusal, RefusalCode, Register, Role};

/// Why somebody may not join: for the count, and for them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Barred {
    pub(super) reason: &'static str,
    pub(super) code: RefusalCode,
    pub(super) text: String,
}

impl Barred {
    fn new(reason: &'static str, code: RefusalCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { reason, code, text }
    }

    fn forbidden(reason: &'static str, text: impl Into<String>) -> Self {
        Self::new(reason, RefusalCode::Forbidden, text)
    }

    fn malformed(reason: &'static str, text: impl Into<String>) -> Self {
        Self::new(reason, RefusalCode::Malformed, text)
    }

    pub(super) fn refusal(&self) -> Refusal {
        Refusal::new(self.code, &*self.text)
    }
}

/// An agent that may tell figures.
#[derive(Debug, PartialEq)]
pub(super) struct Agent {
    pub(super) who: Identity,
    pub(super) name: Option<Arc<str>>,
    pub(super) source: Source,
    pub(super) trust: Trust,
    /// How often it tells figures, if it says so.
    pub(super) every: Option<Duration>,
}

/// Whether somebody at this place may try to join, before anything else of them is looked at.
pub(super) fn may_ask(joining: &Joining, at: At, hello: &Hello, pass: &Pass) -> Result<(), Barred> {
    if hello.role == Role::Agent && hello.token.is_some() {
        return match pass.check(Right::Report) {
            Ok(()) => Ok(()),
            Err(denied) => Err(Barred::new(
                "no right to report",
                denied.refusal().code,
                denied.to_string(),
            )),
        };
    }
    match &joining.join {
        Join::None if hello.role == Role::Agent => Err(Barred::new(
            "no token",
            RefusalCode::Unauthorized,
            "an agent must show the token of a user with the right `report` (role `agent`): start it \
             with --token-file FILE. A balancer without users takes agents as --join says, and this \
             one has --join none",
        )),
        Join::None => Err(Barred::forbidden(
            "registration is off",
            "this balancer takes no registrations of servers: start it with --join loopback, secret \
             or certificate, or name the server there with --server",
        )),
        Join::Loopback if !is_here(at.address()) => Err(Barred::forbidden(
            "not on this machine",
            "this balancer takes registrations from its own machine only (--join loopback): start it \
             with --join secret for servers elsewhere",
        )),
        Join::Certificate if hello.role == Role::Agent => Err(Barred::new(
            "no token",
            RefusalCode::Unauthorized,
            "an agent must show a token here (--token-file FILE): --join certificate is for servers",
        )),
        Join::Loopback | Join::Secret(_) | Join::Certificate => Ok(()),
    }
}

/// Checks the proof of the secret, if one is wanted.
fn check_proof(join: &Join, hello: &Hello, challenge: &str, said: &Register) -> Result<(), Barred> {
    let Join::Secret(secret) = join else {
        return Ok(());
    };
    let Some(proof) = said.proof else {
        return Err(Barred::new(
            "no proof",
            RefusalCode::Unauthorized,
            "this balancer wants a proof of its secret (--join secret): start the server with \
             --register-secret-file FILE, with the same first line as the balancer's \
             --join-secret-file",
        ));
    };
    let address = said.address.as_deref().unwrap_or_default();
    let identity = hello.identity.as_deref().unwrap_or_default();
    if Proof::new(secret, challenge, address, identity) == proof {
        Ok(())
    } else {
        Err(Barred::new(
            "wrong proof",
            RefusalCode::Unauthorized,
            "the secret is not that of this balancer: the first lines of --register-secret-file here \
             and of --join-secret-file there must be the same",
        ))
    }
}

/// What a server registers as.
pub(super) fn server(
    joining: &Joining,
    at: At,
    hello: &Hello,
    challenge: &str,
    said: Register,
) -> Result<Registration, Barred> {
    check_proof(&joining.join, hello, challenge, &said)?;
    let Some(directory) = hello.identity.clone() else {
        return Err(Barred::malformed(
            "no identity",
            "a server registers with the identity of its directory, and this one has none: it cannot \
             use its directory now",
        ));
    };
    let Some(address) = &said.address else {
        return Err(Barred::malformed(
            "no address",
            "a server registers with the address at which it takes files",
        ));
    };
    let address = address_for(&joining.join, at.address(), address)?;
    let weight = said.weight.unwrap_or(1);
    if weight > MAX_WEIGHT {
        let text = format!("the weight {weight} is too large: at most {MAX_WEIGHT} is taken");
        return Err(Barred::malformed("weight too large", text));
    }
    Ok(Registration {
        directory,
        instance: hello.instance.clone(),
        address: address.into(),
        weight,
        name: said.name,
        ticket: said.ticket,
        is_proved: joining.join != Join::Certificate,
        peer: Some(at.address().ip().to_canonical()),
        lease: DEFAULT_LEASE,
        facts: Facts::default(),
    })
}

/// Whom an agent is taken for.
pub(super) fn agent(
    joining: &Joining,
    at: At,
    pass: &Pass,
    hello: &Hello,
    challenge: &str,
    said: Register,
) -> Result<Agent, Barred> {
    if said.address.is_some() {
        return Err(Barred::malformed(
            "an agent with an address",
            "an agent registers without an address: it takes no files",
        ));
    }
    let every = said.every_ms.map(Duration::from_millis);
    if hello.token.is_some()
        && let Some(user) = pass.user()
    {
        return Ok(Agent {
            who: Identity::Agent(user.text().clone()),
            name: said.name,
            source: Source::Token,
            trust: Trust::Proved,
            every,
        });
    }
    check_proof(&joining.join, hello, challenge, &said)?;
    let who = match &said.name {
        Some(name) => Identity::Instance(name.clone()),
        None => Identity::Source(at.address().ip().to_canonical()),
    };
    let trust = match joining.join {
        Join::Secret(_) => Trust::Proved,
        _ => Trust::Claimed,
    };
    Ok(Agent {
        who,
        name: said.name,
        source: Source::Registered,
        trust,
        every,
    })
}

/// The address at which a server is looked for that said this one.
fn address_for(join: &Join, peer: SocketAddr, said: &str) -> Result<String, Barred> {
    let (name, place) = match said.split_once('@') {
        Some((name, place)) => (Some(name), place),
        None => (None, said),
    };
    let ip = peer.ip().to_canonical();
    let filled = match place.rsplit_once(':') {
        Some((host, port)) if is_unspecified(host) => {
            let port = port.parse().unwrap_or(0);
            SocketAddr::new(ip, port).to_string()
        }
        _ => place.to_owned(),
    };
    let called = name.map_or_else(|| filled.clone(), |name| format!("{name}@{filled}"));
    let called = parse_server(&called)
        .map_err(|error| Barred::malformed("bad address", error.to_string()))?;
    let place = address_of(&called);
    if place.ends_with(":0") {
        let text =
            format!("{place}: a server registers with the port at which it listens, not with 0");
        return Err(Barred::malformed("bad address", text));
    }
    let is_own = place
        .parse::<SocketAddr>()
        .is_ok_and(|place| place.ip().to_canonical() == ip);
    let is_of_loopback = place == format!("localhost:{}", port_of(place)) || is_here_text(place);
    if is_of_loopback && !ip.is_loopback() {
        let text = format!(
            "{place} leads from the balancer to its own machine, and the server registers from {ip}: \
             start the server with a --listen address that the balancer can reach, or with \
             --advertise HOST:PORT"
        );
        return Err(Barred::forbidden("foreign address", text));
    }
    match join {
        Join::Loopback if !is_of_loopback => {
            let text = format!(
                "{place} is not an address of this machine alone: with --join loopback servers \
                 register addresses such as 127.0.0.1:5001"
            );
            Err(Barred::forbidden("foreign address", text))
        }
        Join::Certificate if !is_own => {
            let text = format!(
                "{place} is not where the registration comes from ({ip}): with --join certificate a \
                 server registers its own address"
            );
            Err(Barred::forbidden("foreign address", text))
        }
        _ => Ok(called),
    }
}

fn port_of(place: &str) -> &str {
    place.rsplit_once(':').map_or("", |(_, port)| port)
}

fn is_unspecified(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.is_empty() || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

fn is_here_text(place: &str) -> bool {
    place.parse::<SocketAddr>().is_ok_and(is_here)
}

fn is_here(at: SocketAddr) -> bool {
    at.ip().to_canonical().is_loopback()
}

/// Counts a refusal.
pub(super) fn count(joining: &Joining, barred: &Barred, at: At) {
    let doors = joining.fleet.doors();
    doors.refused(DoorName::Join, barred.reason, &at.address());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_without_a_host_is_that_of_the_peer() {
        for (peer, said, expected) in [
            ("10.0.0.7:4000", "0.0.0.0:5001", "10.0.0.7:5001"),
            ("10.0.0.7:4000", "[::]:5001", "10.0.0.7:5001"),
            ("10.0.0.7:4000", ":5001", "10.0.0.7:5001"),
            ("[::ffff:10.0.0.7]:4000", ":5001", "10.0.0.7:5001"),
            ("[fe80::1]:4000", "0.0.0.0:5001", "[fe80::1]:5001"),
            ("10.0.0.7:4000", "store-1@:5001", "store-1@10.0.0.7:5001"),
            ("10.0.0.7:4000", "store.example:5001", "store.example:5001"),
            ("10.0.0.7:4000", "10.0.0.8:5001", "10.0.0.8:5001"),
        ] {
            let join = Join::Secret("s".into());
            let filled = address_for(&join, at(peer), said).unwrap();
            assert_eq!(filled, expected, "{said} from {peer}");
        }
    }

    #[test]
    fn nobody_has_another_machine_probed_without_a_proof() {
        let secret = Join::Secret("s".into());
        for (join, peer, said, reason) in [
            (
                &Join::Loopback,
                "127.0.0.1:9",
                "10.0.0.7:5001",
                "foreign address",
            ),
            (
                &Join::Loopback,
                "127.0.0.1:9",
                "store:5001",
                "foreign address",
            ),
            (
                &Join::Certificate,
                "10.0.0.7:9",
                "10.0.0.8:5001",
                "foreign address",
            ),
            (
                &Join::Certificate,
                "10.0.0.7:9",
                "store:5001",
                "foreign address",
            ),
            (&secret, "10.0.0.7:9", "127.0.0.1:5001", "foreign address"),
            (&secret, "10.0.0.7:9", "[::1]:5001", "foreign address"),
            (&secret, "10.0.0.7:9", "localhost:5001", "foreign address"),
            (&secret, "10.0.0.7:9", ":0", "bad address"),
            (&secret, "10.0.0.7:9", ":x", "bad address"),
            (&secret, "10.0.0.7:9", "5001", "bad address"),
            (&secret, "10.0.0.7:9", "A@:5001", "bad address"),
        ] {
            let barred = address_for(join, at(peer), said).unwrap_err();
            assert_eq!(barred.reason, reason, "{said} from {peer}: {barred:?}");
        }
        for said in [
            "127.0.0.1:5001",
            "[::1]:5001",
            "localhost:5001",
            "0.0.0.0:5001",
        ] {
            address_for(&Join::Loopback, at("127.0.0.1:9"), said).unwrap();
        }
        address_for(&Join::Certificate, at("10.0.0.7:9"), "10.0.0.7:5001").unwrap();
    }
}
