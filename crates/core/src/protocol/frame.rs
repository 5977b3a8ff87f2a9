//! The native frame: a fixed head, a JSON header, raw content and the content's checksum.
//!
//! ```text
//! preface   B1 49 4C 49 43 4F  oldest version:u16                       once, from each side
//! frame     header_len:u32  content_len:u64  header  content  crc32c:u32   any number of times
//! ```
//!
//! Numbers are big-endian. The checksum is there only when there is content. It follows the
//! content, so that a sender can stream a file that it has not read to the end.

use bytes::{Buf, BytesMut};

use super::error::{ProtocolError, agree};
use super::limits::MAX_HEADER;
use super::message::Message;
use super::versions::Versions;

/// The bytes that open a native connection. No JSON text, TLS record or HTTP request begins with
/// the first of them, so that one port can serve them all.
pub const MAGIC: [u8; 6] = [0xB1, b'I', b'L', b'I', b'C', b'O'];

/// The length of the preface, in bytes.
pub const PREFACE_LEN: usize = MAGIC.len() + 2;

/// The length of the fixed head of a frame, in bytes.
pub const HEAD_LEN: usize = 12;

/// The length of the checksum behind content, in bytes.
pub const CHECKSUM_LEN: usize = 4;

/// A frame without its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The message in the header.
    pub message: Message,
    /// How many bytes of content follow.
    pub content_len: u64,
}

/// Appends the preface to `out`.
pub fn encode_preface(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&Versions::SPOKEN.oldest().to_be_bytes());
}

/// Takes the preface from the front of `input`; `None` when more bytes are needed.
pub fn decode_preface(input: &mut BytesMut) -> Result<Option<()>, ProtocolError> {
    let seen = input.len().min(MAGIC.len());
    if input.get(..seen) != MAGIC.get(..seen) {
        return Err(ProtocolError::Magic);
    }
    if input.len() < PREFACE_LEN {
        return Ok(None);
    }
    input.advance(MAGIC.len());
    // The peer's oldest version. Up to where its range ends, its `hello` says.
    let theirs = Versions::new(input.get_u16(), u16::MAX).ok_or(ProtocolError::NoVersions)?;
    agree(theirs).map(|_| Some(()))
}

/// Appends a frame up to its content to `out`. The caller appends the content, if any, and its
/// [`checksum`].
pub fn encode(message: &Message, content_len: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_LEN]);
    message.encode(out);
    let header_len = u32::try_from(out.len() - start - HEAD_LEN).unwrap_or(u32::MAX);
    if let Some(head) = out.get_mut(start..start + HEAD_LEN) {
        let (lengths, content) = head.split_at_mut(4);
        lengths.copy_from_slice(&header_len.to_be_bytes());
        content.copy_from_slice(&content_len.to_be_bytes());
    }
}

/// The bytes that follow content with this CRC32C.
pub fn checksum(crc: u32) -> [u8; CHECKSUM_LEN] {
    crc.to_be_bytes()
}

/// Takes a frame up to its content from the front of `input`; `None` when more bytes are needed.
pub fn decode(input: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
    decode_within(input, MAX_HEADER)
}

/// As [`decode`], if the header has at most `most` bytes.
pub fn decode_within(input: &mut BytesMut, most: u32) -> Result<Option<Frame>, ProtocolError> {
    let Some((length, content_len)) = peek_head(input) else {
        return Ok(None);
    };
    if length == 0 || length > most {
        return Err(ProtocolError::HeaderLength { length, most });
    }
    let end = HEAD_LEN + length as usize;
    let Some(header) = input.get(HEAD_LEN..end) else {
        return Ok(None);
    };
    let message = Message::decode(header)?;
    if content_len > 0 && !message.takes_content() {
        return Err(ProtocolError::Content(content_len));
    }
    input.advance(end);
    Ok(Some(Frame {
        message,
        content_len,
    }))
}

/// Whether [`decode`] needs no more bytes.
pub fn is_whole(input: &BytesMut) -> bool {
    peek_head(input).is_some_and(|(header_len, _)| input.len() - HEAD_LEN >= header_len as usize)
}

/// Compares the CRC32C of the content with the checksum behind it.
pub fn verify(actual: u32, declared: [u8; CHECKSUM_LEN]) -> Result<(), ProtocolError> {
    let declared = u32::from_be_bytes(declared);
    if actual == declared {
        Ok(())
    } else {
        Err(ProtocolError::Checksum { actual, declared })
    }
}

fn peek_head(input: &BytesMut) -> Option<(u32, u64)> {
    let mut head = input.get(..HEAD_LEN)?;
    Some((head.get_u32(), head.get_u64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Hello, Role};
    use proptest::prelude::*;

    fn bytes(wire: &[u8]) -> BytesMut {
        BytesMut::from(wire)
    }

    #[test]
    fn preface_in_pieces_and_wrong() {
        let mut wire = Vec::new();
        encode_preface(&mut wire);
        for cut in 0..PREFACE_LEN {
            assert_eq!(decode_preface(&mut bytes(&wire[..cut])), Ok(None));
        }
        assert_eq!(decode_preface(&mut bytes(&wire)), Ok(Some(())));
        assert_eq!(
            decode_preface(&mut bytes(b"\xB1ILIKE")),
            Err(ProtocolError::Magic)
        );
        assert_eq!(
            decode_preface(&mut bytes(b"\xB1X")),
            Err(ProtocolError::Magic)
        );
        assert_eq!(
            decode_preface(&mut bytes(b"\xB1ILICO\0\x07")),
            Err(ProtocolError::Versions(Versions::new(7, u16::MAX).unwrap()))
        );
    }

    #[test]
    fn frame_comes_whole_or_not_at_all() {
        let message = Message::Put {
            id: 4,
            title: "città.json".into(),
            key: None,
            resumed: None,
        };
        let mut wire = Vec::new();
        encode(&message, 5, &mut wire);
        for cut in 0..wire.len() {
            let mut input = bytes(&wire[..cut]);
            assert_eq!(decode(&mut input), Ok(None));
            assert_eq!(input.len(), cut, "an incomplete frame stays in the buffer");
        }
        let mut input = bytes(&wire);
        input.extend_from_slice(b"hello");
        assert_eq!(
            decode(&mut input),
            Ok(Some(Frame {
                message,
                content_len: 5
            }))
        );
        assert_eq!(&input[..], b"hello");
    }

    #[test]
    fn head_fields_at_their_extremes() {
        for length in [0, MAX_HEADER + 1, u32::MAX] {
            let mut wire = length.to_be_bytes().to_vec();
            wire.extend_from_slice(&[0; 8]);
            assert_eq!(
                decode(&mut bytes(&wire)),
                Err(ProtocolError::HeaderLength {
                    length,
                    most: MAX_HEADER
                })
            );
        }
        let mut wire = Vec::new();
        encode(&Message::Resumed, u64::MAX, &mut wire);
        assert_eq!(
            decode(&mut bytes(&wire)),
            Err(ProtocolError::Content(u64::MAX))
        );
        let mut wire = Vec::new();
        encode(
            &Message::Put {
                id: 1,
                title: String::new(),
                key: None,
                resumed: None,
            },
            u64::MAX,
            &mut wire,
        );
        assert_eq!(
            decode(&mut bytes(&wire)).unwrap().unwrap().content_len,
            u64::MAX
        );
    }

    #[test]
    fn a_flipped_bit_in_the_content_is_noticed() {
        let content = *b"some content";
        let declared = checksum(crc32c::crc32c(&content));
        assert_eq!(verify(crc32c::crc32c(&content), declared), Ok(()));
        for bit in 0..content.len() * 8 {
            let mut bad = content;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(crc32c::crc32c(&bad), declared).is_err());
        }
    }

    /// The bytes of the example in `docs/protocol.md`.
    #[test]
    fn the_documented_example_is_what_is_written() {
        let mut wire = Vec::new();
        encode_preface(&mut wire);
        let hello = Hello {
            versions: None,
            ..Hello::of(Role::Client)
        };
        encode(&Message::from(hello), 0, &mut wire);
        encode(
            &Message::Put {
                id: 0,
                title: "a.txt".into(),
                key: None,
                resumed: None,
            },
            2,
            &mut wire,
        );
        wire.extend_from_slice(b"hi");
        wire.extend_from_slice(&checksum(crc32c::crc32c(b"hi")));
        let mut expected = b"\xB1ILICO\x00\x01".to_vec();
        expected.extend_from_slice(
            b"\0\0\0\x28\0\0\0\0\0\0\0\0{\"request_type\":\"hello\",\"role\":\"client\"}",
        );
        expected.extend_from_slice(
            b"\0\0\0\x2D\0\0\0\0\0\0\0\x02{\"request_type\":\"put\",\"id\":0,\"title\":\"a.txt\"}",
        );
        expected.extend_from_slice(b"hi\xF5\x9D\xD9\xC2");
        assert_eq!(wire, expected);
    }

    proptest! {
            #[test]
            fn any_bytes_are_decoded_or_refused(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
                let mut input = bytes(&wire);
                let _ = decode_preface(&mut input);
                let mut input = bytes(&wire);
                while let Ok(Some(_)) = decode(&mut input) {}
            }

            #[test]
            fn a_damaged_frame_is_decoded_or_refused(at in 0usize..60, value in any::<u8>()) {
                let mut wire = Vec::new();
                let hello = Message::from(Hello {
    overloaded: Some(false),
    ..Hello::of(Role::Client)
    });
                encode(&hello, 0, &mut wire);
                let at = at % wire.len();
                wire[at] = value;
                let _ = decode(&mut bytes(&wire));
            }
        }
}
