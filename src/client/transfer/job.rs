//! A transfer, whatever connection it uses: its files, and what is known of each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::state::{Grant, TransferState};
use crate::client::options::{Changed, Options, Wait};
use crate::client::reading::{Summed, Trouble};
use crate::client::source::Source;
use crate::client::tally::{Fate, Tally};
use crate::protocol::Message;

/// The files of a transfer, by their places, and what is known of each.
pub(super) struct Job<'a> {
    pub(super) sources: &'a [Source],
    pub(super) options: &'a Options,
    tally: &'a watch::Sender<Tally>,
    state: Mutex<TransferState>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        sources: &'a [Source],
        options: &'a Options,
        tally: &'a watch::Sender<Tally>,
    ) -> Self {
        Self {
            sources,
            options,
            tally,
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, TransferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes when the tally changes.
    pub(super) fn watch(&self) -> watch::Receiver<Tally> {
        self.tally.subscribe()
    }

    /// Whether no file is left to wait for.
    pub(super) fn is_done(&self, tally: &Tally) -> bool {
        match self.options.wait {
            Wait::Accepted => tally.unaccepted() == 0,
            Wait::Delivered => tally.undecided() == 0,
        }
    }

    /// Takes a message of the balancer, and gives the content that the balancer wants now, if any.
    pub(super) fn heard(&self, message: Message) -> Option<Grant> {
        let mut grant = None;
        self.tally
            .send_modify(|tally| grant = self.state().heard(message, tally));
        grant
    }

    /// The connection was lost.
    pub(super) fn disconnected(&self) {
        self.tally.send_modify(|tally| {
            tally.reconnecting = true;
            tally.waiting = None;
        });
    }

    /// Another connection was made.
    pub(super) fn reconnected(&self) {
        self.tally.send_modify(|tally| tally.reconnecting = false);
    }

    /// Whether the file may be sent: it has no receipt.
    pub(super) fn is_pending(&self, file: usize) -> bool {
        self.fate_is(file, |fate| *fate == Fate::Pending)
    }

    pub(super) fn is_accepted(&self, file: usize) -> bool {
        self.fate_is(file, |fate| matches!(fate, Fate::Accepted { .. }))
    }

    fn fate_is(&self, file: usize, is: impl Fn(&Fate) -> bool) -> bool {
        self.tally.borrow().fates.get(file).is_some_and(is)
    }

    /// The size and the CRC32C of what was last sent or offered of a file, as far as they are
    /// known.
    pub(super) fn sent(&self, file: usize) -> (Option<u64>, Option<u32>) {
        let tally = self.tally.borrow();
        match tally.sent.get(file) {
            Some(sent) => (sent.size, sent.crc32c),
            None => (None, None),
        }
    }

    /// A file is offered with this title and size, and its sums, as far as they are known.
    pub(super) fn offering(
        &self,
        (file, source): (usize, &Source),
        (title, size): (&str, u64),
        summed: Option<Summed>,
    ) {
        self.tally.send_modify(|tally| {
            tally.sending(file, size, other_title(title, source));
            if let Some(summed) = summed {
                tally.summed(file, summed);
            }
        });
    }

    /// A file is sent with this title and size. With the sums of its content, all of it goes to the
    /// connection now.
    pub(super) fn sending(
        &self,
        (file, source): (usize, &Source),
        (title, size): (&str, u64),
        whole: Option<Summed>,
    ) {
        self.tally.send_modify(|tally| {
            tally.sending(file, size, other_title(title, source));
            if let Some(summed) = whole {
                tally.summed(file, summed);
                tally.leaves(file);
            }
        });
    }

    /// All of the file was read, and its end goes to the connection now.
    pub(super) fn summed(&self, file: usize, summed: Summed) {
        self.tally.send_modify(|tally| {
            tally.summed(file, summed);
            tally.leaves(file);
        });
    }

    /// A file cannot be sent, and no part of it was accepted: it is given up, or read again later.
    pub(super) fn cannot_send(&self, file: usize, trouble: Trouble) {
        match trouble {
            Trouble::Unreadable(reason) => self
                .tally
                .send_modify(|tally| tally.unreadable(file, reason)),
            Trouble::Changed(reason) => self.has_changed(file, reason),
        }
    }

    fn has_changed(&self, file: usize, reason: String) {
        let put_off = self.state().put_off(file, Instant::now());
        let reason = match put_off {
            _ if self.options.changed == Changed::Fail => reason,
            Err(times) => format!("{reason}, {times} times in a row"),
            Ok(()) => return,
        };
        self.tally.send_modify(|tally| tally.changed(file, reason));
    }
}

fn other_title<'a>(title: &'a str, source: &Source) -> Option<&'a str> {
    (title != source.title).then_some(title)
}
