//! Carries out what the dispatcher decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::commits::After;
use super::files::Tag;
use super::servers::LinkHandle;
use super::state::{Hub, millis};
use crate::balancer::dispatch::{Action, Delivery, LinkId, Note, Queued};
use crate::balancer::head_start::HeadStart;
use crate::balancer::link::{MORE_CONNECTIONS, Target};
use crate::balancer::messages::{Parcel, ToServer};
use crate::balancer::sharing::Borrowed;
use crate::numbers;
use crate::protocol::status::Dialect;
use crate::queue::Op;
use crate::queue::record::{End, Ended};
use crate::schedule::Slot;

/// A file that a server has acknowledged.
struct Delivered {
    number: u64,
    slot: Slot,
    server: Arc<str>,
    /// False from an old-style server, which never acknowledges.
    confirmed: bool,
    /// When it was sent.
    sent: Duration,
    file: Queued<Delivery<Tag>>,
}

impl Hub {
    /// Carries out everything that the dispatcher has decided by now.
    pub(super) fn act(&mut self, now: Duration) {
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.files.dispatcher.actions());
        for action in actions.drain(..) {
            self.carry_out_action(action, now);
        }
        self.actions = actions;
    }

    fn carry_out_action(&mut self, action: Action<Delivery<Tag>>, now: Duration) {
        match action {
            Action::Send { slot, number } => self.forward(slot, number),
            Action::Delivered {
                number,
                slot,
                server,
                confirmed,
                sent,
                file,
            } => {
                let delivered = Delivered {
                    number,
                    slot,
                    server,
                    confirmed,
                    sent,
                    file,
                };
                self.delivered(delivered, now);
            }
            Action::CameBack {
                number,
                meta,
                attempt,
                attempts,
                is_failure,
                is_kept,
            } => {
                tracing::warn!(
                    number,
                    title = &*meta.title,
                    server = &*attempt.server,
                    attempts,
                    reason = &*attempt.reason,
                    "came back"
                );
                // Further attempts are only counted, and the count of failures decides.
                if is_kept || is_failure {
                    let attempt = Op::Attempt {
                        number,
                        attempt,
                        is_failure,
                    };
                    self.commits.submit(attempt, After::Nothing);
                }
            }
            Action::Dead {
                number,
                reason,
                file,
            } => self.bury(number, &reason, file, now),
            Action::UnexpectedCopy { slot, number, held } => {
                self.unexpected_copy(slot, number, held, now);
            }
            Action::OpenLink { link, dialect, at } => self.open_link(link, dialect, at),
            Action::CloseLink { slot } => self.close_link(slot),
            Action::Flipped { server, flip } => self.flipped(&server, &flip, now),
            Action::Probe { slot } => {
                if let Some(server) = self.servers.get(slot) {
                    server.nudge.notify_one();
                }
            }
            Action::Log(note) => log(&note),
        }
    }

    /// Sends a file over the server's link.
    fn forward(&self, slot: Slot, number: u64) {
        let Some(file) = self.files.dispatcher.queue().get(number) else {
            return;
        };
        let server = self.servers.get(slot);
        tracing::info!(
            number,
            title = &*file.meta.title,
            server = server.map_or("", |server| &*server.address),
            bytes = file.meta.size,
            "forwarded"
        );
        let parcel = Parcel {
            number,
            meta: file.meta.clone(),
            content: file.tag.tag.content.clone(),
            ahead: file.tag.tag.head_start.as_ref().map(HeadStart::ticket),
        };
        self.servers.send(slot, ToServer::Parcel(parcel));
    }

    fn delivered(&mut self, delivered: Delivered, now: Duration) {
        let Delivered {
            number,
            slot,
            server,
            confirmed,
            sent,
            file,
        } = delivered;
        let accepted = Duration::from_millis(file.meta.accepted_ms);
        self.times.delivered(now.saturating_sub(accepted));
        let ms = numbers::millis(now.saturating_sub(sent));
        let what = if confirmed {
            "delivered"
        } else {
            "delivered unconfirmed"
        };
        tracing::info!(
            number,
            title = &*file.meta.title,
            server = &*server,
            bytes = file.meta.size,
            ms,
            "{what}"
        );
        self.release(&file.tag.tag.content);
        let end = End::Delivered {
            server,
            identity: self.servers.identity(slot),
            confirmed,
        };
        let ended = Ended {
            number,
            at_ms: millis(now),
            end,
            meta: file.meta,
            history: file.history,
        };
        self.end_delivered(ended, slot);
    }

    /// Opens a link to the server; `at` is where the server has answered a probe.
    fn open_link(&mut self, id: LinkId, dialect: Dialect, at: Option<SocketAddr>) {
        let Some(server) = self.servers.get_mut(id.slot) else {
            return;
        };
        let (to_server, from_hub) = mpsc::unbounded_channel();
        let address = at.map_or_else(|| server.address.clone(), |at| at.to_string().into());
        let target = Target {
            link: id,
            server: server.address.clone(),
            address,
            connector: self.deps.connector.clone(),
            hub: self.deps.to_self.clone(),
            disk: self.deps.disk.clone(),
            journal: self.journal_name.clone(),
            connect_timeout: self.pace.borrow().timeout,
            stall: self.deps.config.settings.stall,
            extra: match dialect {
                Dialect::Native => Borrowed::default(),
                Dialect::OldStyle => self.deps.share.borrow(MORE_CONNECTIONS),
            },
            old_style: self.deps.config.settings.old_style,
        };
        let close = self.deps.outside.link(target, dialect, from_hub);
        server.link = Some(LinkHandle {
            epoch: id.epoch,
            to_server,
            identity: None,
            acknowledged: None,
            _close: close,
        });
    }

    /// Closes the server's link. What was acknowledged over it is remembered with the directory.
    fn close_link(&mut self, slot: Slot) {
        let link = self
            .servers
            .get_mut(slot)
            .and_then(|server| server.link.take());
        if let Some(link) = link
            && let Some(identity) = link.identity
            && let Some(highest) = link.acknowledged
        {
            self.directories.acknowledged(&identity, highest);
        }
    }
}

pub(super) fn log(note: &Note) {
    match note {
        Note::Unfit {
            number,
            server,
            why,
        } => tracing::info!(number, server = &**server, "not sent: {why}"),
        Note::Waits {
            number,
            meta,
            attempts,
            reason,
        } => tracing::warn!(number, title = &*meta.title, attempts, reason, "waits"),
        Note::OtherContent { number, server } => tracing::error!(
            number,
            server = &**server,
            "the server has another file under this number: it is left alone"
        ),
        Note::Recognised { server, dialect } => {
            tracing::info!(server = &**server, speaks = ?dialect, "recognised");
        }
    }
}
