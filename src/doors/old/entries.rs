//! The servers that the first system's clients and checkers are told of: those that have announced
//! themselves and are there, and members of ours that tell how they are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::net::SocketAddr;

use tokio::time::Instant;

use super::Shared;
use crate::config::{address_of, parse_address};
use crate::fleet_core::{MemberReport, MemberState, Source};

/// A server that can be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// `HOST:PORT`.
    pub(super) address: String,
    /// The member's identity.
    pub(super) id: String,
    pub(super) kind: Kind,
}

/// Where its status comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the server, which has announced itself.
    Announced(SocketAddr),
    /// From what is known of the member.
    Known,
}

impl Entry {
    fn port(&self) -> Option<u16> {
        self.address.rsplit_once(':')?.1.parse().ok()
    }
}

impl Shared {
    /// The servers that can be picked, by address. What is known of a server of ours counts, and not
    /// what is claimed of it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let there = self.announced.there(Instant::now());
        let members = self.fleet.members().into_iter();
        let entries = members.filter_map(|member| {
            let address = address(&member)?.to_owned();
            let kind = if member.source == Source::Announced {
                let at = address.parse().ok()?;
                there.contains(&at).then_some(Kind::Announced(at))
            } else {
                is_known(&member).then_some(Kind::Known)
            };
            Some(Entry {
                address,
                kind: kind?,
                id: member.id,
            })
        });
        let mut by_address = BTreeMap::new();
        for entry in entries {
            let is_known = entry.kind == Kind::Known;
            match by_address.entry(entry.address.clone()) {
                Occupied(mut place) if is_known => drop(place.insert(entry)),
                Occupied(_) => {}
                Vacant(place) => {
                    place.insert(entry);
                }
            }
        }
        by_address.into_values().collect()
    }
}

/// Where a member listens, if it does. A server of ours is called by its address.
fn address(member: &MemberReport) -> Option<&str> {
    use Source::{Configuration, Order, Registered};
    let is_server = matches!(member.source, Configuration | Order | Registered);
    let name = is_server.then_some(&*member.name);
    let address = address_of(member.address.as_deref().or(name)?);
    parse_address(address).is_ok().then_some(address)
}

/// Whether a member of ours is there and tells how it is.
pub(super) fn is_known(member: &MemberReport) -> bool {
    use MemberState::{Active, Joining, Late, Leaving};
    let tells = member.facts.cpu.is_some() || member.facts.memory_part().is_some();
    tells && matches!(member.state, Joining | Active | Late | Leaving)
}

/// Why a choice picks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpicked {
    /// It is not in the list.
    Unlisted,
    /// Several servers have that port.
    Several,
}

/// The server that a client picks by its port or by `HOST:PORT`, with white space around it.
pub(super) fn pick<'a>(entries: &'a [Entry], choice: &str) -> Result<&'a Entry, Unpicked> {
    let choice = choice.trim();
    if let Some(entry) = entries.iter().find(|entry| entry.address == choice) {
        return Ok(entry);
    }
    let port = choice.parse::<u16>().map_err(|_| Unpicked::Unlisted)?;
    let mut with_port = entries.iter().filter(|entry| entry.port() == Some(port));
    match (with_port.next(), with_port.next()) {
        (Some(entry), None) => Ok(entry),
        (Some(_), Some(_)) => Err(Unpicked::Several),
        (None, _) => Err(Unpicked::Unlisted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_port_or_an_address_of_the_list() {
        let entries: Vec<_> = [
            "10.0.0.1:5050",
            "10.0.0.2:5050",
            "10.0.0.2:5051",
            "[::1]:5052",
        ]
        .map(|address| Entry {
            address: address.to_owned(),
            id: format!("address:{address}"),
            kind: Kind::Known,
        })
        .into();
        let picked = |choice: &str| pick(&entries, choice).map(|entry| &*entry.address);
        for choice in ["5051", " 5051 \r\n", "+5051", "005051", "10.0.0.2:5051"] {
            assert_eq!(picked(choice), Ok("10.0.0.2:5051"), "{choice:?}");
        }
        assert_eq!(picked("5052"), Ok("[::1]:5052"));
        assert_eq!(picked("10.0.0.2:5050"), Ok("10.0.0.2:5050"));
        assert_eq!(picked("5050"), Err(Unpicked::Several));
        for choice in [
            "",
            " ",
            "22",
            "70586",
            "-5051",
            "50 51",
            "10.0.0.3:5050",
            "x",
        ] {
            assert_eq!(picked(choice), Err(Unpicked::Unlisted), "{choice:?}");
        }
    }
}
