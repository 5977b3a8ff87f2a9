//! The name under which a file lies on disk, and the name of its temporary file.
//!
//! Owns the mapping from number and title to a file name. Leaves reading, writing and finding taken
//! names to the store. Invariant: whatever the title, the name is one plain component of at most
//! 255 bytes that begins with `<number>_`, so it cannot leave its directory, forge a line in a
//! listing, or be taken for a temporary file.

use std::fmt::Write;

/// The longest name in bytes that common file systems take.
const MAX_NAME: usize = 255;

/// The longest ending in bytes, dot included, that counts as an extension.
const MAX_EXTENSION: usize = 16;

const PART_PREFIX: &str = ".bilico-";
const PART_SUFFIX: &str = ".part";

/// The name of a stored file: `<number>_<title>`, with unsafe characters of the title
/// percent-encoded.
///
/// A `%` in the title stays as it is, so the name cannot be decoded. A name over 255 bytes
/// is cut and ends in `~`, a hash of the whole title as 16 hex digits, and the title's extension.
pub fn stored_name(number: u64, title: &str) -> String {
    let mut name = format!("{number}_");
    encode(title, &mut name);
    if name.len() > MAX_NAME {
        with_mark(&name, &format!("~{:016x}", fnv1a(title.as_bytes())))
    } else {
        name
    }
}

/// The title under which a server that stores `<number>_<title>` as it comes, which is what an
/// old-style server does, gives the file its [`stored_name`].
pub fn stored_title(number: u64, title: &str) -> String {
    let name = stored_name(number, title);
    match name.split_once('_') {
        Some((_, title)) => title.to_owned(),
        None => name,
    }
}

/// The name for a *different* file that would have taken `name`: `~<n>` stands before the
/// extension, or at the end.
pub fn beside(name: &str, n: u32) -> String {
    with_mark(name, &format!("~{n}"))
}

/// The name of the temporary file of this `attempt` to store file `number`.
pub fn part_name(number: u64, attempt: u64) -> String {
    format!("{PART_PREFIX}{number}-{attempt}{PART_SUFFIX}")
}

/// Whether `name` belongs to one of the server's own files: a temporary file or the index. No
/// stored file has such a name.
pub fn is_own(name: &str) -> bool {
    name.starts_with(PART_PREFIX)
}

/// Whether `name` is one that [`part_name`] makes. No stored file has such a name.
pub fn is_part(name: &str) -> bool {
    let inner = name
        .strip_prefix(PART_PREFIX)
        .and_then(|rest| rest.strip_suffix(PART_SUFFIX));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    inner
        .and_then(|inner| inner.split_once('-'))
        .is_some_and(|(number, attempt)| is_number(number) && is_number(attempt))
}

/// The request number with which the name of a stored file begins.
pub fn number_of(name: &[u8]) -> Option<u64> {
    let digits = name
        .split(|byte| *byte == b'_')
        .next()
        .filter(|digits| digits.len() < name.len())?;
    // Only as the server writes them: a name with a sign or a leading zero is not the server's.
    let plain = digits
        .first()
        .is_some_and(|first| matches!(first, b'1'..=b'9'))
        && digits.iter().all(u8::is_ascii_digit);
    if plain {
        std::str::from_utf8(digits).ok()?.parse().ok()
    } else {
        None
    }
}

fn encode(title: &str, out: &mut String) {
    let mut rest = title.chars();
    while let Some(c) = rest.next() {
        let trailing = matches!(c, '.' | ' ') && rest.as_str().is_empty();
        if trailing || is_unsafe(c) {
            encode_char(c, out);
        } else {
            out.push(c);
        }
    }
}

fn encode_char(c: char, out: &mut String) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a String cannot fail.
        let _ = write!(out, "%{byte:02X}");
    }
}

/// Separators, control characters, and characters that make a name look like another one.
fn is_unsafe(c: char) -> bool {
    let separator = matches!(c, '/' | '\\' | '\u{2028}' | '\u{2029}');
    let mark = matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}');
    let bidi = mark || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    separator || bidi || c.is_control() || c == '\u{FEFF}'
}

/// Puts `mark` before the extension, and cuts the text before it so that the name fits.
fn with_mark(name: &str, mark: &str) -> String {
    let (stem, extension) = split_extension(name);
    let room = MAX_NAME.saturating_sub(mark.len() + extension.len());
    format!("{}{mark}{extension}", cut(stem, room))
}

fn split_extension(name: &str) -> (&str, &str) {
    let dot = name.rfind('.').unwrap_or(name.len());
    match name.split_at_checked(dot) {
        Some((stem, extension)) if is_extension(extension) => (stem, extension),
        _ => (name, ""),
    }
}

fn is_extension(text: &str) -> bool {
    (2..=MAX_EXTENSION).contains(&text.len())
        && !text.contains(|c: char| c == '%' || c.is_whitespace())
}

/// The longest prefix of at most `max` bytes that ends neither inside a character nor inside a
/// `%XX`.
fn cut(text: &str, max: usize) -> &str {
    let start = text
        .get(..text.floor_char_boundary(max))
        .unwrap_or_default();
    if start.len() == text.len() {
        return text;
    }
    match start.rfind('%') {
        Some(at) if start.len() - at < 3 => start.get(..at).unwrap_or_default(),
        _ => start,
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which the standard library's
/// hasher is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests;
