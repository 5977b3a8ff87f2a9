//! Which server gets a file while it still comes in.
//!
//! Such a server is reserved: it was its turn, and the file takes its part of the window. When the
//! file is accepted, it goes to that server as any other, if that can take files then; if not, to
//! the next whose turn it is. Nothing else depends on a reservation.

use super::delivery::Delivery;
use super::dispatcher::Dispatcher;
use super::event::{LinkId, Ticket};
use super::pending::Queued;
use super::window::Reservation;
use crate::descriptors::HEAD_STARTS;
use crate::schedule::Slot;

/// The most head starts at once. They make up for what a machine leaves idle while a lone file comes
/// in; while others come in as well, sending on goes beside their uploads anyway. Each needs two
/// descriptors.
pub(super) const MOST_HEAD_STARTS: usize = 1;

const _: () = assert!(2 * MOST_HEAD_STARTS as u64 == HEAD_STARTS);

impl<T> Dispatcher<T> {
    /// Reserves the server whose turn it is for a file of so many bytes that still comes in. `None`
    /// if that server takes nothing ahead, or if files wait, for which it is the turn first.
    pub fn reserve(&mut self, ticket: Ticket, bytes: u64) -> Option<Slot> {
        let (waiting, _) = self.queue.ready();
        if waiting > 0 || self.reserved.len() >= MOST_HEAD_STARTS {
            return None;
        }
        let slot = self.scheduler.whose_turn()?;
        let server = self.servers.get_mut(slot)?;
        let epoch = server.link.epoch().filter(|_| server.takes_ahead)?;
        let own = server.window(self.config.window, self.heaviest);
        let part = own.part(bytes);
        server.taken += part;
        self.scheduler.pick_where(|other| other == slot);
        let link = LinkId { slot, epoch };
        self.reserved.insert(ticket, Reservation { link, part });
        self.refresh(slot);
        Some(slot)
    }

    /// Takes a file whose acceptance is durable, and which had this head start. What was reserved of
    /// the window is the file's own from now on.
    pub fn accept_ahead(&mut self, number: u64, mut file: Queued<Delivery<T>>, ticket: Ticket) {
        file.tag.ahead = self.give_back(ticket);
        self.accept(number, file);
    }

    /// A head start is over.
    pub(super) fn end_head_start(&mut self, ticket: Ticket) {
        self.give_back(ticket);
        self.reserved.remove(&ticket);
    }

    /// Gives back what a head start has reserved, and names its link.
    fn give_back(&mut self, ticket: Ticket) -> Option<LinkId> {
        let reservation = self.reserved.get_mut(&ticket)?;
        let (link, part) = (reservation.link, std::mem::take(&mut reservation.part));
        if let Some(server) = self.servers.get_mut(link.slot) {
            server.taken -= part;
            self.refresh(link.slot);
        }
        Some(link)
    }

    /// The server that has the content of this file already, if that can take it now. It was its
    /// turn when it was reserved.
    pub(super) fn reserved_for(&mut self, number: u64) -> Option<Slot> {
        let link = self.queue.get_mut(number)?.tag.ahead.take()?;
        let server = self.servers.get(link.slot)?;
        (server.link.epoch() == Some(link.epoch) && server.eligible).then_some(link.slot)
    }
}
