//! The bytes of the bodies of records.
//!
//! Numbers are little-endian; a text is its length in two bytes and UTF-8. Decoding trusts nothing:
//! whatever the bytes are, it gives a record or `None`.

use std::sync::Arc;

use bilico_core::file::{Attempt, History, MAX_HISTORY, Meta, cut};
use bytes::Bytes;

use super::types::{Accepted, Content, Death, End, Ended, Record};

impl Record {
    /// The byte in a record's head that tells its kind.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Accepted(_) => 1,
            Self::Attempt { .. } => 2,
            Self::Ended(_) => 3,
            Self::Dead { .. } => 4,
            Self::Replayed { .. } => 5,
            Self::Mark => 6,
            Self::Oldest { .. } => 7,
        }
    }

    /// Appends the record's body to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted(file) => file.encode(out),
            Self::Attempt {
                number,
                attempt,
                is_failure,
            } => {
                out.extend_from_slice(&number.to_le_bytes());
                out.push(u8::from(*is_failure));
                encode_attempt(attempt, out);
            }
            Self::Ended(ended) => ended.encode(out),
            Self::Dead { number, death } => {
                out.extend_from_slice(&number.to_le_bytes());
                death.encode(out);
            }
            Self::Replayed { number } => out.extend_from_slice(&number.to_le_bytes()),
            Self::Mark => {}
            Self::Oldest { segment } => out.extend_from_slice(&segment.to_le_bytes()),
        }
    }

    /// Reads a body; `None` if it is not one of this kind. Inline content is shared with `body`.
    pub(crate) fn decode(kind: u8, body: &Bytes) -> Option<Self> {
        let mut input = Input { body, at: 0 };
        let record = match kind {
            1 => Self::Accepted(Box::new(Accepted::decode(&mut input)?)),
            2 => {
                let (number, is_failure) = (input.u64()?, input.bool()?);
                Self::Attempt {
                    number,
                    is_failure,
                    attempt: decode_attempt(&mut input)?,
                }
            }
            3 => Self::Ended(Box::new(Ended::decode(&mut input)?)),
            4 => Self::Dead {
                number: input.u64()?,
                death: Death::decode(&mut input)?,
            },
            5 => Self::Replayed {
                number: input.u64()?,
            },
            6 => Self::Mark,
            7 => Self::Oldest {
                segment: input.u64()?,
            },
            _ => return None,
        };
        (input.at == body.len()).then_some(record)
    }
}

fn encode_meta(meta: &Meta, out: &mut Vec<u8>) {
    out.extend_from_slice(&meta.accepted_ms.to_le_bytes());
    out.extend_from_slice(&meta.size.to_le_bytes());
    out.extend_from_slice(&meta.crc32c.to_le_bytes());
    text(&meta.title, out);
    text(meta.key.as_deref().unwrap_or_default(), out);
    text(&meta.from, out);
}

fn decode_meta(input: &mut Input<'_>) -> Option<Meta> {
    let (accepted_ms, size, crc32c) = (input.u64()?, input.u64()?, input.u32()?);
    let (title, key, from) = (input.text()?, input.text()?, input.text()?);
    Some(Meta {
        title,
        key: Some(key).filter(|key| !key.is_empty()),
        from: from.into(),
        size,
        crc32c,
        accepted_ms,
    })
}

fn encode_attempt(attempt: &Attempt, out: &mut Vec<u8>) {
    out.extend_from_slice(&attempt.at_ms.to_le_bytes());
    text(cut(&attempt.server), out);
    text(cut(&attempt.reason), out);
}

fn decode_attempt(input: &mut Input<'_>) -> Option<Attempt> {
    Some(Attempt {
        at_ms: input.u64()?,
        server: input.text()?,
        reason: input.text()?,
    })
}

impl Death {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        text(cut(&self.reason), out);
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Self {
            at_ms: input.u64()?,
            reason: input.text()?,
        })
    }
}

fn encode_history(history: &History, out: &mut Vec<u8>) {
    out.extend_from_slice(&history.attempts.to_le_bytes());
    out.extend_from_slice(&history.failures.to_le_bytes());
    let kept = history.first.iter().take(MAX_HISTORY);
    out.push(u8::try_from(kept.len()).unwrap_or(0));
    kept.for_each(|attempt| encode_attempt(attempt, out));
}

fn decode_history(input: &mut Input<'_>) -> Option<History> {
    let (attempts, failures, kept) = (input.u32()?, input.u32()?, usize::from(input.u8()?));
    if kept > MAX_HISTORY {
        return None;
    }
    let first = (0..kept)
        .map(|_| decode_attempt(input))
        .collect::<Option<_>>()?;
    Some(History {
        attempts,
        failures,
        first,
    })
}

impl Accepted {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        encode_meta(&self.meta, out);
        encode_history(&self.history, out);
        out.push(u8::from(self.death.is_some()));
        self.death.iter().for_each(|death| death.encode(out));
        match &self.content {
            Content::Inline(content) => {
                out.push(0);
                out.extend_from_slice(content);
            }
            Content::Own(id) => {
                out.push(1);
                out.extend_from_slice(&id.to_le_bytes());
            }
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let number = input.u64()?;
        let meta = Arc::new(decode_meta(input)?);
        let history = decode_history(input)?;
        let death = if input.bool()? {
            Some(Death::decode(input)?)
        } else {
            None
        };
        let content = if input.bool()? {
            Content::Own(input.u64()?)
        } else {
            Content::Inline(input.bytes(meta.size)?)
        };
        Some(Self {
            number,
            meta,
            history,
            death,
            content,
        })
    }
}

impl Ended {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        match &self.end {
            End::Delivered {
                server,
                identity,
                confirmed,
            } => {
                out.extend_from_slice(&[1, u8::from(*confirmed)]);
                text(cut(server), out);
                text(identity.as_deref().unwrap_or_default(), out);
            }
            End::Dropped { reason } => {
                out.push(2);
                text(cut(reason), out);
            }
        }
        encode_meta(&self.meta, out);
        encode_history(&self.history, out);
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (number, at_ms) = (input.u64()?, input.u64()?);
        let end = match input.u8()? {
            1 => {
                let (confirmed, server, identity) = (input.bool()?, input.text()?, input.text()?);
                let identity = Some(identity)
                    .filter(|identity| !identity.is_empty())
                    .map(Arc::from);
                End::Delivered {
                    server: server.into(),
                    identity,
                    confirmed,
                }
            }
            2 => End::Dropped {
                reason: input.text()?,
            },
            _ => return None,
        };
        Some(Self {
            number,
            at_ms,
            end,
            meta: Arc::new(decode_meta(input)?),
            history: decode_history(input)?,
        })
    }
}

/// Appends a text of at most 64 KiB. A longer one is cut, but callers never have one.
fn text(text: &str, out: &mut Vec<u8>) {
    let text = text
        .get(..text.floor_char_boundary(usize::from(u16::MAX)))
        .unwrap_or_default();
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A body that is being read.
struct Input<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Input<'_> {
    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.body.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<Box<str>> {
        let len = usize::from(u16::from_le_bytes(self.take(2)?.try_into().ok()?));
        std::str::from_utf8(self.take(len)?).ok().map(Box::from)
    }

    /// The next `len` bytes, shared with the body.
    fn bytes(&mut self, len: u64) -> Option<Bytes> {
        let start = self.at;
        self.take(usize::try_from(len).ok()?)?;
        Some(self.body.slice(start..self.at))
    }
}
