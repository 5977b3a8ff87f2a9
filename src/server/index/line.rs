//! The lines of the index file: pure encoding and decoding.
//!
//! Every line is text, begins with the CRC32C of its rest as 8 hex digits and a space, and ends
//! with a line feed. A file's name stands last and may have spaces; that it has no control
//! characters is [`stored_name`]'s invariant, and what breaks it is not read back.
//!
//! What came later than the first programs that read this file looks to those like the fate of a
//! number 0 of a journal that no balancer has, and they pass over it.
//!
//! [`stored_name`]: super::super::name::stored_name

use std::fmt::{self, Write};

/// The version of the format that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;

/// The longest line that is read, in bytes: what the numbers of one message take, with room to
/// spare.
pub(super) const MAX_LINE: usize = 512 * 1024;

/// How many numbers a line holds at most; far fewer than [`MAX_LINE`] has room for.
const MAX_NUMBERS: usize = 16 * 1024;

/// What a line of the index says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The first line: which format follows, and whose directory this is.
    Identity {
        /// The format's version.
        version: u32,
        /// The directory's identity.
        identity: &'a str,
    },
    /// A file is about to be published under this name, or the first one beside it that is free.
    Storing {
        /// The journal that the number belongs to.
        journal: &'a str,
        /// The file's request number.
        number: u64,
        /// Its size in bytes.
        size: u64,
        /// The CRC32C of its content.
        crc32c: u32,
        /// Its name on disk.
        name: &'a str,
    },
    /// What has become of files.
    Fate {
        /// What it is.
        fate: Fate,
        /// The journal that the numbers belong to.
        journal: &'a str,
        /// Their request numbers.
        numbers: Vec<u64>,
    },
    /// Whether a journal of which the lines before and after say nothing has never stored anything
    /// here.
    Complete(bool),
    /// Where the index is, as [`WrittenIn`] writes it.
    ///
    /// [`WrittenIn`]: super::place::WrittenIn
    WrittenIn(&'a str),
}

/// Stands for all journals.
const ALL: &str = "*";

/// What [`Line::WrittenIn`] begins with.
const IN: &str = "in:";

/// What becomes of a file after `storing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is published.
    Stored,
    /// A file that others may have a claim to, too, lies under its name with its content.
    Shared,
    /// The balancer knows that it is here.
    Confirmed,
    /// It was removed, or never published.
    Dropped,
    /// It is not kept track of any longer: there were too many.
    Forgotten,
}

const FATES: [(Fate, &str); 5] = [
    (Fate::Stored, "stored"),
    (Fate::Shared, "shared"),
    (Fate::Confirmed, "confirmed"),
    (Fate::Dropped, "dropped"),
    (Fate::Forgotten, "forgotten"),
];

impl Fate {
    fn word(self) -> &'static str {
        FATES
            .iter()
            .find(|(fate, _)| *fate == self)
            .map_or("", |(_, word)| word)
    }
}

/// Appends the first line.
pub(super) fn push_identity(out: &mut Vec<u8>, identity: &str) {
    push(out, format_args!("bilico-index {VERSION} {identity}"));
}

/// Appends a `storing` line.
pub(super) fn push_storing(
    out: &mut Vec<u8>,
    journal: &str,
    number: u64,
    size: u64,
    crc32c: u32,
    name: &str,
) {
    push(
        out,
        format_args!("storing {journal} {number} {size} {crc32c:08x} {name}"),
    );
}

/// Appends as many lines as the numbers take, and says how many.
pub(super) fn push_fate(out: &mut Vec<u8>, fate: Fate, journal: &str, numbers: &[u64]) -> u64 {
    let mut lines = 0;
    for part in numbers.chunks(MAX_NUMBERS) {
        push(
            out,
            format_args!("{} {journal}{}", fate.word(), Numbers(part)),
        );
        lines += 1;
    }
    lines
}

/// Appends a line that says whether the account of all journals is complete.
pub(super) fn push_complete(out: &mut Vec<u8>, complete: bool) {
    push_fate(
        out,
        if complete {
            Fate::Confirmed
        } else {
            Fate::Forgotten
        },
        ALL,
        &[0],
    );
}

/// Appends a line that says where the index is.
pub(super) fn push_written_in(out: &mut Vec<u8>, place: impl fmt::Display) {
    push_fate(out, Fate::Confirmed, &format!("{IN}{place}"), &[0]);
}

struct Numbers<'a>(&'a [u64]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|number| write!(f, " {number}"))
    }
}

fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let mut line = String::with_capacity(128);
    let _ = line.write_fmt(text);
    let _ = io_write(
        out,
        format_args!("{:08x} {line}\n", crc32c::crc32c(line.as_bytes())),
    );
}

fn io_write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) -> std::io::Result<()> {
    std::io::Write::write_fmt(out, text)
}

/// Reads a line, without its line feed; `None` if it is damaged.
pub(super) fn decode(line: &[u8]) -> Option<Line<'_>> {
    let (crc, text) = std::str::from_utf8(line).ok()?.split_at_checked(9)?;
    let crc = hex(crc.strip_suffix(' ')?)?;
    if crc != crc32c::crc32c(text.as_bytes()) {
        return None;
    }
    let (word, rest) = text.split_once(' ')?;
    match word {
        "bilico-index" => {
            let (version, identity) = rest.split_once(' ')?;
            Some(Line::Identity {
                version: version.parse().ok()?,
                identity,
            })
        }
        "storing" => decode_storing(rest),
        word => {
            let (fate, _) = FATES.iter().find(|(_, known)| *known == word)?;
            let mut words = rest.split(' ');
            let journal = words.next()?;
            if let Some(place) = journal.strip_prefix(IN) {
                return Some(Line::WrittenIn(place));
            }
            if journal == ALL {
                return Some(Line::Complete(*fate == Fate::Confirmed));
            }
            let numbers = words
                .map(|number| number.parse().ok())
                .collect::<Option<_>>()?;
            Some(Line::Fate {
                fate: *fate,
                journal,
                numbers,
            })
        }
    }
}

fn decode_storing(rest: &str) -> Option<Line<'_>> {
    let mut words = rest.splitn(5, ' ');
    let journal = words.next()?;
    let number: u64 = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let crc32c = hex(words.next()?)?;
    let name = words.next()?;
    is_name_of(name, number).then_some(Line::Storing {
        journal,
        number,
        size,
        crc32c,
        name,
    })
}

/// Whether a name is one that a stored file of this number can have: a file's content must not lead
/// us elsewhere.
fn is_name_of(name: &str, number: u64) -> bool {
    let rest = name
        .strip_prefix(&number.to_string())
        .and_then(|rest| rest.strip_prefix('_'));
    rest.is_some() && name.len() <= 255 && !name.contains(|c: char| c == '/' || c.is_control())
}

fn hex(digits: &str) -> Option<u32> {
    // Only as they are written: a bit that turns a digit into a capital is a flipped one, too.
    let plain = digits.len() == 8
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if plain {
        u32::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::name::stored_name;
    use proptest::prelude::*;

    const JOURNAL: &str = "0123456789abcdef0123456789abcdef";

    fn one(line: &[u8]) -> Option<Line<'_>> {
        decode(line.strip_suffix(b"\n").unwrap())
    }

    #[test]
    fn lines_are_text_and_come_back() {
        let mut out = Vec::new();
        push_identity(&mut out, JOURNAL);
        assert_eq!(
            one(&out),
            Some(Line::Identity {
                version: VERSION,
                identity: JOURNAL
            })
        );
        assert!(
            String::from_utf8(out)
                .unwrap()
                .ends_with(&format!(" bilico-index 1 {JOURNAL}\n"))
        );

        let mut out = Vec::new();
        push_storing(&mut out, JOURNAL, 7, 2, 0xf59d_d9c2, "7_a b.txt");
        let line = Line::Storing {
            journal: JOURNAL,
            number: 7,
            size: 2,
            crc32c: 0xf59d_d9c2,
            name: "7_a b.txt",
        };
        assert_eq!(one(&out), Some(line));

        for (fate, word) in FATES {
            let mut out = Vec::new();
            assert_eq!(push_fate(&mut out, fate, JOURNAL, &[1, u64::MAX]), 1);
            assert_eq!(
                one(&out),
                Some(Line::Fate {
                    fate,
                    journal: JOURNAL,
                    numbers: vec![1, u64::MAX]
                })
            );
            let text = String::from_utf8(out).unwrap();
            assert!(
                text.ends_with(&format!(" {word} {JOURNAL} 1 18446744073709551615\n")),
                "{text}"
            );
        }
    }

    /// Byte for byte, since older programs must take them for the fate of a number that nobody has.
    #[test]
    fn later_lines_look_like_fates() {
        let text = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            assert!(one(&out).is_some());
            String::from_utf8(out).unwrap().split_off(9)
        };
        assert_eq!(text(&|out| push_complete(out, true)), "confirmed * 0\n");
        assert_eq!(text(&|out| push_complete(out, false)), "forgotten * 0\n");
        assert_eq!(
            text(&|out| push_written_in(out, "1.2.3.4")),
            "confirmed in:1.2.3.4 0\n"
        );
        let mut out = Vec::new();
        push_written_in(&mut out, "1.2.3.4");
        push_complete(&mut out, false);
        let lines: Vec<_> = out
            .split_inclusive(|byte| *byte == b'\n')
            .map(one)
            .collect();
        assert_eq!(
            lines,
            [
                Some(Line::WrittenIn("1.2.3.4")),
                Some(Line::Complete(false))
            ]
        );
    }

    #[test]
    fn the_longest_lines_can_be_read_back() {
        let mut out = Vec::new();
        let numbers = vec![u64::MAX; MAX_NUMBERS + 1];
        assert_eq!(push_fate(&mut out, Fate::Confirmed, JOURNAL, &numbers), 2);
        let lines: Vec<_> = out.split_inclusive(|byte| *byte == b'\n').collect();
        assert!(
            lines
                .iter()
                .all(|line| line.len() < MAX_LINE && one(line).is_some())
        );
        assert_eq!(push_fate(&mut out, Fate::Confirmed, JOURNAL, &[]), 0);
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_read() {
        for name in [
            "8_x",
            "x",
            "7",
            "7_/../../etc/passwd",
            "7_a\u{1b}",
            "",
            "../7_x",
        ] {
            let mut out = Vec::new();
            push_storing(&mut out, JOURNAL, 7, 2, 1, name);
            assert_eq!(one(&out), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_title_stays_one_line(number: u64, title in any::<String>()) {
            let name = stored_name(number, &title);
            let mut out = Vec::new();
            push_storing(&mut out, JOURNAL, number, 0, 0, &name);
            prop_assert_eq!(bytecount::count(&out, b'\n'), 1);
            let line = Line::Storing { journal: JOURNAL, number, size: 0, crc32c: 0, name: &name };
            prop_assert_eq!(one(&out), Some(line));
        }

        #[test]
        fn any_bytes_are_read_or_not(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&line);
        }
    }
}
