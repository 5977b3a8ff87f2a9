//! One receipt.

use serde::{Deserialize, Serialize};

use crate::client::keys::Keys;
use crate::client::source::Source;
use crate::client::tally::{Fate, Tally};

/// What became of a file, as its receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A server has it.
    Delivered,
    /// The balancer had it when the client ended.
    Accepted,
    /// No server can take it; the balancer keeps it among its dead letters.
    Dead,
    /// The balancer refused it.
    Refused,
    /// It could not be read, and was not sent.
    Unreadable,
    /// It changed each time while it was read, and was not sent.
    Changed,
    /// No receipt came. [`Receipt::sent`] says whether it was sent.
    Unknown,
    /// It was accepted, but the balancer no longer knows it.
    Forgotten,
}

/// A file and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The file's path, as [`os_text`](crate::os_text) has it.
    pub path: String,
    /// The title by which it was sent, or was to be.
    pub title: String,
    /// Its durable name.
    pub key: String,
    /// The size of its content in bytes, if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The BLAKE3 hash of its content as 64 hex digits, if all of it was read.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub hash: Option<blake3::Hash>,
    /// The CRC32C of the same content as 8 hex digits, as HTTP answers have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    /// What became of it.
    pub state: State,
    /// If no receipt came: whether all of it was sent, so that the balancer may have accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<bool>,
    /// Its request number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The server that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// False from an old-style server, which never acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
    /// Why it was refused, could not be read, or is dead, or how it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it changed while its content was read, which was sent all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// A hash as hex digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        hash: &Option<blake3::Hash>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => serializer.serialize_str(&hash.to_hex()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<blake3::Hash>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| blake3::Hash::from_hex(text).map_err(de::Error::custom))
            .transpose()
    }
}

impl Receipt {
    /// The receipt of the file in this place, as it stands in the tally.
    pub fn of(file: usize, source: &Source, keys: &Keys, tally: &Tally) -> Self {
        let sent = tally.sent.get(file).cloned().unwrap_or_default();
        let receipt = Self {
            path: source.shown(),
            title: sent
                .title
                .map_or_else(|| source.title.clone(), String::from),
            key: keys.of(file, source).to_string(),
            size: sent.size,
            hash: sent.hash,
            crc32c: sent.crc32c.map(|crc32c| format!("{crc32c:08x}")),
            state: State::Unknown,
            sent: None,
            number: None,
            server: None,
            confirmed: None,
            reason: None,
            change: sent.change.map(String::from),
        };
        match tally.fates.get(file) {
            Some(Fate::Pending) => Self {
                sent: Some(sent.has_left),
                ..receipt
            },
            Some(fate) => receipt.with(fate.clone()),
            None => receipt,
        }
    }

    fn with(self, fate: Fate) -> Self {
        match fate {
            Fate::Pending => self,
            Fate::Accepted { number } => self.numbered(State::Accepted, number),
            Fate::Delivered {
                number,
                server,
                confirmed,
            } => Self {
                server: Some(server),
                confirmed: Some(confirmed),
                ..self.numbered(State::Delivered, number)
            },
            Fate::Refused { reason } => self.failed(State::Refused, reason),
            Fate::Unreadable { reason } => self.failed(State::Unreadable, reason),
            Fate::Changed { reason } => self.failed(State::Changed, reason),
            Fate::Dead { number, reason } => self
                .numbered(State::Dead, number)
                .failed(State::Dead, reason),
            Fate::Forgotten { number } => self.numbered(State::Forgotten, number),
        }
    }

    fn numbered(self, state: State, number: u64) -> Self {
        Self {
            state,
            number: Some(number),
            ..self
        }
    }

    fn failed(self, state: State, reason: String) -> Self {
        Self {
            state,
            reason: Some(reason),
            ..self
        }
    }
}
