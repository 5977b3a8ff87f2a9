//! What both sides of a WebSocket handshake reckon (RFC 6455).

use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};

/// What is hashed behind the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to a key: what stands in `Sec-WebSocket-Accept`.
pub(crate) fn accept(key: &[u8]) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Base64::encode_string(&hash)
}
