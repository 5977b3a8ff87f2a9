//! The receipts of one file.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::balancer::messages::{Outlet, Reply, ToClient, next_connection};
use crate::protocol::{Message, Refusal, RefusalCode};

/// The receipts of a file that was handed over. The file goes its way even when this is dropped.
#[derive(Debug)]
pub struct Receipts {
    from_hub: mpsc::UnboundedReceiver<ToClient>,
    /// The last receipt, if it came before it was asked for.
    fate: Option<Fate>,
    /// The file's size in bytes.
    pub size: u64,
    /// The CRC32C of its content.
    pub crc32c: u32,
    /// The BLAKE3 hash of its content.
    pub hash: blake3::Hash,
}

/// How a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A server has stored it.
    Delivered {
        /// The server's name.
        server: Arc<str>,
        /// False from an old-style server, which never acknowledges.
        confirmed: bool,
    },
    /// The file is a dead letter, or an operator has dropped it.
    Dead {
        /// Why no server could take it.
        reason: String,
    },
}

impl Receipts {
    pub(super) fn new(size: u64, crc32c: u32, hash: blake3::Hash) -> (Self, Reply) {
        let (to, from_hub) = mpsc::unbounded_channel();
        let receipts = Self {
            from_hub,
            fate: None,
            size,
            crc32c,
            hash,
        };
        let reply = Reply {
            connection: next_connection(),
            to: Outlet::new(to, Arc::default()),
            id: 0,
        };
        (receipts, reply)
    }

    /// Waits until this file, or the same file under its key, is in the journal, and gives its
    /// request number. Call it once.
    pub async fn accepted(&mut self) -> Result<u64, Refusal> {
        while let Some(receipt) = self.from_hub.recv().await {
            match receipt {
                ToClient::Message(Message::Accepted { number, .. }) => return Ok(number),
                ToClient::Message(Message::Refused { refusal, .. }) => return Err(refusal),
                other => self.fate = fate(other),
            }
        }
        Err(Refusal::new(
            RefusalCode::Stopping,
            "no receipt came: the balancer has stopped",
        ))
    }

    /// Waits for the end of an accepted file. `None` if no more receipts will come.
    pub async fn ended(&mut self) -> Option<Fate> {
        while self.fate.is_none() {
            self.fate = fate(self.from_hub.recv().await?);
        }
        self.fate.clone()
    }
}

fn fate(receipt: ToClient) -> Option<Fate> {
    match receipt {
        ToClient::Message(Message::Delivered {
            server, confirmed, ..
        }) => Some(Fate::Delivered { server, confirmed }),
        ToClient::Message(Message::Dead { reason, .. }) => Some(Fate::Dead { reason }),
        _ => None,
    }
}
