//! Strings in JSON, borrowed where possible.

use std::borrow::Cow;

use serde::Deserialize;

/// A string borrowed from the JSON text where it has no escapes. serde copies an `Option<Cow<str>>`
/// in any case, but not an `Option<Text>`.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}
