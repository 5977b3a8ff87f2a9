//! Escapes untrusted text for a terminal or a log.
//!
//! Names, titles, reasons and bodies come from peers and from disks. Control characters change a
//! terminal, line ends forge lines, and bidi marks reverse the order in which people read.
//! Invariant: the output of [`Printable`] contains none of these, and untrusted text is shown only
//! through it.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a character shows as itself: it is not a control character, a line separator, a bidi
/// mark or otherwise invisible.
pub fn is_printable(c: char) -> bool {
    // The standard library's table is not public, but `escape_debug` leaves printable characters
    // alone.
    matches!(c, ' '..='~') || (!c.is_ascii() && c.escape_debug().len() == 1)
}

/// Splits the text into its printable start, the first character that is not printable, and the
/// rest.
pub fn split_printable(text: &str) -> (&str, Option<(char, &str)>) {
    let end = text.find(|c| !is_printable(c)).unwrap_or(text.len());
    let (printable, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let mut rest = rest.chars();
    (printable, rest.next().map(|bad| (bad, rest.as_str())))
}

/// Writes text with every character that is not printable as an escape, such as `\\n` or
/// `\\u{202e}`. Quotes and backslashes are not escaped.
pub fn write_printable(out: &mut (impl Write + ?Sized), mut text: &str) -> fmt::Result {
    while let (printable, Some((bad, rest))) = split_printable(text) {
        write!(out, "{printable}{}", bad.escape_debug())?;
        text = rest;
    }
    out.write_str(text)
}

/// Displays a value so that nothing in it acts on a terminal or forges a line.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f, None), "{}", self.0)
    }
}

/// Like [`Printable`], but line feeds are kept.
#[derive(Debug, Clone, Copy)]
pub struct PrintableLines<T>(pub T);

impl<T: Display> Display for PrintableLines<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f, Some('\n')), "{}", self.0)
    }
}

/// Displays JSON text with JSON escapes, so that it still parses to the same value.
#[derive(Debug, Clone, Copy)]
pub struct PrintableJson<T>(pub T);

impl<T: Display> Display for PrintableJson<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(EscapingJson(f), "{}", self.0)
    }
}

/// Writes JSON text with every character that is not printable as `\\u` and four digits, which
/// within a string is the same character.
pub fn write_printable_json(out: &mut (impl Write + ?Sized), mut text: &str) -> fmt::Result {
    while let (printable, Some((bad, rest))) = split_printable(text) {
        out.write_str(printable)?;
        if matches!(bad, '\n' | '\r' | '\t') {
            // Strings have these escaped already; between values they are white space.
            out.write_char(' ')?;
        } else {
            for unit in bad.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        text = rest;
    }
    out.write_str(text)
}

/// The longest start of the text that has at most so many bytes and ends with a whole character.
pub fn start(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
}

/// Bytes of the start of foreign text that an [`excerpt`] keeps.
const EXCERPT_START: usize = 192;

/// Bytes of its end.
const EXCERPT_END: usize = 64;

/// Foreign text for an error or a log: its start and its end, if it is longer than 256 bytes. A
/// peer chooses how long it is, and the interesting part of a parser's message stands at its end.
pub fn excerpt(text: &str) -> Cow<'_, str> {
    if text.len() <= EXCERPT_START + EXCERPT_END {
        return Cow::Borrowed(text);
    }
    let start = text.floor_char_boundary(EXCERPT_START);
    let end = text.ceil_char_boundary(text.len() - EXCERPT_END);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    Cow::Owned(format!("{}…{}", part(0..start), part(end..text.len())))
}

/// Several things in a sentence: `a`, `a and b`, `a, b and c`.
pub fn listed(things: &[String]) -> String {
    match things {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// The text as [`Printable`] shows it; borrowed if nothing has to be escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(Printable(text).to_string())
    }
}

/// Bytes as text: invalid UTF-8 shows as `\\xff`, the rest as with [`Printable`].
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        // Writing to a string does not fail.
        let _ = write_printable(&mut out, chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A path as text, as with [`printable_bytes`].
pub fn printable_path(path: &Path) -> String {
    printable_bytes(path.as_os_str().as_bytes())
}

/// Escapes the text that is written through it, except for one character.
struct Escaping<'a, 'b>(&'a mut Formatter<'b>, Option<char>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(kept) = self.1 else {
            return write_printable(self.0, text);
        };
        for (at, line) in text.split(kept).enumerate() {
            if at > 0 {
                self.0.write_char(kept)?;
            }
            write_printable(self.0, line)?;
        }
        Ok(())
    }
}

struct EscapingJson<'a, 'b>(&'a mut Formatter<'b>);

impl Write for EscapingJson<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_printable_json(self.0, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_and_what_people_read_stays() {
        assert_eq!(
            Printable("a\x1b]0;pwned\x07\nb\u{202e}c\u{9b}").to_string(),
            "a\\u{1b}]0;pwned\\u{7}\\nb\\u{202e}c\\u{9b}"
        );
        assert_eq!(
            Printable("però 注文 🚚 \"'\\").to_string(),
            "però 注文 🚚 \"'\\"
        );
        assert_eq!(PrintableLines("a\n\tb\r\n").to_string(), "a\n\\tb\\r\n");
        assert!(matches!(printable("plain"), Cow::Borrowed("plain")));
        assert_eq!(printable_bytes(b"a\xffb\xc3\x1b"), "a\\xffb\\xc3\\u{1b}");
    }

    #[test]
    fn several_things_make_a_sentence() {
        let things = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(listed(&things[..0]), "");
        assert_eq!(listed(&things[..1]), "a");
        assert_eq!(listed(&things[..2]), "a and b");
        assert_eq!(listed(&things), "a, b and c");
    }

    #[test]
    fn json_says_the_same_in_one_line() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{9b}\x1b\n🚚\u{e0001}", 1] });
        for json in [value.to_string(), format!("{value:#}")] {
            let shown = PrintableJson(&json).to_string();
            assert!(shown.chars().all(is_printable), "{shown}");
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
                value
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_printable_then(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Printable(&text).to_string().chars().all(is_printable));
            prop_assert!(printable_bytes(&bytes).chars().all(is_printable));
            prop_assert_eq!(printable(&text), Printable(&text).to_string());
        }
    }
}
