//! Bad frames of the native protocol.

use bilico_testkit::{PREFACE, frame};

use super::peers::{frame_declaring, head};

/// A frame whose content was damaged on the way.
fn damaged_frame(header: &str, content: &[u8]) -> Vec<u8> {
    let mut wire = frame(header, content);
    let middle = wire.len() - 4 - content.len() / 2;
    wire[middle] ^= 1;
    wire
}

/// How far a native connection has got before the bad bytes come.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum When {
    /// Nothing was sent.
    First,
    /// The preface was sent.
    Unnamed,
    /// Both sides have greeted, and a file was accepted.
    Greeted,
}

/// Bad bytes on a native connection.
pub(super) struct BadFrame {
    pub(super) what: &'static str,
    pub(super) when: When,
    pub(super) bytes: Vec<u8>,
    /// The sender closes its side after it.
    pub(super) then_closes: bool,
    pub(super) code: &'static str,
    /// The reason, as the peer and the log get it.
    pub(super) reason: &'static str,
}

impl BadFrame {
    pub(super) fn at(when: When, what: &'static str, bytes: Vec<u8>, reason: &'static str) -> Self {
        Self {
            what,
            when,
            bytes,
            then_closes: false,
            code: "malformed",
            reason,
        }
    }

    pub(super) fn cut_off(when: When, what: &'static str, bytes: Vec<u8>) -> Self {
        let reason = "ended in the middle";
        Self {
            then_closes: true,
            ..Self::at(when, what, bytes, reason)
        }
    }

    pub(super) fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

/// Frames that are bad at both ports, where files come in with headers like `header(number,
/// title)`.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn bad_frames(header: fn(u64, &str) -> String) -> Vec<BadFrame> {
    use When::{First, Greeted, Unnamed};
    let at = BadFrame::at;
    let typed = |from: &str, to: &str| frame(&header(9, "bad").replace(from, to), b"");
    let (small, large) = (&b"0123456789"[..], &vec![b'x'; 600_000][..]);
    let large_cut_off = frame_declaring(&header(9, "bad"), 600_000, &large[..400_000]);
    vec![
        at(
            First,
            "wrong magic",
            b"\xB1ILIKE\0\x01".to_vec(),
            "wrong magic",
        ),
        at(
            First,
            "an unknown version",
            b"\xB1ILICO\0\x07".to_vec(),
            "the other version 7",
        )
        .coded("version"),
        BadFrame::cut_off(First, "half a preface", PREFACE[..5].to_vec()),
        at(
            Unnamed,
            "a file before the hello",
            frame(&header(9, "bad"), small),
            "begins with a hello",
        ),
        at(
            Unnamed,
            "a hello without a role",
            frame(r#"{"request_type":"hello"}"#, b""),
            "no `role`",
        ),
        at(
            Unnamed,
            "a hello of a king",
            frame(r#"{"request_type":"hello","role":"king"}"#, b""),
            "king",
        ),
        at(
            Unnamed,
            "content behind a hello",
            frame(r#"{"request_type":"hello","role":"client"}"#, small),
            "behind a message that takes none",
        ),
        BadFrame::cut_off(
            Unnamed,
            "half a hello",
            frame(r#"{"request_type":"hello"}"#, b"")[..20].to_vec(),
        ),
        at(
            Greeted,
            "a header of 0 bytes",
            head(0),
            "a header of 0 bytes",
        ),
        at(
            Greeted,
            "a header larger than the limit",
            head(65_537),
            "a header of 65537 bytes",
        ),
        at(
            Greeted,
            "a header larger than anything",
            head(u32::MAX),
            "a header of 4294967295 bytes",
        ),
        at(
            Greeted,
            "a header that is no JSON",
            frame("nonsense", b""),
            "bad header",
        ),
        at(
            Greeted,
            "a header that is no object",
            frame("[1]", b""),
            "bad header",
        ),
        at(
            Greeted,
            "a header that is not UTF-8",
            {
                let mut wire = typed("bad", "b?d");
                wire.iter_mut()
                    .filter(|byte| **byte == b'?')
                    .for_each(|byte| *byte = 0xff);
                wire
            },
            "bad header",
        ),
        at(
            Greeted,
            "a header nested too deep",
            frame(
                &format!("{{\"request_type\":\"put\",\"id\":{}", "[".repeat(5000)),
                b"",
            ),
            "bad header",
        ),
        at(
            Greeted,
            "an unknown request type",
            frame(r#"{"request_type":"dance"}"#, b""),
            "unknown request type",
        ),
        at(
            Greeted,
            "no request type",
            frame(r#"{"title":"x"}"#, b""),
            "request_type",
        ),
        at(
            Greeted,
            "text as number",
            typed(":9", r#":"nine""#),
            "bad header",
        ),
        at(
            Greeted,
            "a negative number",
            typed(":9", ":-1"),
            "bad header",
        ),
        at(
            Greeted,
            "a number past 64 bits",
            typed(":9", ":18446744073709551616"),
            "bad header",
        ),
        at(
            Greeted,
            "a number as title",
            typed(r#""bad""#, "5"),
            "bad header",
        ),
        at(
            Greeted,
            "no title",
            typed(r#""title""#, r#""no_title""#),
            "no `title`",
        ),
        at(
            Greeted,
            "a title that is too long",
            frame(&header(9, &"t".repeat(4097)), small),
            "a title of 4097 bytes",
        ),
        at(
            Greeted,
            "a lone surrogate in the title",
            typed("bad", r"\ud800"),
            "bad header",
        ),
        at(
            Greeted,
            "content behind a message that takes none",
            frame(r#"{"request_type":"resumed"}"#, small),
            "behind a message that takes none",
        ),
        at(
            Greeted,
            "a second hello",
            frame(r#"{"request_type":"hello","role":"client"}"#, b""),
            "unexpected message",
        ),
        at(
            Greeted,
            "a message of the other direction",
            frame(r#"{"request_type":"resumed"}"#, b""),
            "unexpected message",
        ),
        at(
            Greeted,
            "a wrong checksum",
            damaged_frame(&header(9, "bad"), small),
            "checksum wrong",
        )
        .coded("checksum"),
        at(
            Greeted,
            "a wrong checksum of much",
            damaged_frame(&header(9, "bad"), large),
            "checksum wrong",
        )
        .coded("checksum"),
        at(
            Greeted,
            "more bytes than declared",
            frame_declaring(
                &header(9, "bad"),
                5,
                &[small, &crc32c::crc32c(small).to_be_bytes()].concat(),
            ),
            "checksum wrong",
        )
        .coded("checksum"),
        BadFrame::cut_off(Greeted, "half a head", head(7)[..5].to_vec()),
        BadFrame::cut_off(
            Greeted,
            "half a header",
            frame(&header(9, "bad"), b"")[..20].to_vec(),
        ),
        BadFrame::cut_off(
            Greeted,
            "fewer bytes than declared",
            frame_declaring(&header(9, "bad"), 20, small),
        ),
        BadFrame::cut_off(
            Greeted,
            "no byte of those declared",
            frame_declaring(&header(9, "bad"), 20, b""),
        ),
        BadFrame::cut_off(
            Greeted,
            "content without its checksum",
            frame_declaring(&header(9, "bad"), 10, small),
        ),
        BadFrame::cut_off(Greeted, "fewer bytes than declared of many", large_cut_off),
    ]
}
