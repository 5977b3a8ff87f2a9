//! Bad bytes where JSON objects are expected.

use bilico_testkit::old_style_put;

/// Bad bytes where the balancer expects JSON objects.
pub(super) struct BadJson {
    pub(super) what: &'static str,
    pub(super) bytes: Vec<u8>,
    /// The reason in the log.
    pub(super) reason: &'static str,
}

pub(super) const MAX_JSON: usize = 100 * 1024;

/// An object with this depth of nesting.
pub(super) fn nested(depth: usize) -> String {
    let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
    format!(
        r#"{{"titolo": "deep.json", "contenuto": "deep", "request_type": "file_di_testo", "x": {open}{close}}}"#
    )
}

/// A file whose object has exactly this length in bytes.
pub(super) fn of_length(title: &str, length: usize) -> String {
    let frame = old_style_put(title, "").len();
    old_style_put(title, &"x".repeat(length - frame))
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn bad_json() -> Vec<BadJson> {
    let bad = |what, bytes: &[u8], reason| BadJson {
        what,
        bytes: bytes.to_vec(),
        reason,
    };
    let not_utf8 = |document: &str| {
        document
            .bytes()
            .map(|byte| if byte == b'?' { 0xff } else { byte })
            .collect::<Vec<_>>()
    };
    vec![
        bad(
            "text that is no JSON",
            b"hello there\n",
            "not a JSON object",
        ),
        bad("an array", br#"[{"titolo": "x"}]"#, "not a JSON object"),
        bad("a byte-order mark", b"\xef\xbb\xbf{}", "not a JSON object"),
        bad(
            "markup in an object",
            br#"{"titolo": <b>"#,
            "outside a string",
        ),
        bad(
            "brackets that do not match",
            br#"{"titolo": [}"#,
            "brackets",
        ),
        bad("no colon", br#"{"titolo" "x"}"#, "expected `:`"),
        bad("an empty object", b"{}", "without `request_type`"),
        bad(
            "no request type",
            br#"{"titolo": "x", "contenuto": "y"}"#,
            "without `request_type`",
        ),
        bad(
            "no content",
            br#"{"titolo": "x", "request_type": "file_di_testo"}"#,
            "without `content`",
        ),
        bad(
            "no title",
            br#"{"contenuto": "y", "request_type": "file_di_testo"}"#,
            "without `title`",
        ),
        bad(
            "a null title",
            br#"{"titolo": null, "contenuto": "y", "request_type": "file_di_testo"}"#,
            "title",
        ),
        bad(
            "a number as title",
            br#"{"titolo": 5, "contenuto": "y", "request_type": "file_di_testo"}"#,
            "invalid type",
        ),
        bad(
            "an array as content",
            br#"{"titolo": "x", "contenuto": ["y"], "request_type": "file_di_testo"}"#,
            "invalid type",
        ),
        bad(
            "a number as request type",
            br#"{"titolo": "x", "contenuto": "y", "request_type": 1}"#,
            "invalid type",
        ),
        bad(
            "a title that is too long",
            old_style_put(&"t".repeat(4097), "").as_bytes(),
            "a title of 4097 bytes",
        ),
        bad("nesting of 129", nested(129).as_bytes(), "deeper than 128"),
        bad(
            "an endless nesting",
            "{\"x\":".repeat(1000).as_bytes(),
            "deeper than 128",
        ),
        bad(
            "one byte more than the limit",
            of_length("x", MAX_JSON + 1).as_bytes(),
            "larger than the limit of 102400",
        ),
        bad(
            "much more than the limit",
            of_length("x", 5 << 20).as_bytes(),
            "larger than the limit of 102400",
        ),
        bad(
            "an endless string",
            format!("{{\"titolo\": \"{}", "x".repeat(1 << 20)).as_bytes(),
            "larger than the limit of 102400",
        ),
        bad(
            "content that is not UTF-8",
            &not_utf8(r#"{"titolo": "x", "contenuto": "?", "request_type": "file_di_testo"}"#),
            "utf-8",
        ),
        bad(
            "a title that is not UTF-8",
            &not_utf8(r#"{"titolo": "?", "contenuto": "y", "request_type": "file_di_testo"}"#),
            "utf-8",
        ),
        bad(
            "a lone surrogate in the content",
            br#"{"titolo": "x", "contenuto": "\ud83d", "request_type": "file_di_testo"}"#,
            "hex escape",
        ),
        bad(
            "a lone surrogate in the title",
            br#"{"titolo": "\udc00", "contenuto": "y", "request_type": "file_di_testo"}"#,
            "surrogate",
        ),
        bad(
            "a control character in a string",
            b"{\"titolo\": \"a\nb\", \"contenuto\": \"y\", \"request_type\": \"file_di_testo\"}",
            "control character",
        ),
        bad(
            "a key twice",
            br#"{"titolo": "x", "titolo": "z", "contenuto": "y", "request_type": "file_di_testo"}"#,
            "duplicate field",
        ),
        bad(
            "a key in both languages",
            br#"{"titolo": "x", "title": "z", "contenuto": "y", "request_type": "file_di_testo"}"#,
            "duplicate field",
        ),
        bad(
            "an object cut off in a string",
            br#"{"titolo": "x", "contenuto": "yyy"#,
            "ended in the middle",
        ),
        bad(
            "an object cut off behind its first byte",
            b"{",
            "ended in the middle",
        ),
        bad(
            "a TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "TLS",
        ),
        bad(
            "an HTTP request",
            b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n{}",
            "HTTP",
        ),
        bad("a byte of zero", b"\0", "0x00"),
    ]
}
