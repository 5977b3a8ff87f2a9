//! Sets of texts as Python pickles them, which is how the first system's checker speaks.
//!
//! A pickle is a program, and an interpreter of all of them runs whatever a peer writes. Here are the
//! nine instructions that a set of texts is made of, in the only order in which it is; everything
//! else is refused.

use std::collections::BTreeSet;

/// The longest pickle that is read, in bytes.
pub const MAX_PICKLE: usize = 64 * 1024;

/// How many entries one instruction adds, as Python writes them.
const BATCH: usize = 1000;

const PROTO: u8 = 0x80;
const FRAME: u8 = 0x95;
const EMPTY_SET: u8 = 0x8F;
const MEMOIZE: u8 = 0x94;
const MARK: u8 = b'(';
const SHORT_BINUNICODE: u8 = 0x8C;
const BINUNICODE: u8 = b'X';
const ADDITEMS: u8 = 0x90;
const STOP: u8 = b'.';

/// The lowest protocol that has sets and frames. Python 3.8 to 3.13 write it.
const LOWEST: u8 = 4;

/// The highest one that is known. Python 3.14 writes it.
const HIGHEST: u8 = 5;

/// Why bytes are no pickled set of texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPickle {
    /// Its first instruction names no protocol that is known.
    #[error("it is no pickle of protocol 4 or 5")]
    Protocol,
    /// An instruction that no set of texts has, or has at another place.
    #[error("instruction 0x{0:02x} does not belong there in a set of texts")]
    Instruction(u8),
    /// A frame that ends within an instruction or goes on behind the end.
    #[error("a frame does not end where it says")]
    Frame,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// More bytes than are read.
    #[error("it is longer than {MAX_PICKLE} bytes")]
    TooLong,
    /// Bytes behind the end.
    #[error("there are bytes behind its end")]
    Trailing,
}

/// Pickles a set. It is as short as can be, with neither frame nor memo: more entries fit into what
/// the other side reads at once.
pub fn pickle<'a>(entries: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = vec![PROTO, LOWEST, EMPTY_SET];
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        out.push(MARK);
        for entry in entries.by_ref().take(BATCH) {
            if let Ok(length) = u8::try_from(entry.len()) {
                out.extend([SHORT_BINUNICODE, length]);
            } else {
                // A text of 4 GiB is cut nowhere else: its length is that of what is written.
                let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
                out.push(BINUNICODE);
                out.extend(length.to_le_bytes());
            }
            out.extend(entry.as_bytes());
        }
        out.push(ADDITEMS);
    }
    out.push(STOP);
    out
}

/// Reads a pickled set as its bytes come.
#[derive(Debug, Default)]
pub struct Unpickler {
    bytes: Vec<u8>,
    /// The bytes that are read.
    at: usize,
    place: Place,
    /// Where the frame ends that it is in.
    frame_ends: Option<usize>,
    entries: BTreeSet<String>,
}

/// What may come next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// The protocol.
    #[default]
    Start,
    /// The set.
    Set,
    /// What is added to it, or the end.
    Items {
        /// Whether the set may be given a number in the memo.
        memo: bool,
    },
    /// A text, or the end of what is added.
    Texts {
        /// Whether the text before may be given one.
        memo: bool,
    },
    End,
}

impl Unpickler {
    /// Takes the next bytes. `Some`: the set is whole.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<BTreeSet<String>>, BadPickle> {
        if self.bytes.len() + bytes.len() > MAX_PICKLE {
            return Err(BadPickle::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        while self.place != Place::End {
            let Some(length) = self.step()? else {
                return Ok(None);
            };
            self.at += length;
            match self.frame_ends {
                Some(ends) if self.at > ends => return Err(BadPickle::Frame),
                Some(ends) if self.at == ends => self.frame_ends = None,
                Some(_) if self.place == Place::End => return Err(BadPickle::Frame),
                _ => {}
            }
        }
        if self.at < self.bytes.len() {
            return Err(BadPickle::Trailing);
        }
        Ok(Some(std::mem::take(&mut self.entries)))
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Carries out the next instruction and returns its length, or `None` if it is not whole yet.
    fn step(&mut self) -> Result<Option<usize>, BadPickle> {
        let Some((&code, operand)) = self.bytes.get(self.at..).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let step = match (self.place, code) {
            (Place::Start, PROTO) => match operand.first() {
                None => return Ok(None),
                Some(LOWEST..=HIGHEST) => (Place::Set, 2),
                Some(_) => return Err(BadPickle::Protocol),
            },
            (Place::Start, _) => return Err(BadPickle::Protocol),
            (place, FRAME) => {
                let Some(length) = operand.first_chunk() else {
                    return Ok(None);
                };
                self.begin_frame(u64::from_le_bytes(*length))?;
                (place, FRAME_HEAD)
            }
            (Place::Set, EMPTY_SET) => (Place::Items { memo: true }, 1),
            (Place::Items { memo: true }, MEMOIZE) | (Place::Texts { .. }, ADDITEMS) => {
                (Place::Items { memo: false }, 1)
            }
            (Place::Items { .. }, MARK) | (Place::Texts { memo: true }, MEMOIZE) => {
                (Place::Texts { memo: false }, 1)
            }
            (Place::Items { .. }, STOP) => (Place::End, 1),
            (Place::Texts { .. }, SHORT_BINUNICODE | BINUNICODE) => {
                let Some((head, text)) = text(code, operand)? else {
                    return Ok(None);
                };
                let text = std::str::from_utf8(text).map_err(|_| BadPickle::Text)?;
                self.entries.insert(text.to_owned());
                (Place::Texts { memo: true }, head + text.len())
            }
            _ => return Err(BadPickle::Instruction(code)),
        };
        self.place = step.0;
        Ok(Some(step.1))
    }

    /// A frame begins, of so many bytes behind its head.
    fn begin_frame(&mut self, length: u64) -> Result<(), BadPickle> {
        if self.frame_ends.is_some() || length == 0 {
            return Err(BadPickle::Frame);
        }
        let length = usize::try_from(length).map_err(|_| BadPickle::TooLong)?;
        let ends = (self.at + FRAME_HEAD).checked_add(length);
        let ends = ends.filter(|ends| *ends <= MAX_PICKLE);
        self.frame_ends = Some(ends.ok_or(BadPickle::TooLong)?);
        Ok(())
    }
}

/// The bytes of the instruction that begins a frame.
const FRAME_HEAD: usize = 9;

/// The bytes of a text and of what stands before it, if all of it has come.
fn text(code: u8, operand: &[u8]) -> Result<Option<(usize, &[u8])>, BadPickle> {
    let (head, length) = if code == SHORT_BINUNICODE {
        let Some(length) = operand.first() else {
            return Ok(None);
        };
        (1, usize::from(*length))
    } else {
        let Some(length) = operand.first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        (4, usize::try_from(length).unwrap_or(usize::MAX))
    };
    if length > MAX_PICKLE {
        return Err(BadPickle::TooLong);
    }
    let text = operand.get(head..head + length);
    Ok(text.map(|text| (1 + head, text)))
}

#[cfg(test)]
mod tests;
