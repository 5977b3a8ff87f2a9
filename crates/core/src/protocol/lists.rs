//! The JSON content of `holding` and `confirmed`: lists of request numbers.

use serde::{Deserialize, Serialize};

use super::error::ProtocolError;
use crate::text::excerpt;

/// A file that a server has stored, and that was not confirmed to it: `[number, size, crc32c]` in
/// JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredFile(
    /// The file's request number.
    pub u64,
    /// The size of its content in bytes.
    pub u64,
    /// The CRC32C of its content.
    pub u32,
);

/// The content of a `holding` message.
pub fn encode_holding(held: &[StoredFile]) -> Vec<u8> {
    serde_json::to_vec(held).unwrap_or_default()
}

/// Reads the content of a `holding` message; no content is an empty list.
pub fn decode_holding(content: &[u8]) -> Result<Vec<StoredFile>, ProtocolError> {
    decode("holding", content)
}

/// The content of a `confirmed` message.
pub fn encode_confirmed(numbers: &[u64]) -> Vec<u8> {
    serde_json::to_vec(numbers).unwrap_or_default()
}

/// Reads the content of a `confirmed` message; no content is an empty list.
pub fn decode_confirmed(content: &[u8]) -> Result<Vec<u64>, ProtocolError> {
    decode("confirmed", content)
}

fn decode<'a, T: Deserialize<'a>>(
    message: &'static str,
    content: &'a [u8],
) -> Result<Vec<T>, ProtocolError> {
    if content.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(content).map_err(|error| {
        ProtocolError::BadContent(message, excerpt(&error.to_string()).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits::{MAX_LIST, MAX_LIST_BYTES};

    #[test]
    fn lists_survive_the_wire_and_the_longest_fit() {
        let held = vec![StoredFile(u64::MAX, u64::MAX, u32::MAX); MAX_LIST];
        let wire = encode_holding(&held);
        assert!(wire.len() as u64 <= MAX_LIST_BYTES);
        assert_eq!(decode_holding(&wire).unwrap(), held);
        assert_eq!(encode_holding(&[StoredFile(7, 2, 9)]), b"[[7,2,9]]");
        let numbers = vec![u64::MAX; MAX_LIST];
        assert_eq!(
            decode_confirmed(&encode_confirmed(&numbers)).unwrap(),
            numbers
        );
        assert_eq!(decode_confirmed(b"").unwrap(), Vec::<u64>::new());
    }

    #[test]
    fn nonsense_is_an_error() {
        for wire in [
            "{}",
            "[1",
            "[[1,2]]",
            "[[1,2,3,4]]",
            "[[1,2,4294967296]]",
            "[[-1,2,3]]",
            "7",
        ] {
            assert!(decode_holding(wire.as_bytes()).is_err(), "{wire}");
        }
        for wire in ["[1.5]", "[-1]", "[[1]]", "null"] {
            assert!(decode_confirmed(wire.as_bytes()).is_err(), "{wire}");
        }
    }
}
