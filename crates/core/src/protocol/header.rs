//! The JSON header of a native frame in its canonical spelling: no white space, no needless escape,
//! the fields in one order.
//!
//! Owns the spelling of single fields, written and read by hand, because each file costs five
//! headers in four processes. [`super::encode`] and [`super::decode`] say which fields a message
//! has. A header that [`Reader`] does not take may still be right: serde reads it then.
//!
//! Invariant: [`Writer`] writes byte for byte what serde would, and [`Reader`] reads what serde
//! would.

use serde::Serialize;

/// How a header begins, up to the name of the request type.
const OPENING: &str = r#"{"request_type":""#;

/// The names of fields, as they stand between two values.
pub(super) mod field {
    pub(in super::super) const ID: &str = r#","id":"#;
    pub(in super::super) const REQUEST_NUMBER: &str = r#","request_number":"#;
    pub(in super::super) const TITLE: &str = r#","title":"#;
    pub(in super::super) const KEY: &str = r#","key":"#;
    pub(in super::super) const SIZE: &str = r#","size":"#;
    pub(in super::super) const OFFSET: &str = r#","offset":"#;
    pub(in super::super) const CRC32C: &str = r#","crc32c":"#;
    pub(in super::super) const ROLE: &str = r#","role":"#;
    pub(in super::super) const OVERLOADED: &str = r#","overloaded":"#;
    pub(in super::super) const IDENTITY: &str = r#","identity":"#;
    pub(in super::super) const MEMORY: &str = r#","memory":"#;
    pub(in super::super) const MEMORY_LIMIT: &str = r#","memory_limit":"#;
    pub(in super::super) const SERVER: &str = r#","server":"#;
    pub(in super::super) const CONFIRMED: &str = r#","confirmed":"#;
    pub(in super::super) const CODE: &str = r#","code":"#;
    pub(in super::super) const REASON: &str = r#","reason":"#;
    pub(in super::super) const LAST: &str = r#","last":"#;
    pub(in super::super) const INSTANCE: &str = r#","instance":"#;
    pub(in super::super) const SEEN: &str = r#","seen":"#;
    pub(in super::super) const EPOCH: &str = r#","epoch":"#;
    pub(in super::super) const BULK: &str = r#","bulk":"#;
    pub(in super::super) const AHEAD: &str = r#","ahead":"#;
    pub(in super::super) const FACTS: &str = r#","facts":"#;
    pub(in super::super) const TOKEN: &str = r#","token":"#;
    pub(in super::super) const LOCKED: &str = r#","locked":"#;
    pub(in super::super) const USER: &str = r#","user":"#;
    pub(in super::super) const CHALLENGE: &str = r#","challenge":"#;
    pub(in super::super) const ADDRESS: &str = r#","address":"#;
    pub(in super::super) const WEIGHT: &str = r#","weight":"#;
    pub(in super::super) const NAME: &str = r#","name":"#;
    pub(in super::super) const TICKET: &str = r#","ticket":"#;
    pub(in super::super) const PROOF: &str = r#","proof":"#;
    pub(in super::super) const EVERY_MS: &str = r#","every_ms":"#;
    pub(in super::super) const TTL_MS: &str = r#","ttl_ms":"#;
    pub(in super::super) const BEAT_MS: &str = r#","beat_ms":"#;
    pub(in super::super) const GOOD: &str = r#","good":"#;
    pub(in super::super) const VERSION_MIN: &str = r#","version_min":"#;
    pub(in super::super) const VERSION_MAX: &str = r#","version_max":"#;
}

/// Appends one header to a buffer. The caller gives the fields in their order; `None` is left out.
pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    /// Begins a header of this request type, which must need no escape.
    #[inline]
    pub(super) fn of(self, request_type: &'static str) -> Self {
        self.0.extend_from_slice(OPENING.as_bytes());
        self.0.extend_from_slice(request_type.as_bytes());
        self.0.push(b'"');
        self
    }

    #[inline]
    pub(super) fn number(self, field: &str, number: impl Into<Option<u64>>) -> Self {
        if let Some(number) = number.into() {
            self.0.extend_from_slice(field.as_bytes());
            self.0
                .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        self
    }

    #[inline]
    pub(super) fn flag(self, field: &str, flag: impl Into<Option<bool>>) -> Self {
        if let Some(flag) = flag.into() {
            self.0.extend_from_slice(field.as_bytes());
            self.0
                .extend_from_slice(if flag { b"true" } else { b"false" });
        }
        self
    }

    #[inline]
    pub(super) fn text<'t>(self, field: &str, text: impl Into<Option<&'t str>>) -> Self {
        if let Some(text) = text.into() {
            self.0.extend_from_slice(field.as_bytes());
            if is_plain(text.as_bytes()) {
                self.0.push(b'"');
                self.0.extend_from_slice(text.as_bytes());
                self.0.push(b'"');
            } else {
                let written = serde_json::to_writer(&mut *self.0, text);
                debug_assert!(written.is_ok(), "a string can always be written to memory");
            }
        }
        self
    }

    /// A value that serde writes.
    pub(super) fn value(self, field: &str, value: Option<&impl Serialize>) -> Self {
        if let Some(value) = value {
            self.0.extend_from_slice(field.as_bytes());
            let written = serde_json::to_writer(&mut *self.0, value);
            debug_assert!(written.is_ok(), "facts can always be written to memory");
        }
        self
    }

    /// Ends the header.
    #[inline]
    pub(super) fn end(self) {
        self.0.push(b'}');
    }
}

/// Reads one header field by field; any other spelling than the canonical one gives `None`.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The request type of a header, and the rest of it.
    #[inline]
    pub(super) fn new(header: &'a [u8]) -> Option<(&'a [u8], Self)> {
        let rest = header.strip_prefix(OPENING.as_bytes())?;
        // Request types are too short for a vectorized search to pay.
        let end = rest.iter().position(|&byte| byte == b'"')?;
        Some((rest.get(..end)?, Self(rest.get(end + 1..)?)))
    }

    /// A number of up to 19 digits: below 10^19, so that it fits.
    #[inline]
    pub(super) fn number(&mut self, field: &str) -> Option<u64> {
        let rest = self.0.strip_prefix(field.as_bytes())?;
        let mut number = 0_u64;
        let mut len = 0;
        for digit in rest
            .iter()
            .map(|byte| byte.wrapping_sub(b'0'))
            .take_while(|digit| *digit < 10)
        {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            len += 1;
        }
        let has_leading_zero = len > 1 && rest.first() == Some(&b'0');
        if len == 0 || len > 19 || has_leading_zero {
            return None;
        }
        self.0 = rest.get(len..)?;
        Some(number)
    }

    #[inline]
    pub(super) fn flag(&mut self, field: &str) -> Option<bool> {
        let rest = self.0.strip_prefix(field.as_bytes())?;
        let is_true = rest.strip_prefix(b"true");
        self.0 = is_true.or_else(|| rest.strip_prefix(b"false"))?;
        Some(is_true.is_some())
    }

    /// A string without escapes.
    #[inline]
    pub(super) fn text(&mut self, field: &str) -> Option<&'a str> {
        let rest = self.0.strip_prefix(field.as_bytes())?.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', rest)?;
        let text = rest.get(..end).filter(|text| is_plain(text))?;
        self.0 = rest.get(end + 1..)?;
        str::from_utf8(text).ok()
    }

    /// Whether the next field is this one.
    #[inline]
    pub(super) fn is_next(&self, field: &str) -> bool {
        self.0.starts_with(field.as_bytes())
    }

    /// Whether the header ends here.
    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.0 == b"}"
    }
}

/// Whether these bytes need no escape in a JSON string. Without a branch, so that the compiler
/// checks many in one step.
#[expect(clippy::needless_bitwise_bool, reason = "without a branch")]
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, &byte| {
        plain & (byte >= 0x20) & (byte != b'\\') & (byte != b'"')
    })
}
