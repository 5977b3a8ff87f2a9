//! Names of files as text, and back.
//!
//! A name on disk is bytes, and most are UTF-8; titles, keys and receipts are text. Invariant: two
//! different names are two different texts, and [`decode`] gives the name back.
//!
//! A name of UTF-8 is its own text. A byte that belongs to no UTF-8 is written as a backslash, an
//! `x` and two digits, `\xff`; a backslash that could be taken for such an escape is written as
//! `\x5c`.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The name as text.
pub fn encode(name: &OsStr) -> Cow<'_, str> {
    match name.to_str() {
        Some(text) if !has_escape(text) => Cow::Borrowed(text),
        _ => Cow::Owned(escape(name.as_bytes())),
    }
}

/// The name whose text this is.
pub fn decode(text: &str) -> OsString {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let (byte, behind) = escaped(rest).unwrap_or((*first, behind));
        name.push(byte);
        rest = behind;
    }
    OsString::from_vec(name)
}

fn has_escape(text: &str) -> bool {
    text.match_indices('\\')
        .any(|(at, _)| text.get(at..).is_some_and(starts_with_escape))
}

fn starts_with_escape(text: &str) -> bool {
    escaped(text.as_bytes()).is_some()
}

/// The byte of the escape at the start, and what is behind it.
fn escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let digits = bytes.strip_prefix(b"\\x")?;
    let (digits, behind) = digits.split_first_chunk::<2>()?;
    let [high, low] = digits.map(digit);
    Some((high? << 4 | low?, behind))
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn escape(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        let valid = chunk.valid();
        let mut done = 0;
        for (at, _) in valid.match_indices('\\') {
            if valid.get(at..).is_some_and(starts_with_escape) {
                text.push_str(valid.get(done..at).unwrap_or_default());
                text.push_str("\\x5c");
                done = at + 1;
            }
        }
        text.push_str(valid.get(done..).unwrap_or_default());
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `bad\xff` and `bad\xfe` both became `bad` and a replacement character: one title, one key.
    #[test]
    fn names_that_are_no_utf8_stay_apart_and_others_stay_as_they_are() {
        for (name, text) in [
            (&b"plain.txt"[..], "plain.txt"),
            ("è 🚚".as_bytes(), "è 🚚"),
            (b"bad\xff\xfename", r"bad\xff\xfename"),
            (b"back\\slash\\x", r"back\slash\x"),
            (b"C:\\xyz", r"C:\xyz"),
            (br"bad\xff", r"bad\x5cxff"),
            (b"\\\xff", r"\\xff"),
            (b"\\x\xff", r"\x\xff"),
            (br"\x5c", r"\x5cx5c"),
            (br"\\xff", r"\\x5cxff"),
            (b"\\xF\xffF", r"\xF\xffF"),
            (b"\xc3", r"\xc3"),
            (b"", ""),
        ] {
            let name = OsStr::from_bytes(name);
            assert_eq!(encode(name), text);
            assert_eq!(decode(text), name);
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(
            name in proptest::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(&b"\\x5cf\xff"[..])], 0..20),
        ) {
            let name = OsString::from_vec(name);
            prop_assert_eq!(decode(&encode(&name)), name);
        }
    }
}
