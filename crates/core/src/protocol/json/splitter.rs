//! Where an object ends.

use super::error::JsonError;
use crate::protocol::limits::MAX_JSON_DEPTH;

/// Finds the end of the first object in a growing buffer.
#[derive(Debug, Default)]
pub struct Splitter {
    /// How many bytes of the buffer have been read.
    seen: usize,
    depth: u32,
    /// A bit for each open bracket, the innermost lowest: 1 for `{`, 0 for `[`.
    kinds: u128,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    /// Whether an object has begun that has not ended.
    pub fn is_inside(&self) -> bool {
        self.depth > 0
    }

    /// Reads on in `buffer`, which must begin with the bytes that earlier calls saw, and gives the
    /// length of the object at its front once it is whole. The caller takes off white space before
    /// the object.
    pub fn find_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, JsonError> {
        while let Some(rest) = buffer.get(self.seen..).filter(|rest| !rest.is_empty()) {
            if self.in_string {
                self.skip_string(rest);
            } else if let Some(end) = self.step(rest)? {
                *self = Self::default();
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Reads on to the end of the string, or of the part of it that has arrived.
    fn skip_string(&mut self, rest: &[u8]) {
        if self.escaped {
            self.escaped = false;
            self.seen += 1;
            return;
        }
        match memchr::memchr2(b'"', b'\\', rest) {
            None => self.seen += rest.len(),
            Some(at) => {
                self.seen += at + 1;
                if rest.get(at) == Some(&b'"') {
                    self.in_string = false;
                } else {
                    self.escaped = true;
                }
            }
        }
    }

    /// Reads one byte outside a string; gives the object's length if the object ends with it.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, JsonError> {
        let Some(&byte) = rest.first() else {
            return Ok(None);
        };
        if self.depth == 0 && byte != b'{' {
            return Err(JsonError::NotAnObject(byte));
        }
        self.seen += 1;
        match byte {
            b'{' | b'[' => self.open(byte == b'{')?,
            b'}' | b']' => return self.close(byte == b'}'),
            b'"' => self.in_string = true,
            b' '
            | b'\t'
            | b'\r'
            | b'\n'
            | b','
            | b':'
            | b'+'
            | b'-'
            | b'.'
            | b'0'..=b'9'
            | b'a'..=b'z'
            | b'E' => {}
            stray => return Err(JsonError::StrayByte(stray)),
        }
        Ok(None)
    }

    fn open(&mut self, is_object: bool) -> Result<(), JsonError> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(is_object);
        Ok(())
    }

    fn close(&mut self, is_object: bool) -> Result<Option<usize>, JsonError> {
        if (self.kinds & 1 == 1) != is_object {
            return Err(JsonError::Brackets);
        }
        self.kinds >>= 1;
        self.depth -= 1;
        Ok((self.depth == 0).then_some(self.seen))
    }
}

/// The number of bytes of white space at the front of `buffer`.
pub fn leading_space(buffer: &[u8]) -> usize {
    buffer
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .count()
}
