//! What can be wrong at the JSON doorway.

use crate::protocol::limits::{MAX_JSON_DEPTH, MAX_TITLE};

/// A breach of the JSON doorway's rules by the peer. Trying the same bytes again cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The first byte begins no object.
    #[error("not a JSON object: it begins with {}", describe(*.0))]
    NotAnObject(u8),
    /// A byte outside a string that no JSON text holds there.
    #[error("not JSON: {} outside a string", describe(*.0))]
    StrayByte(u8),
    /// A bracket closes another kind of bracket than was opened.
    #[error("not JSON: brackets that do not match")]
    Brackets,
    /// More open brackets than the limit.
    #[error("nested deeper than {MAX_JSON_DEPTH}")]
    TooDeep,
    /// The object does not end within the limit.
    #[error("an object larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// The connection ended in the middle of an object.
    #[error("the connection ended in the middle of an object, {0} bytes into it")]
    Truncated(usize),
    /// The object's text is broken, or a field has the wrong type.
    #[error("bad JSON: {0}")]
    Syntax(String),
    /// A field is missing.
    #[error("an object without `{0}`")]
    Missing(&'static str),
    /// This side does not serve the request type.
    #[error("unknown request type {0:?}")]
    UnknownRequest(String),
    /// The title is longer than the limit.
    #[error("a title of {0} bytes: at most {MAX_TITLE} are taken")]
    TitleTooLong(usize),
}

fn describe(byte: u8) -> String {
    match byte {
        0x16 => "byte 0x16 (a TLS handshake?)".to_owned(),
        b'A'..=b'Z' => format!("'{}' (an HTTP request?)", byte as char),
        0x21..=0x7e => format!("'{}'", byte as char),
        _ => format!("byte 0x{byte:02x}"),
    }
}
