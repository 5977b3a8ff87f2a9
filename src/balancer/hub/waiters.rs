//! Who waits for the receipts of which file.
//!
//! Almost every file has one client, and a client has many files. So a file costs 8 bytes here,
//! which is the client by a small number and the client's name for the file; what does not fit
//! into that is kept beside it. At most [`MOST_REPLIES`] connections wait for one file.

use std::collections::{BTreeMap, HashMap};

use crate::balancer::messages::{Outlet, Reply};
use crate::protocol::Message;
use crate::queue::paged::Paged;

/// The most connections that wait for one file. A further one takes the place of the oldest, which
/// is most likely gone.
const MOST_REPLIES: usize = 16;

/// The connections that wait, by file.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// The oldest waiter of each file that has one.
    first: Paged<Waiter>,
    /// Later waiters, oldest first, and those that do not fit into a [`Waiter`].
    more: BTreeMap<u64, Vec<Reply>>,
    clients: Clients,
}

/// A connection that waits for one file.
#[derive(Debug, Clone, Copy, Default)]
struct Waiter {
    /// By [`Clients`].
    client: u32,
    /// The client's name for the file.
    id: u32,
}

/// A connection that waits for at least one file.
#[derive(Debug)]
struct Client {
    connection: u64,
    to: Outlet,
    /// For how many files.
    files: u32,
}

/// The connections that wait, by small numbers.
#[derive(Debug, Default)]
struct Clients {
    by_place: Vec<Option<Client>>,
    places: HashMap<u64, u32>,
    free: Vec<u32>,
}

impl Waiters {
    /// One more connection waits for the file.
    pub(super) fn add(&mut self, number: u64, reply: Reply) {
        self.remove_closed(number);
        let has_first = self.first.contains(number);
        let id = u32::try_from(reply.id);
        match (self.more.get_mut(&number), id) {
            (None, Ok(id)) if !has_first => {
                let client = self.clients.enter(reply);
                self.first.insert(number, Waiter { client, id });
            }
            (None, _) => drop(self.more.insert(number, vec![reply])),
            (Some(more), _) => {
                more.push(reply);
                if more.len() + usize::from(has_first) > MOST_REPLIES {
                    self.remove_oldest(number);
                }
            }
        }
    }

    /// Sends a receipt to all that wait for the file; they go on waiting.
    pub(super) fn tell(&self, number: u64, receipt: impl Fn(u64) -> Message) {
        if let Some(waiter) = self.first.get(number) {
            self.clients.tell(*waiter, &receipt);
        }
        for reply in self.more.get(&number).into_iter().flatten() {
            reply.send(&receipt);
        }
    }

    /// Sends the last receipt to all that wait for the file.
    pub(super) fn tell_last(&mut self, number: u64, receipt: impl Fn(u64) -> Message) {
        self.tell(number, receipt);
        if let Some(waiter) = self.first.remove(number) {
            self.clients.leave(waiter.client);
        }
        self.more.remove(&number);
    }

    /// Takes out all that wait for the file, oldest first.
    pub(super) fn take(&mut self, number: u64) -> Vec<Reply> {
        let first = self.first.remove(number);
        let mut waiting: Vec<Reply> = first
            .and_then(|waiter| self.clients.reply(waiter))
            .into_iter()
            .collect();
        if let Some(waiter) = first {
            self.clients.leave(waiter.client);
        }
        waiting.extend(self.more.remove(&number).into_iter().flatten());
        waiting
    }

    /// A connection that was closed makes way for the next.
    fn remove_closed(&mut self, number: u64) {
        let first = self.first.get(number).copied();
        if let Some(waiter) = first.filter(|waiter| self.clients.is_closed(waiter.client)) {
            self.first.remove(number);
            self.clients.leave(waiter.client);
        }
        if let Some(more) = self.more.get_mut(&number) {
            more.retain(|reply| !reply.to.is_closed());
            if more.is_empty() {
                self.more.remove(&number);
            }
        }
    }

    fn remove_oldest(&mut self, number: u64) {
        if let Some(waiter) = self.first.remove(number) {
            self.clients.leave(waiter.client);
        } else if let Some(more) = self.more.get_mut(&number) {
            more.remove(0);
        }
    }
}

impl Clients {
    fn get(&self, client: u32) -> Option<&Client> {
        self.by_place.get(client as usize)?.as_ref()
    }

    fn is_closed(&self, client: u32) -> bool {
        self.get(client).is_some_and(|client| client.to.is_closed())
    }

    fn reply(&self, waiter: Waiter) -> Option<Reply> {
        let client = self.get(waiter.client)?;
        Some(Reply {
            connection: client.connection,
            to: client.to.clone(),
            id: waiter.id.into(),
        })
    }

    fn tell(&self, waiter: Waiter, receipt: impl Fn(u64) -> Message) {
        if let Some(client) = self.get(waiter.client) {
            // A client that has gone needs no receipt; its file stays.
            client.to.send(receipt(waiter.id.into()));
        }
    }

    /// Counts one more file for the connection of this reply, and gives the connection's place.
    fn enter(&mut self, reply: Reply) -> u32 {
        let place = match self.places.get(&reply.connection) {
            Some(place) => *place,
            None => self.place(reply),
        };
        if let Some(Some(client)) = self.by_place.get_mut(place as usize) {
            client.files += 1;
        }
        place
    }

    fn place(&mut self, reply: Reply) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.by_place.push(None);
            u32::try_from(self.by_place.len() - 1).unwrap_or(u32::MAX)
        });
        self.places.insert(reply.connection, place);
        if let Some(free) = self.by_place.get_mut(place as usize) {
            *free = Some(Client {
                connection: reply.connection,
                to: reply.to,
                files: 0,
            });
        }
        place
    }

    /// The connection waits for one file less. One that waits for none is let go: its task ends
    /// when nobody can send to it any more.
    fn leave(&mut self, place: u32) {
        let Some(entry) = self.by_place.get_mut(place as usize) else {
            return;
        };
        let Some(client) = entry else { return };
        client.files -= 1;
        if client.files == 0 {
            self.places.remove(&client.connection);
            *entry = None;
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::messages::ToClient;
    use std::sync::Arc;
    use tokio::sync::mpsc;

    type Sender = mpsc::UnboundedSender<ToClient>;
    type Receiver = mpsc::UnboundedReceiver<ToClient>;

    fn reply(connection: u64, to: &Sender, id: u64) -> Reply {
        Reply {
            connection,
            to: Outlet::new(to.clone(), Arc::default()),
            id,
        }
    }

    fn accepted(number: u64) -> impl Fn(u64) -> Message {
        move |id| Message::Accepted { id, number }
    }

    /// The ids that the receipts at this connection are for.
    fn told(from: &mut Receiver) -> Vec<u64> {
        std::iter::from_fn(|| from.try_recv().ok())
            .map(|told| match told {
                ToClient::Message(Message::Accepted { id, .. }) => id,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn ids(waiting: &[Reply]) -> Vec<(u64, u64)> {
        waiting
            .iter()
            .map(|reply| (reply.connection, reply.id))
            .collect()
    }

    #[test]
    fn each_connection_hears_of_its_files_until_the_last_receipt() {
        let mut waiters = Waiters::default();
        let (one, mut from_one) = mpsc::unbounded_channel();
        let (two, mut from_two) = mpsc::unbounded_channel();
        waiters.add(1, reply(8, &one, 11));
        waiters.add(2, reply(8, &one, u64::MAX));
        waiters.add(1, reply(9, &two, 12));
        waiters.tell(1, accepted(1));
        assert_eq!(
            (told(&mut from_one), told(&mut from_two)),
            (vec![11], vec![12])
        );
        waiters.tell_last(1, accepted(1));
        waiters.tell_last(1, accepted(1));
        waiters.tell_last(2, accepted(2));
        assert_eq!(told(&mut from_one), [11, u64::MAX]);
        assert_eq!(told(&mut from_two), [12]);
        drop((one, two));
        assert!(from_one.is_closed() || from_one.try_recv().is_err());
        assert!(waiters.clients.places.is_empty(), "connections are let go");
        assert!(waiters.first.is_empty() && waiters.more.is_empty());
    }

    #[test]
    fn those_that_wait_are_taken_out_oldest_first() {
        let mut waiters = Waiters::default();
        let (to, _from) = mpsc::unbounded_channel();
        waiters.add(3, reply(8, &to, 1));
        waiters.add(3, reply(9, &to, 2));
        assert_eq!(ids(&waiters.take(3)), [(8, 1), (9, 2)]);
        assert_eq!(ids(&waiters.take(3)), []);
        assert!(waiters.clients.places.is_empty());
    }

    #[test]
    fn a_client_that_comes_again_takes_the_place_of_its_old_connection() {
        let mut waiters = Waiters::default();
        let (old, from) = mpsc::unbounded_channel();
        let (new, _from) = mpsc::unbounded_channel();
        for number in 1..=3 {
            waiters.add(number, reply(1, &old, number));
        }
        drop((old, from));
        for number in 1..=3 {
            waiters.add(number, reply(2, &new, 10 + number));
        }
        assert!(waiters.more.is_empty());
        assert_eq!(waiters.clients.places.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(ids(&waiters.take(2)), [(2, 12)]);
    }

    #[test]
    fn the_newest_of_too_many_connections_wait() {
        let mut waiters = Waiters::default();
        let (to, _from) = mpsc::unbounded_channel();
        for connection in 1..=40 {
            waiters.add(7, reply(connection, &to, connection));
        }
        let newest: Vec<_> = (25..=40)
            .map(|connection| (connection, connection))
            .collect();
        assert_eq!(ids(&waiters.take(7)), newest);
        assert!(waiters.clients.places.is_empty());
    }

    /// The bound that a million waiting files are counted with; see the backlog's.
    #[test]
    fn a_file_with_one_client_costs_little_more_than_eight_bytes() {
        let mut waiters = Waiters::default();
        let (to, _from) = mpsc::unbounded_channel();
        for number in 1..=100_000 {
            waiters.add(number, reply(1, &to, number));
        }
        assert!(waiters.more.is_empty());
        assert_eq!(waiters.clients.by_place.len(), 1);
        let each = waiters.first.heap_bytes() / 100_000;
        assert!(each <= 9, "{each}");
    }
}
