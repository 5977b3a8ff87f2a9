//! What became of each file of a transfer, and the totals.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::Summed;
use crate::protocol::{Message, RefusalCode};

/// The place among the files that a message's `id` names.
pub(super) fn place(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

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
    /// It changed each time while it was read, and was not sent: the bytes that were read may be no
    /// content that the file ever had.
    Changed {
        /// How it changed.
        reason: String,
    },
    /// No server can take it; the balancer keeps it among its dead letters.
    Dead {
        /// Its request number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The balancer had it, and no longer knew it after the connection was lost: it was delivered
    /// and forgotten, or the balancer's journal was lost. A resend could store it twice.
    Forgotten {
        /// Its request number.
        number: u64,
    },
}

impl Fate {
    /// Whether the fate can no longer change.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Accepted { .. })
    }
}

/// The content that was sent of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// The size of its content in bytes, once it is known.
    pub size: Option<u64>,
    /// The hash of its content, once all of it was read, if it is hashed.
    pub hash: Option<blake3::Hash>,
    /// The CRC32C of the same content.
    pub crc32c: Option<u32>,
    /// How the file changed while its content was read, which was sent all the same.
    pub change: Option<Box<str>>,
    /// The title that it was sent under, if not that of its source.
    pub title: Option<Box<str>>,
    /// Whether all of its content went to the connection, so that the balancer may have accepted it.
    pub has_left: bool,
}

/// What became of the files of a transfer, and the totals.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The fate of each file, by its place.
    pub fates: Vec<Fate>,
    /// What was sent of each file, by its place.
    pub sent: Vec<Sent>,
    /// The files with a final fate, in the order in which they got it.
    pub settled: Vec<usize>,
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
    /// Files that changed each time while they were read, and were not sent.
    pub changed: usize,
    /// Files that no server can take.
    pub dead: usize,
    /// Files that the balancer had and no longer knows.
    pub forgotten: usize,
    /// Files by the server that has them.
    pub by_server: BTreeMap<String, u64>,
    /// The refused files that are not at fault themselves: the balancer was full, for instance, or
    /// the client had lost its right to send.
    pub passing: BTreeSet<usize>,
    /// What the balancer waits for before it reads on, if it does.
    pub waiting: Option<String>,
    /// Whether the connection is lost, and another one not yet made.
    pub reconnecting: bool,
    /// Files without a receipt.
    pending: usize,
}

impl Tally {
    /// A tally of `files` files without receipts.
    pub fn new(files: usize) -> Self {
        Self {
            fates: vec![Fate::Pending; files],
            sent: vec![Sent::default(); files],
            pending: files,
            ..Self::default()
        }
    }

    /// The balancer had the file before this transfer, under this number and with this content, or
    /// may have had it: it is only asked about, and is forgotten if the balancer does not know it.
    pub fn had_before(&mut self, file: usize, number: u64, (size, crc32c): (u64, u32)) {
        self.accept(file, number);
        if let Some(sent) = self.sent.get_mut(file) {
            sent.size = Some(size);
            sent.crc32c = Some(crc32c);
        }
    }

    /// How many files have no final fate yet.
    pub fn undecided(&self) -> usize {
        self.fates.len() - self.settled.len()
    }

    /// How many files were neither accepted nor given up.
    pub fn unaccepted(&self) -> usize {
        self.pending
    }

    /// How many files the balancer has, by its receipts.
    pub fn with_the_balancer(&self) -> usize {
        self.undecided() - self.pending
    }

    /// How many files without a receipt the balancer may have accepted: all of their content went to
    /// the connection. With [`Self::accepted`] they are at least as many as it has accepted.
    pub fn unsure(&self) -> usize {
        let files = self.fates.iter().zip(&self.sent);
        files
            .filter(|(fate, sent)| **fate == Fate::Pending && sent.has_left)
            .count()
    }

    /// How many files were not sent, or not to their end: the balancer has none of them.
    pub fn unsent(&self) -> usize {
        self.pending - self.unsure()
    }

    /// How many files reach a server no more, or may not have reached one.
    pub fn failed(&self) -> usize {
        self.refused + self.unreadable + self.changed + self.dead + self.forgotten
    }

    /// The file's size in bytes, as far as it is known.
    pub fn size(&self, file: usize) -> u64 {
        self.sent.get(file).and_then(|sent| sent.size).unwrap_or(0)
    }

    /// The file is sent with this size and under this title. The sums of an earlier attempt with
    /// the same size stay until all of the file was read again: they are of the content that the
    /// balancer may have.
    pub fn sending(&mut self, file: usize, size: u64, title: Option<&str>) {
        if let Some(sent) = self.sent.get_mut(file) {
            if sent.size != Some(size) {
                *sent = Sent::default();
            }
            sent.size = Some(size);
            sent.title = title.map(Box::from);
        }
    }

    /// All of the file was read; these are the sums of its content.
    pub(super) fn summed(
        &mut self,
        file: usize,
        Summed {
            size,
            crc32c,
            hash,
            change,
        }: Summed,
    ) {
        if let Some(sent) = self.sent.get_mut(file) {
            sent.size = Some(size);
            sent.hash = hash;
            sent.crc32c = Some(crc32c);
            sent.change = change.map(String::into_boxed_str);
        }
    }

    /// The balancer does not have the content that was sent or offered.
    pub(super) fn not_there(&mut self, file: usize) {
        if let Some(sent) = self.sent.get_mut(file) {
            sent.hash = None;
            sent.crc32c = None;
            sent.change = None;
            sent.has_left = false;
        }
    }

    /// All of the file's content goes to the connection.
    pub(super) fn leaves(&mut self, file: usize) {
        if let Some(sent) = self.sent.get_mut(file) {
            sent.has_left = true;
        }
    }

    /// The file changed once too often while it was read.
    pub fn changed(&mut self, file: usize, reason: String) {
        self.changed += usize::from(self.settle(file, Fate::Changed { reason }));
    }

    /// The file could not be read.
    pub fn unreadable(&mut self, file: usize, reason: String) {
        self.unreadable += usize::from(self.settle(file, Fate::Unreadable { reason }));
    }

    /// The balancer no longer knows the file that it had accepted.
    pub fn forgotten(&mut self, file: usize) {
        if let Some(Fate::Accepted { number }) = self.fates.get(file) {
            let number = *number;
            self.forgotten += usize::from(self.settle(file, Fate::Forgotten { number }));
        }
    }

    /// A message came. Messages that are not about a file of the tally change nothing.
    pub fn heard(&mut self, message: Message) {
        match message {
            Message::Accepted { id, number } => self.accept(place(id), number),
            Message::Delivered {
                id,
                number,
                server,
                confirmed,
            } => {
                self.accept(place(id), number);
                let server = server.to_string();
                let fate = Fate::Delivered {
                    number,
                    server: server.clone(),
                    confirmed,
                };
                if self.settle(place(id), fate) {
                    self.delivered += 1;
                    self.delivered_bytes += self.size(place(id));
                    *self.by_server.entry(server).or_default() += 1;
                }
            }
            Message::Refused { id, refusal } => {
                let reason = refusal.reason;
                let is_about_us = matches!(
                    refusal.code,
                    RefusalCode::Unauthorized | RefusalCode::Forbidden
                );
                if is_about_us || !refusal.code.is_lasting() {
                    self.passing.insert(place(id));
                }
                self.refused += usize::from(self.settle(place(id), Fate::Refused { reason }));
            }
            Message::Dead { id, number, reason } => {
                self.accept(place(id), number);
                self.dead += usize::from(self.settle(place(id), Fate::Dead { number, reason }));
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
            self.pending -= 1;
        }
    }

    /// Gives a file its final fate, if it has none yet.
    fn settle(&mut self, file: usize, to: Fate) -> bool {
        match self.fates.get_mut(file) {
            Some(fate) if !fate.is_final() => {
                self.pending -= usize::from(*fate == Fate::Pending);
                *fate = to;
                self.settled.push(file);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Refusal;

    fn delivered(id: u64) -> Message {
        Message::Delivered {
            id,
            number: id + 100,
            server: "s".into(),
            confirmed: true,
        }
    }

    #[test]
    fn receipts_are_counted_once_in_any_order() {
        let mut tally = Tally::new(4);
        tally.sending(0, 10, None);
        tally.heard(Message::Accepted { id: 0, number: 100 });
        tally.heard(Message::Accepted { id: 0, number: 100 });
        assert_eq!(
            (tally.accepted, tally.unaccepted(), tally.undecided()),
            (1, 3, 4)
        );
        tally.heard(delivered(0));
        tally.heard(delivered(0));
        tally.heard(delivered(1));
        assert_eq!(
            (tally.accepted, tally.delivered, tally.delivered_bytes),
            (2, 2, 10)
        );
        assert_eq!(tally.by_server["s"], 2);
        tally.heard(Message::Refused {
            id: 2,
            refusal: Refusal::new(RefusalCode::TooLarge, "too large"),
        });
        tally.unreadable(3, "gone".to_owned());
        tally.unreadable(0, "too late".to_owned());
        assert_eq!(
            (
                tally.refused,
                tally.unreadable,
                tally.undecided(),
                tally.unaccepted()
            ),
            (1, 1, 0, 0)
        );
    }

    #[test]
    fn dead_and_forgotten_files_have_been_accepted_and_are_final() {
        let mut tally = Tally::new(3);
        tally.heard(Message::Dead {
            id: 0,
            number: 7,
            reason: "too large".to_owned(),
        });
        tally.forgotten(1);
        assert_eq!(
            tally.forgotten, 0,
            "a file that was never accepted cannot be forgotten"
        );
        tally.heard(Message::Accepted { id: 1, number: 8 });
        tally.forgotten(1);
        tally.heard(delivered(1));
        assert_eq!(
            (
                tally.accepted,
                tally.dead,
                tally.forgotten,
                tally.delivered,
                tally.failed()
            ),
            (2, 1, 1, 0, 2)
        );
        assert_eq!(
            (tally.undecided(), tally.unaccepted(), &tally.settled[..]),
            (1, 1, &[0, 1][..])
        );
        assert_eq!(tally.fates[1], Fate::Forgotten { number: 8 });
    }

    /// An offer of an accepted file can be answered with a refusal: it was counted as accepted
    /// once, and once is enough.
    #[test]
    fn a_file_that_is_refused_after_it_was_accepted_breaks_no_sum() {
        let mut tally = Tally::new(1);
        tally.heard(Message::Accepted { id: 0, number: 1 });
        tally.heard(Message::Refused {
            id: 0,
            refusal: Refusal::new(RefusalCode::Conflict, "another file"),
        });
        assert_eq!(
            (
                tally.unaccepted(),
                tally.undecided(),
                tally.with_the_balancer(),
                tally.refused
            ),
            (0, 0, 0, 1)
        );
    }

    /// What was never sent was once not mentioned at all, nor was what had no receipt yet.
    #[test]
    fn what_was_sent_without_a_receipt_is_told_from_what_was_not_sent() {
        let mut tally = Tally::new(5);
        let counts = |tally: &Tally| (tally.accepted, tally.unsure(), tally.unsent());
        assert_eq!(counts(&tally), (0, 0, 5));
        for file in [0, 1, 2] {
            tally.sending(file, 10, None);
            tally.leaves(file);
        }
        tally.sending(3, 10, None);
        assert_eq!(
            counts(&tally),
            (0, 3, 2),
            "the last one was not sent to its end"
        );
        tally.heard(Message::Accepted { id: 0, number: 1 });
        assert_eq!(counts(&tally), (1, 2, 2));
        tally.heard(delivered(1));
        assert_eq!(counts(&tally), (2, 1, 2));
        tally.not_there(2);
        assert_eq!(counts(&tally), (2, 0, 3));
        tally.unreadable(4, "gone".to_owned());
        assert_eq!(counts(&tally), (2, 0, 2));
    }

    #[test]
    fn receipts_for_files_that_do_not_exist_change_nothing() {
        let mut tally = Tally::new(1);
        tally.heard(delivered(1));
        tally.heard(Message::Accepted {
            id: u64::MAX,
            number: 1,
        });
        assert_eq!(
            (tally.accepted, tally.delivered, tally.undecided()),
            (0, 0, 1)
        );
    }
}
