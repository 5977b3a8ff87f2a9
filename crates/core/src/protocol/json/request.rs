//! One whole object.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::JsonError;
use crate::protocol::limits::{MAX_TITLE, SMALL_CONTENT};
use crate::protocol::object;
use crate::protocol::text::Text;
use crate::text::excerpt;

/// Asks which protocol a server speaks: an old-style server answers any unknown type with its
/// overload byte, ours with the native greeting.
pub const DISCOVERY_REQUEST: &[u8] = br#"{"request_type": "bilico"}"#;

/// The request in an object at the doorway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A file.
    File {
        /// Its title.
        title: String,
        /// Its content: the string's UTF-8 bytes.
        content: Bytes,
        /// Its request number, which an old-style balancer adds for a server.
        number: Option<u64>,
    },
    /// The overload byte.
    Status,
    /// The native greeting.
    Discovery,
    /// Any other request type; of a long one, an excerpt.
    Other(String),
}

/// A title and its content, as a JSON payload holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The payload's title.
    pub title: String,
    /// The payload's content: the string's UTF-8 bytes.
    pub content: Bytes,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    request_type: Option<Text<'a>>,
    #[serde(borrow, alias = "titolo")]
    title: Option<Text<'a>>,
    #[serde(borrow, alias = "contenuto")]
    content: Option<Text<'a>>,
    #[serde(default, alias = "numero_richiesta", deserialize_with = "number")]
    request_number: Option<u64>,
}

/// A number or nothing. serde's own error would repeat a string that stands here instead, which can
/// be as long as the object, with an escape for each of its characters.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(WholeNumber)
}

struct WholeNumber;

impl Visitor<'_> for WholeNumber {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<u64>, E> {
        Ok(Some(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<u64>, E> {
        let wrong = || E::invalid_value(de::Unexpected::Signed(number), &self);
        u64::try_from(number).map(Some).map_err(|_| wrong())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Option<u64>, E> {
        Err(E::custom("expected a whole number, found a string"))
    }
}

/// Reads one whole object.
pub fn parse(object: &Bytes) -> Result<Request, JsonError> {
    let fields = read(object)?;
    let request_type = fields
        .request_type
        .ok_or(JsonError::Missing("request_type"))?;
    match &*request_type.0 {
        "file_di_testo" | "file" => {
            let number = fields.request_number;
            let Payload { title, content } = payload(fields.title, fields.content, object)?;
            Ok(Request::File {
                title,
                content,
                number,
            })
        }
        "richiesta_status" => Ok(Request::Status),
        "bilico" => Ok(Request::Discovery),
        other => Ok(Request::Other(excerpt(other).into_owned())),
    }
}

/// Reads a JSON payload: one object with a title and a content, and any other fields.
pub fn parse_payload(text: &Bytes) -> Result<Payload, JsonError> {
    let fields = read(text)?;
    payload(fields.title, fields.content, text)
}

fn read(object: &Bytes) -> Result<Object<'_>, JsonError> {
    // serde_json would check only the strings that are asked for.
    let syntax =
        |error: &dyn fmt::Display| JsonError::Syntax(excerpt(&error.to_string()).into_owned());
    let text = str::from_utf8(object).map_err(|error| syntax(&error))?;
    object::flat_from_str(text).map_err(|error| syntax(&error))
}

fn payload(
    title: Option<Text<'_>>,
    content: Option<Text<'_>>,
    object: &Bytes,
) -> Result<Payload, JsonError> {
    let title = title.ok_or(JsonError::Missing("title"))?.0;
    if title.len() > MAX_TITLE {
        return Err(JsonError::TitleTooLong(title.len()));
    }
    let content = match content.ok_or(JsonError::Missing("content"))?.0 {
        // Small content is copied, so that it does not keep a whole read buffer alive while it
        // waits.
        Cow::Borrowed(text) if text.len() as u64 > SMALL_CONTENT => {
            object.slice_ref(text.as_bytes())
        }
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    Ok(Payload {
        title: title.into_owned(),
        content,
    })
}
