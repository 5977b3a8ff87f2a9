//! The standing orders: what operators have ordered about servers while the balancer ran, and what is
//! still in force. They survive the balancer, in a file of the journal's directory.
//!
//! An order is answered when the file has it. The file is small, is written anew as a whole beside
//! the hub, and gets its name when it is synced; orders that come while it is written share the next
//! writing. A file that is damaged, or that belongs to another journal, is set aside and told: the
//! balancer starts as it is configured.
//!
//! The configuration decides where it has changed since: a weight stands as long as the configured
//! weight is the one that it replaced.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ServerSpec;
use crate::queue::SealedFile;
use crate::queue::disk::Disk;
use crate::queue::segment::JournalId;

/// The file.
pub(super) const FILE: SealedFile = SealedFile {
    name: "orders",
    part: "orders.part",
    damaged: "orders.damaged",
    first: "bilico orders 1",
    most: 16 * 1024 * 1024,
};

/// A journal's name in the file: the identity that it keeps when it is adopted, so a journal that was
/// restored from a backup has its orders.
pub(super) fn name_of(journal: JournalId) -> String {
    format!("{:032x}", u128::from_be_bytes(journal))
}

/// What stands about one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// It is drained.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drained: bool,
    /// It has another weight than the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<HeldWeight>,
    /// It was added, with this weight, and is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u32>,
    /// It was removed, though it is configured with this weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A weight in place of the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldWeight {
    /// What was ordered.
    pub ordered: u32,
    /// The configured weight at that time.
    pub configured: u32,
}

impl Held {
    /// In words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(weight) = self.added {
            words.push(format!("added with weight {weight}"));
        }
        if self.removed.is_some() {
            words.push("removed".to_owned());
        }
        if let Some(HeldWeight {
            ordered,
            configured,
        }) = self.weight
        {
            words.push(format!("weight {ordered} instead of {configured}"));
        }
        if self.drained {
            words.push("drained".to_owned());
        }
        words.join(", ")
    }
}

/// All standing orders, by server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing(BTreeMap<String, Held>);

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// The identity of the journal, so that a file that was copied to another one does nothing.
    journal: String,
    servers: BTreeMap<String, Held>,
}

impl Standing {
    /// Reads the file; no file means no orders.
    pub(super) fn read(disk: &dyn Disk, journal: &str) -> Result<Self, String> {
        match FILE.read(disk)? {
            Some(bytes) => Self::parse(&bytes, journal),
            None => Ok(Self::default()),
        }
    }

    fn parse(bytes: &[u8], journal: &str) -> Result<Self, String> {
        let content: Content = serde_json::from_str(FILE.open(bytes)?)
            .map_err(|error| format!("it is damaged: {error}"))?;
        if content.journal != journal {
            return Err(format!(
                "it belongs to the journal {}, and this is {journal}",
                content.journal
            ));
        }
        Ok(Self(content.servers))
    }

    /// The text of the file.
    pub(super) fn text(&self, journal: &str) -> String {
        let content = Content {
            journal: journal.to_owned(),
            servers: self.0.clone(),
        };
        // Text and numbers can always be written as JSON.
        FILE.seal(&serde_json::to_string(&content).unwrap_or_default())
    }

    /// What stands about each server.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Held)> {
        self.0.iter()
    }

    /// What stands about each server, for a sample.
    pub(super) fn by_server(&self) -> BTreeMap<String, Held> {
        self.0.clone()
    }

    /// What stands about this server.
    pub(super) fn of(&self, server: &str) -> Option<&Held> {
        self.0.get(server)
    }

    /// Forgets what stands about a server.
    pub(super) fn forget(&mut self, server: &str) {
        self.0.remove(server);
    }

    fn change(&mut self, server: &str, change: impl FnOnce(&mut Held)) {
        let held = self.0.entry(server.to_owned()).or_default();
        change(held);
        if *held == Held::default() {
            self.0.remove(server);
        }
    }

    /// A server was given another weight; `configured` is the one that it has without orders.
    pub(super) fn weigh(&mut self, server: &str, weight: u32, configured: Option<u32>) {
        self.change(server, |held| match configured {
            Some(configured) => {
                let differs = weight != configured;
                held.weight = differs.then_some(HeldWeight {
                    ordered: weight,
                    configured,
                });
            }
            None => held.added = Some(weight),
        });
    }

    /// A drain began or ended.
    pub(super) fn drain(&mut self, server: &str, is_drained: bool) {
        self.change(server, |held| held.drained = is_drained);
    }

    /// A server that registered has another address: what stands about it goes with it. Whether that
    /// is anything.
    pub(super) fn moved(&mut self, from: &str, to: &str) -> bool {
        let Some(held) = self.0.remove(from) else {
            return false;
        };
        self.0.insert(to.to_owned(), held);
        true
    }

    /// A server is there because it has registered with this weight. If it was added by order, that is
    /// an order about its weight from now on; whether it is.
    pub(super) fn registered(&mut self, server: &str, weight: u32) -> bool {
        let Some(ordered) = self.0.get_mut(server).and_then(|held| held.added.take()) else {
            return false;
        };
        self.weigh(server, ordered, Some(weight));
        true
    }

    /// The servers that were removed, though they are configured or had registered.
    pub(super) fn removed(&self) -> impl Iterator<Item = &String> {
        let removed = self.0.iter().filter(|(_, held)| held.removed.is_some());
        removed.map(|(server, _)| server)
    }

    /// A server was added.
    pub(super) fn add(&mut self, server: &str, weight: u32, configured: Option<u32>) {
        self.forget(server);
        self.weigh(server, weight, configured);
    }

    /// A server was removed.
    pub(super) fn remove(&mut self, server: &str, configured: Option<u32>) {
        self.forget(server);
        self.change(server, |held| held.removed = configured);
    }

    /// The configuration was applied: it decides about servers and weights. Drains stay.
    /// What stands about servers that have registered stays, too.
    pub(super) fn configured(&mut self, servers: &[ServerSpec], registered: &[ServerSpec]) {
        self.0.retain(|server, held| {
            let is_configured = servers.iter().any(|spec| spec.address == *server);
            if !is_configured && registered.iter().any(|spec| spec.address == *server) {
                return true;
            }
            *held = Held {
                drained: held.drained,
                ..Held::default()
            };
            is_configured && held.drained
        });
    }

    /// The servers to begin with, given the configured ones. Orders that the configuration has
    /// overtaken are forgotten; what became of them is told in words.
    pub(super) fn begin(&mut self, configured: &[ServerSpec]) -> (Vec<ServerSpec>, Vec<String>) {
        let mut servers = Vec::new();
        let mut overtaken = Vec::new();
        for spec in configured {
            let mut weight = spec.weight;
            let mut is_removed = false;
            if let Some(held) = self.0.get_mut(&spec.address) {
                let replaced = held.weight.map(|weight| weight.configured).or(held.removed);
                let is_overtaken = held.added.is_some()
                    || replaced.is_some_and(|configured| configured != spec.weight);
                if is_overtaken {
                    overtaken.push(format!(
                        "{} ({}): its configuration has changed since, and counts",
                        spec.address,
                        held.words()
                    ));
                    *held = Held {
                        drained: held.drained,
                        ..Held::default()
                    };
                }
                weight = held.weight.map_or(weight, |weight| weight.ordered);
                is_removed = held.removed.is_some();
            }
            if !is_removed {
                servers.push(ServerSpec {
                    address: spec.address.clone(),
                    weight,
                });
            }
        }
        self.0.retain(|server, held| {
            let is_configured = configured.iter().any(|spec| spec.address == *server);
            if let Some(weight) = held.added {
                servers.push(ServerSpec {
                    address: server.clone(),
                    weight,
                });
            } else if !is_configured {
                overtaken.push(format!(
                    "{server} ({}): it is no longer configured",
                    held.words()
                ));
                return false;
            }
            *held != Held::default()
        });
        (servers, overtaken)
    }
}

/// The configured servers, and those that have registered: what the balancer has without orders.
pub(super) fn with_registered(
    configured: &[ServerSpec],
    registered: &[ServerSpec],
) -> Vec<ServerSpec> {
    let is_new = |spec: &&ServerSpec| !configured.iter().any(|one| one.address == spec.address);
    let registered = registered.iter().filter(is_new);
    configured.iter().chain(registered).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sim::SimDisk;

    fn spec(address: &str, weight: u32) -> ServerSpec {
        ServerSpec {
            address: address.to_owned(),
            weight,
        }
    }

    fn some_orders() -> Standing {
        let mut orders = Standing::default();
        orders.weigh("a", 6, Some(3));
        orders.drain("b", true);
        orders.add("c", 2, None);
        orders.remove("d", Some(1));
        orders
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        let disk = SimDisk::new();
        assert_eq!(Standing::read(&disk, "j"), Ok(Standing::default()));
        let orders = some_orders();
        for text in ["bilico orders 1\n", &orders.text("j")] {
            FILE.write(&disk, text).unwrap();
        }
        assert_eq!(Standing::read(&disk, "j"), Ok(orders));
    }

    /// Each byte of the file that is another, and each length: an error, never other orders.
    #[test]
    fn damage_is_found_wherever_it_is() {
        let orders = some_orders();
        let text = orders.text("j").into_bytes();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            assert!(
                Standing::parse(&damaged, "j").is_err_and(|why| !why.is_empty())
                    || damaged[at] == b'\n'
                    || text[at] == b'\n',
                "byte {at}"
            );
        }
        for len in 0..text.len() - 1 {
            assert!(Standing::parse(&text[..len], "j").is_err(), "{len} bytes");
        }
        let error = Standing::parse(&text, "k").unwrap_err();
        assert_eq!(error, "it belongs to the journal j, and this is k");
    }

    #[test]
    fn orders_count_until_the_configuration_changes() {
        let configured = [spec("a", 3), spec("b", 2), spec("d", 1)];
        let mut orders = some_orders();
        let (servers, overtaken) = orders.begin(&configured);
        assert_eq!(servers, [spec("a", 6), spec("b", 2), spec("c", 2)]);
        assert!(overtaken.is_empty() && orders == some_orders());

        let changed = [spec("a", 4), spec("c", 7), spec("d", 9)];
        let (servers, overtaken) = orders.begin(&changed);
        assert_eq!(servers, changed);
        assert_eq!(overtaken.len(), 4, "{overtaken:?}");
        assert_eq!(orders, Standing::default());
    }

    #[test]
    fn what_is_ordered_back_stands_no_longer_and_a_reload_keeps_drains() {
        let mut orders = some_orders();
        orders.weigh("a", 3, Some(3));
        orders.drain("b", false);
        orders.remove("c", None);
        orders.add("d", 1, Some(1));
        assert_eq!(orders, Standing::default());

        let mut orders = some_orders();
        orders.drain("a", true);
        orders.weigh("r", 5, Some(1));
        orders.configured(&[spec("a", 3), spec("d", 1)], &[spec("r", 1)]);
        assert_eq!(
            orders.of("r").map(Held::words),
            Some("weight 5 instead of 1".to_owned())
        );
        orders.forget("r");
        let words: Vec<String> = orders
            .all()
            .map(|(server, held)| format!("{server}: {}", held.words()))
            .collect();
        assert_eq!(words, ["a: drained"]);
    }
}
