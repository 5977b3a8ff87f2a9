//! Segments that are cut, damaged, or hold pieces of others.

use bytes::Bytes;

use super::frame::record_len;
use super::*;
use crate::record::Record;

const JOURNAL: JournalId = [7; 16];

fn segment(batches: &[usize]) -> (Framer, Vec<u8>, Vec<usize>) {
    let header = Header {
        journal: JOURNAL,
        segment: 3,
        oldest: 2,
        next_number: 9,
        first_sequence: 100,
    };
    let framer = Framer::new(&JOURNAL, 3);
    let (mut bytes, mut sequence, mut offsets) = (header.encode().to_vec(), 100, Vec::new());
    for count in batches {
        let mut batch = Vec::new();
        for _ in 0..*count {
            offsets.push(bytes.len() + batch.len());
            let start = bytes.len() as u64;
            framer.append(
                &Record::Replayed { number: sequence },
                sequence,
                (start, start),
                &mut batch,
            );
            sequence += 1;
        }
        bytes.extend_from_slice(&batch);
    }
    (framer, bytes, offsets)
}

fn scan(framer: Framer, bytes: &[u8], is_last: bool) -> Vec<Item> {
    Scan::new(framer, &Bytes::copy_from_slice(bytes), is_last).collect()
}

fn records(items: &[Item]) -> usize {
    items
        .iter()
        .filter(|item| matches!(item, Item::Record(_)))
        .count()
}

#[test]
fn header_and_records_are_read_back() {
    let (framer, bytes, offsets) = segment(&[1, 3, 2]);
    let header = Header::decode(&bytes).unwrap();
    assert_eq!(
        (
            header.segment,
            header.oldest,
            header.next_number,
            header.first_sequence
        ),
        (3, 2, 9, 100)
    );
    let items = scan(framer, &bytes, true);
    assert_eq!(records(&items), 6);
    for (item, (sequence, offset)) in items.iter().zip((100..).zip(offsets)) {
        let Item::Record(found) = item else {
            panic!("{item:?}")
        };
        assert_eq!((found.sequence, found.offset), (sequence, offset));
    }
}

#[test]
fn a_segment_cut_anywhere_loses_only_what_was_cut() {
    let (framer, bytes, offsets) = segment(&[1, 3, 2]);
    for len in 0..bytes.len() {
        let items = scan(framer, &bytes[..len], true);
        let whole = offsets
            .iter()
            .filter(|offset| **offset + record_len(8) <= len)
            .count();
        assert_eq!(records(&items), whole, "cut to {len}");
        assert!(!items.iter().any(|item| matches!(item, Item::Damage { .. })));
    }
}

#[test]
fn damage_to_what_was_synced_is_told_from_a_torn_tail() {
    let (framer, bytes, offsets) = segment(&[1, 3, 2]);
    for (place, offset) in offsets.iter().enumerate() {
        let mut bad = bytes.clone();
        bad[offset + 10] ^= 1;
        let items = scan(framer, &bad, true);
        let is_torn = items.iter().any(|item| matches!(item, Item::Torn { .. }));
        assert_eq!(
            is_torn,
            place >= 4,
            "only the last batch can be torn: {place}"
        );
        assert_eq!(records(&items), if is_torn { place } else { 5 });
        let items = scan(framer, &bad, false);
        assert!(
            items.iter().any(|item| matches!(item, Item::Damage { .. })),
            "a sealed segment has no torn tail"
        );
    }
}

#[test]
fn a_length_that_leads_astray_is_found_out() {
    let (framer, bytes, offsets) = segment(&[1, 1, 1, 1]);
    for length in [0_u32, 1, 9, 200, 70_000, u32::MAX] {
        let mut bad = bytes.clone();
        bad[offsets[1] + 4..offsets[1] + 8].copy_from_slice(&length.to_le_bytes());
        let items = scan(framer, &bad, true);
        assert_eq!(records(&items), 3);
        assert!(
            items.contains(&Item::Damage {
                offset: offsets[1],
                len: record_len(8)
            }),
            "{items:?}"
        );
    }
}

/// The content of a file may be a piece of a journal, even of this one.
#[test]
fn a_record_counts_only_in_its_own_place() {
    let (framer, bytes, offsets) = segment(&[1, 1]);
    let copied = bytes[offsets[0]..offsets[1]].to_vec();
    let moved = [&bytes[..offsets[1]], &copied, &copied].concat();
    assert_eq!(records(&scan(framer, &moved, true)), 1);
    // Its sequence and its base would do, here.
    let (_, longer, offsets) = segment(&[3]);
    let early = [&longer[..offsets[1]], &longer[offsets[2]..]].concat();
    assert_eq!(records(&scan(framer, &early, true)), 1);
    assert_eq!(records(&scan(Framer::new(&JOURNAL, 4), &bytes, true)), 0);
    assert_eq!(records(&scan(Framer::new(&[8; 16], 3), &bytes, true)), 0);
}

#[test]
fn names_lead_to_segments_and_back() {
    assert_eq!(name(255), "00000000000000ff.log");
    assert_eq!(parse_name("00000000000000ff.log"), Some(255));
    for other in [
        "",
        ".log",
        "ff.log",
        "00000000000000FF.log",
        "+0000000000000ff.log",
        "00000000000000ff.log2",
    ] {
        assert_eq!(parse_name(other), None, "{other}");
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let (_, bytes, _) = segment(&[1]);
    for bit in 0..HEADER_LEN * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::decode(&bad), None, "bit {bit}");
    }
}
