//! Clients that send files and note their receipts.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::peers::{Client, File, unnamed};
use super::world::World;
use crate::access::Lock;
use crate::balancer::head_start::HeadStart;
use crate::balancer::messages::{Admission, Arrived, Declined, Offer, Outlet, Reply, Sum, ToHub};
use crate::protocol::{Refusal, RefusalCode};

impl World {
    pub(super) fn client(&mut self) -> usize {
        let (to, from) = mpsc::unbounded_channel();
        self.clients.push(Client {
            connection: self.clients.len() as u64,
            to,
            from,
            told: Vec::new(),
        });
        self.clients.len() - 1
    }

    /// What the client was told since this was asked last.
    pub(super) fn told(&mut self, client: usize) -> Vec<String> {
        std::mem::take(&mut self.clients[client].told)
    }

    pub(super) fn reply(&self, client: usize, id: u64) -> Reply {
        Reply {
            connection: self.clients[client].connection,
            to: Outlet::new(self.clients[client].to.clone(), Arc::default()),
            id,
        }
    }

    /// A client sends a file, which is not committed yet.
    pub(super) fn send(&mut self, client: usize, id: u64, file: File<'_>) {
        let content = Arrived::Memory(Bytes::copy_from_slice(file.content));
        self.send_as(client, id, file, content);
    }

    pub(super) fn send_as(&mut self, client: usize, id: u64, file: File<'_>, content: Arrived) {
        self.send_with(client, id, file, (content, None));
    }

    /// The same with a head start.
    pub(super) fn send_with(
        &mut self,
        client: usize,
        id: u64,
        file: File<'_>,
        (content, head_start): (Arrived, Option<HeadStart>),
    ) {
        self.next_title += 1;
        let title = format!("file {}", self.next_title);
        self.contents.insert(title.clone(), file.content.to_vec());
        let size = file.content.len() as u64;
        let admission = Admission {
            is_key_of_content: false,
            title: title.into(),
            key: file.key.map(Arc::from),
            content,
            head_start,
            size,
            crc32c: crc32c::crc32c(file.content),
            room: self.gate.try_room(size).unwrap(),
            disk: self.gate.reserve_disk(size, 0).unwrap(),
            allowed: Lock::own().allow().unwrap(),
            reply: Some(self.reply(client, id)),
        };
        let read = self.hub.deps.clock.instant(self.now).into_std();
        self.step([ToHub::Admit(Box::new(admission), read)]);
    }

    /// Files of one client that are accepted: `count` of them, without keys.
    pub(super) fn accept(&mut self, count: usize) -> usize {
        let client = self.client();
        for id in 1..=count as u64 {
            let content = format!("content {id}");
            self.send(client, id, unnamed(content.as_bytes()));
        }
        self.commit();
        client
    }

    pub(super) fn offer(&mut self, client: usize, id: u64, file: File<'_>, with_sum: bool) {
        let offer = Offer {
            key: file.key.unwrap().into(),
            size: file.content.len() as u64,
            crc32c: with_sum.then(|| crc32c::crc32c(file.content)),
            offset: 7,
            reply: self.reply(client, id),
        };
        self.step([ToHub::Offer(offer, None)]);
    }

    pub(super) fn refuse(&mut self, client: usize, id: u64, file: File<'_>, sum: Sum) {
        let declined = Declined {
            key: file.key.unwrap().into(),
            size: file.content.len() as u64,
            sum,
            refusal: Refusal::new(RefusalCode::Full, "full"),
            reply: self.reply(client, id),
        };
        self.step([ToHub::Refuse(declined, None)]);
    }
}
