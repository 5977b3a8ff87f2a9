//! Files at the door: new ones get a number and go to the journal; one that came before under the
//! same key gets the receipts of the first.

use std::sync::Arc;
use std::time::Duration;

use super::commits::After;
use super::end::last_receipt;
use super::files::{Accepting, Where};
use super::state::{Hub, millis};
use crate::balancer::head_start::Ahead;
use crate::balancer::messages::{Admission, Arrived, Declined, Offer, Reply, Sum, ToServer};
use crate::protocol::{Message, Refusal, RefusalCode};
use crate::queue::record::{Accepted, Content, History, Meta};
use crate::queue::{Op, content};

impl Hub {
    /// Every accepted file passes here: it gets its number and is recorded. The receipt follows
    /// when that is durable. `read` is when all of it had been read.
    pub(super) fn admit(&mut self, admission: Admission, read: Duration, now: Duration) {
        let known = admission.key.as_deref();
        if let Some(number) = known.and_then(|key| self.files.ledger.number_of(key))
            && !(admission.is_key_of_content && self.files.whereabouts(number).has_failed())
        {
            return self.admit_again(number, admission);
        }
        let Admission {
            title,
            key,
            is_key_of_content: _,
            content,
            head_start,
            size,
            crc32c,
            room,
            disk,
            allowed,
            reply,
        } = admission;
        let number = self.take_number(key.as_deref());
        if let Some(reply) = reply {
            self.waiters.add(number, reply);
        }
        let meta = Arc::new(Meta {
            title,
            key: key.as_deref().map(Box::from),
            from: allowed.pass().from().clone(),
            size,
            crc32c,
            accepted_ms: millis(now),
        });
        let accepted = record_of(number, meta.clone(), &content);
        let accepting = Accepting {
            meta,
            content,
            head_start,
            room,
            read,
            _disk: disk,
        };
        self.files.accepting.insert(number, accepting);
        self.commits
            .submit(Op::Accept(Box::new(accepted)), After::Accepted(number));
    }

    /// The number of a new file, which its key names from now on.
    fn take_number(&mut self, key: Option<&str>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        if let Some(key) = key {
            self.files.ledger.name(key, number);
        }
        number
    }

    /// The key names file `number` already: this content is not needed.
    fn admit_again(&mut self, number: u64, admission: Admission) {
        if let Arrived::Own(id) = admission.content {
            let disk = self.deps.disk.clone();
            // If this fails, the next recovery removes the content.
            let remove = move || drop(disk.remove(&content::name(id)));
            self.deps.outside.block(Box::new(remove));
        }
        if let Some(reply) = admission.reply {
            self.answer_known(number, (admission.size, admission.crc32c), reply);
        }
    }

    /// A large file comes in fast. It goes ahead to a server, if one can be reserved for it.
    pub(super) fn head_start(&mut self, ahead: Ahead) {
        let reserved = self.files.dispatcher.reserve(ahead.ticket, ahead.size);
        if let Some(slot) = reserved {
            self.servers.send(slot, ToServer::Ahead(ahead));
        }
    }

    /// A client asks whether the balancer wants a file.
    pub(super) fn offer(&mut self, offer: &Offer) {
        let known = self.files.ledger.number_of(&offer.key);
        match (known, offer.crc32c) {
            (Some(number), Some(crc32c)) => {
                self.answer_known(number, (offer.size, crc32c), offer.reply.clone());
            }
            // Only the content can tell whether it is the same file.
            (Some(_), None) => offer.reply.send(|id| Message::Wanted { id, offset: 0 }),
            (None, _) => offer.reply.send(|id| Message::Wanted {
                id,
                offset: offer.offset,
            }),
        }
    }

    /// Refuses a file, unless it was accepted before under its key: a refusal says that the
    /// balancer does not have the file.
    pub(super) fn refuse(&mut self, declined: Declined) {
        let Declined {
            key,
            size,
            sum,
            refusal,
            reply,
        } = declined;
        match (self.files.ledger.number_of(&key), sum) {
            (Some(number), Sum::Known(crc32c)) => self.answer_known(number, (size, crc32c), reply),
            // If the client has gone meanwhile, it needs no answer.
            (Some(_), Sum::Unread(back)) => drop(back.send((refusal, reply))),
            (None, _) => reply.send(|id| Message::Refused { id, refusal }),
        }
    }

    /// Answers a client whose key names file `number`: with the receipts of that file if size and
    /// checksum are the same.
    fn answer_known(&mut self, number: u64, content: (u64, u32), reply: Reply) {
        let file = self.files.whereabouts(number);
        if file.content() != Some(content) {
            return refuse_key(number, &reply);
        }
        match file {
            Where::Accepting(_) => self.waiters.add(number, reply),
            Where::Queued(_) | Where::Backlog(_) => {
                reply.send(|id| Message::Accepted { id, number });
                self.waiters.add(number, reply);
            }
            Where::Dead(letter) => {
                reply.send(|id| Message::Accepted { id, number });
                reply.send(|id| Message::Dead {
                    id,
                    number,
                    reason: letter.death.reason.to_string(),
                });
            }
            Where::Ended(ended) => {
                reply.send(|id| Message::Accepted { id, number });
                reply.send(|id| last_receipt(id, ended));
            }
            Where::Unknown => refuse_key(number, &reply),
        }
    }
}

/// The record of a file that was just read.
fn record_of(number: u64, meta: Arc<Meta>, content: &Arrived) -> Accepted {
    Accepted {
        number,
        meta,
        history: History::default(),
        death: None,
        content: match content {
            Arrived::Memory(bytes) => Content::Inline(bytes.clone()),
            Arrived::Own(id) => Content::Own(*id),
        },
    }
}

fn refuse_key(number: u64, reply: &Reply) {
    let reason = format!(
        "the key names another file already, accepted as number {number}, and that one has other \
         content; give this one another key, or its old content back"
    );
    reply.send(|id| Message::Refused {
        id,
        refusal: Refusal::new(RefusalCode::Conflict, reason),
    });
}
