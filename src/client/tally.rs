//! What became of each file of a transfer, and the sums of it.

use std::collections::BTreeMap;

use crate::protocol::Message;

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fate {
    /// No receipt yet.
    #[default]
    Pending,
    /// The balancer has it.
    Accepted {
        /// Its request number.
        number: u64,
    },
    /// A server has it.
    Delivered {
        /// Its request number.
        number: u64,
        /// The server.
        server: String,
        /// False from an old-style server, which never acknowledges.
        confirmed: bool,
    },
    /// The balancer refused it.
    Refused {
        /// Why.
        reason: String,
    },
    /// It could not be read here, and was not sent.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl Fate {
    /// Whether nothing more can become of it.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Accepted { .. })
    }
}

/// What became of all files of a transfer.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By file.
    pub fates: Vec<Fate>,
    /// The size of each file's content, once it is known.
    pub sizes: Vec<u64>,
    /// Files that the balancer has or had.
    pub accepted: usize,
    /// Files that a server has.
    pub delivered: usize,
    /// Bytes of content of those.
    pub delivered_bytes: u64,
    /// Files that were refused.
    pub refused: usize,
    /// Files that could not be read here.
    pub unreadable: usize,
    /// Files by the server that has them.
    pub by_server: BTreeMap<String, u64>,
    /// What the balancer waits for before it reads on, if it does.
    pub waiting: Option<String>,
}

impl Tally {
    /// A tally of `files` files of which nothing is known.
    pub fn new(files: usize) -> Self {
        Self { fates: vec![Fate::Pending; files], sizes: vec![0; files], ..Self::default() }
    }

    /// How many files have no final fate.
    pub fn undecided(&self) -> usize {
        self.fates.len() - self.delivered - self.refused - self.unreadable
    }

    /// How many files have neither been accepted nor given up.
    pub fn unaccepted(&self) -> usize {
        self.fates.len() - self.accepted - self.refused - self.unreadable
    }

    /// The file's size is known.
    pub fn sized(&mut self, file: usize, size: u64) {
        if let Some(place) = self.sizes.get_mut(file) {
            *place = size;
        }
    }

    /// The file could not be read.
    pub fn unreadable(&mut self, file: usize, reason: String) {
        self.unreadable += usize::from(self.settle(file, Fate::Unreadable { reason }));
    }

    /// A message came. Those that make no sense here change nothing.
    pub fn heard(&mut self, message: Message) {
        let place = |id: u64| usize::try_from(id).unwrap_or(usize::MAX);
        match message {
            Message::Accepted { id, number } => self.accept(place(id), number),
            Message::Delivered { id, number, server, confirmed } => {
                self.accept(place(id), number);
                let size = self.sizes.get(place(id)).copied().unwrap_or(0);
                if self.settle(place(id), Fate::Delivered { number, server: server.to_string(), confirmed }) {
                    self.delivered += 1;
                    self.delivered_bytes += size;
                    *self.by_server.entry(server.to_string()).or_default() += 1;
                }
            }
            Message::Refused { id, refusal } => {
                self.refused += usize::from(self.settle(place(id), Fate::Refused { reason: refusal.reason }));
            }
            Message::Waiting { reason } => self.waiting = Some(reason),
            Message::Resumed => self.waiting = None,
            _ => {}
        }
    }

    fn accept(&mut self, file: usize, number: u64) {
        if let Some(fate @ Fate::Pending) = self.fates.get_mut(file) {
            *fate = Fate::Accepted { number };
            self.accepted += 1;
        }
    }

    /// Gives a file its final fate, if it has none yet.
    fn settle(&mut self, file: usize, to: Fate) -> bool {
        match self.fates.get_mut(file) {
            Some(fate) if !fate.is_final() => {
                *fate = to;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Refusal, RefusalCode};

    fn delivered(id: u64) -> Message {
        Message::Delivered { id, number: id + 100, server: "s".into(), confirmed: true }
    }

    #[test]
    fn receipts_are_counted_once_in_any_order() {
        let mut tally = Tally::new(4);
        tally.sized(0, 10);
        tally.heard(Message::Accepted { id: 0, number: 100 });
        tally.heard(Message::Accepted { id: 0, number: 100 });
        assert_eq!((tally.accepted, tally.unaccepted(), tally.undecided()), (1, 3, 4));
        tally.heard(delivered(0));
        tally.heard(delivered(0));
        tally.heard(delivered(1));
        assert_eq!((tally.accepted, tally.delivered, tally.delivered_bytes), (2, 2, 10));
        assert_eq!(tally.by_server["s"], 2);
        tally.heard(Message::Refused { id: 2, refusal: Refusal::new(RefusalCode::TooLarge, "too large") });
        tally.unreadable(3, "gone".to_owned());
        tally.unreadable(0, "too late".to_owned());
        assert_eq!((tally.refused, tally.unreadable, tally.undecided(), tally.unaccepted()), (1, 1, 0, 0));
    }

    #[test]
    fn receipts_for_files_that_do_not_exist_change_nothing() {
        let mut tally = Tally::new(1);
        tally.heard(delivered(1));
        tally.heard(Message::Accepted { id: u64::MAX, number: 1 });
        assert_eq!((tally.accepted, tally.delivered, tally.undecided()), (0, 0, 1));
    }
}
