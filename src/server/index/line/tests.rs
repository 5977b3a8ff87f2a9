use super::*;
use crate::server::name::stored_name;
use proptest::prelude::*;

const JOURNAL: &str = "0123456789abcdef0123456789abcdef";

fn entry(size: u64, crc32c: u32, name: &str) -> IndexEntry {
    IndexEntry {
        size,
        crc32c,
        name: name.into(),
        shared: false,
    }
}

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
    push_storing(&mut out, JOURNAL, 7, &entry(2, 0xf59d_d9c2, "7_a b.txt"));
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
    assert_eq!(
        text(&|out| push_owner(out, "b-1", JOURNAL)),
        format!("confirmed of:b-1={JOURNAL} 0\n")
    );
    let mut out = Vec::new();
    push_written_in(&mut out, "1.2.3.4");
    push_owner(&mut out, "b-1", JOURNAL);
    push_complete(&mut out, false);
    let lines: Vec<_> = out
        .split_inclusive(|byte| *byte == b'\n')
        .map(one)
        .collect();
    assert_eq!(
        lines,
        [
            Some(Line::WrittenIn("1.2.3.4")),
            Some(Line::Owner {
                balancer: "b-1",
                journal: JOURNAL
            }),
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
        push_storing(&mut out, JOURNAL, 7, &entry(2, 1, name));
        assert_eq!(one(&out), None, "{name}");
    }
}

proptest! {
    #[test]
    fn any_title_stays_one_line(number: u64, title in any::<String>()) {
        let name = stored_name(number, &title);
        let mut out = Vec::new();
        push_storing(&mut out, JOURNAL, number, &entry(0, 0, &name));
        prop_assert_eq!(bytecount::count(&out, b'\n'), 1);
        let line = Line::Storing { journal: JOURNAL, number, size: 0, crc32c: 0, name: &name };
        prop_assert_eq!(one(&out), Some(line));
    }

    #[test]
    fn any_bytes_are_read_or_not(line in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&line);
    }
}
