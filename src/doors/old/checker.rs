//! Where checkers come. The balancer speaks first: it names the servers that it knows, and hears
//! which of them the checker can reach. That is a second opinion, which is shown and removes nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::entries::Entry;
use super::{Peer, Shared};
use crate::doors::refused::Refused;
use crate::fleet::{Author, DoorName};
use crate::fleet_core::old::{MAX_READ, Unpickler, pickle};
use crate::transport::BoxStream;

/// The most checkers that are served.
const SERVED: usize = 4;

/// The turns of those that are served.
pub(super) struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(SERVED))
    }
}

/// Serves a checker until it goes.
pub(super) async fn serve(stream: BoxStream, peer: Peer, shared: Arc<Shared>, turns: Arc<Turns>) {
    peer.seat.know();
    peer.seat.work();
    let doors = shared.fleet.doors();
    let Ok(_turn) = turns.0.try_acquire() else {
        return doors.refused(DoorName::Checker, "there are 4 checkers", &peer.address);
    };
    let mut checker = Checker {
        stream,
        note: format!("the checker at {} cannot reach it", peer.address.ip()),
        author: shared.fleet.author(),
        unreached: BTreeMap::new(),
        after: None,
        shared: shared.clone(),
    };
    if let Err(Refused(reason)) = checker.run().await {
        doors.refused(DoorName::Checker, reason, &peer.address);
    }
    let _ = checker.stream.shutdown().await;
}

struct Checker {
    stream: BoxStream,
    note: String,
    /// Its opinions end with its connection.
    author: Author,
    /// The notes about members that it cannot reach.
    unreached: BTreeMap<String, String>,
    /// The last server of the last list.
    after: Option<String>,
    shared: Arc<Shared>,
}

impl Checker {
    async fn run(&mut self) -> Result<(), Refused> {
        let limits = self.shared.limits;
        loop {
            let known = self.shared.entries();
            let asked = next_list(&known, self.after.as_deref());
            self.after = asked.last().map(|entry| entry.address.clone());
            let list = pickle(asked.iter().map(|entry| &*entry.address));
            let sent = Instant::now();
            match timeout(limits.patience, self.stream.write_all(&list)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Refused("it reads nothing")),
            }
            let each = u32::try_from(asked.len()).unwrap_or(u32::MAX);
            let ends = sent + limits.check + limits.check_each.saturating_mul(each);
            let Some(reached) = self.answer(ends).await? else {
                return Ok(());
            };
            self.hear(&known, &asked, &reached)?;
            self.shared.fleet.doors().took(DoorName::Checker);
            // It sleeps between two lists. Whatever comes meanwhile answers nothing.
            match timeout_at(sent + limits.pace, self.stream.read(&mut [0; 1])).await {
                Err(_) => {}
                Ok(Ok(0) | Err(_)) => return Ok(()),
                Ok(Ok(_)) => return Err(Refused("an answer that nobody asked for")),
            }
        }
    }

    /// The servers that the checker can reach; `None` if it has gone.
    async fn answer(&mut self, ends: Instant) -> Result<Option<BTreeSet<String>>, Refused> {
        let mut answer = Unpickler::default();
        let mut came = [0; MAX_READ];
        loop {
            let length = match timeout_at(ends, self.stream.read(&mut came)).await {
                Ok(Ok(0) | Err(_)) if answer.is_empty() => return Ok(None),
                Ok(Ok(0) | Err(_)) => return Err(Refused("an answer that is cut")),
                Ok(Ok(length)) => length,
                Err(_) => return Err(Refused("no answer in time")),
            };
            let bytes = came.get(..length).unwrap_or_default();
            match answer.push(bytes) {
                Ok(None) => {}
                Ok(Some(reached)) => return Ok(Some(reached)),
                Err(error) => {
                    tracing::debug!(%error, "a checker's answer");
                    return Err(Refused("no pickled set of texts"));
                }
            }
        }
    }

    /// Notes the servers that the checker cannot reach.
    fn hear(
        &mut self,
        known: &[Entry],
        asked: &[Entry],
        reached: &BTreeSet<String>,
    ) -> Result<(), Refused> {
        let addresses: BTreeSet<_> = asked.iter().map(|entry| &entry.address).collect();
        if !reached.iter().all(|address| addresses.contains(address)) {
            return Err(Refused("it can reach what it was not asked about"));
        }
        for entry in asked {
            if reached.contains(&entry.address) {
                self.unreached.remove(&entry.id);
            } else {
                self.unreached.insert(entry.id.clone(), self.note.clone());
            }
        }
        let known: BTreeSet<_> = known.iter().map(|entry| &entry.id).collect();
        self.unreached.retain(|id, _| known.contains(id));
        self.author.note(self.unreached.clone());
        Ok(())
    }
}

/// As many servers as fit into what a checker reads at once, from behind this one on.
fn next_list(known: &[Entry], after: Option<&str>) -> Vec<Entry> {
    let place = |after: &str| known.iter().position(|entry| entry.address == after);
    let start = after.and_then(place).map_or(0, |place| place + 1);
    let mut list = Vec::new();
    // What stands around the texts, and before each of those that are short enough.
    let mut length = pickle([""]).len() - 2;
    for entry in known.iter().cycle().skip(start).take(known.len()) {
        let more = 2 + entry.address.len();
        if entry.address.len() > usize::from(u8::MAX) {
            continue;
        }
        if length + more > MAX_READ {
            break;
        }
        length += more;
        list.push(entry.clone());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::super::entries::Kind;
    use super::*;

    fn entries(count: usize) -> Vec<Entry> {
        let entry = |n| Entry {
            address: format!("127.0.0.1:{}", 5050 + n),
            id: format!("address:127.0.0.1:{}", 5050 + n),
            kind: Kind::Known,
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn each_list_is_one_read_and_all_servers_have_their_turn() {
        for count in [0, 1, 62, 63, 64, 200] {
            let known = entries(count);
            let mut asked = BTreeSet::new();
            let mut after: Option<String> = None;
            for _ in 0..count.div_ceil(63) {
                let list = next_list(&known, after.as_deref());
                let bytes = pickle(list.iter().map(|entry| &*entry.address));
                assert!(bytes.len() <= MAX_READ, "{count}: {} bytes", bytes.len());
                assert_eq!(list.len(), count.min(63));
                after = list.last().map(|entry| entry.address.clone());
                asked.extend(list.into_iter().map(|entry| entry.address));
            }
            assert_eq!(asked.len(), count);
        }
    }

    #[test]
    fn a_list_goes_on_from_the_start_when_its_last_server_has_gone() {
        let known = entries(3);
        let addresses = |after| {
            let list = next_list(&known, after);
            list.into_iter()
                .map(|entry| entry.address)
                .collect::<Vec<_>>()
        };
        let all = ["127.0.0.1:5050", "127.0.0.1:5051", "127.0.0.1:5052"];
        assert_eq!(addresses(Some("127.0.0.1:9")), all);
        assert_eq!(addresses(Some(all[0])), [all[1], all[2], all[0]]);
    }

    #[test]
    fn a_name_that_is_too_long_is_left_out() {
        let mut known = entries(2);
        known[0].address = "x".repeat(300);
        assert_eq!(next_list(&known, None), known[1..]);
    }
}
