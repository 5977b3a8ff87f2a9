use proptest::collection::btree_set;
use proptest::prelude::*;

use super::*;

/// `set()` as Python writes it.
const EMPTY: &[u8] = b"\x80\x04\x8f\x94.";

/// `{"127.0.0.1:5050"}` as Python writes it.
const ONE: &[u8] = b"\x80\x04\x95\x16\0\0\0\0\0\0\0\x8f\x94(\x8c\x0e127.0.0.1:5050\x94\x90.";

/// Two of them.
const TWO: &[u8] = b"\x80\x04\x95\x27\0\0\0\0\0\0\0\x8f\x94(\x8c\x0e127.0.0.1:5051\x94\
    \x8c\x0e127.0.0.1:5050\x94\x90.";

fn read(bytes: &[u8]) -> Result<Option<BTreeSet<String>>, BadPickle> {
    Unpickler::default().push(bytes)
}

fn set(entries: &[&str]) -> BTreeSet<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

/// As Python writes it: framed, with everything in the memo.
fn as_python(entries: &[String], protocol: u8) -> Vec<u8> {
    let mut body = vec![EMPTY_SET, MEMOIZE];
    let mut batches = entries.chunks(BATCH).peekable();
    while let Some(batch) = batches.next() {
        body.push(MARK);
        for entry in batch {
            if let Ok(length) = u8::try_from(entry.len()) {
                body.extend([SHORT_BINUNICODE, length]);
            } else {
                body.push(BINUNICODE);
                body.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
            }
            body.extend(entry.as_bytes());
            body.push(MEMOIZE);
        }
        body.push(ADDITEMS);
        // A batch that is full is followed by another one, even if nothing is left.
        if batches.peek().is_none() && batch.len() == BATCH {
            body.extend([MARK, ADDITEMS]);
        }
    }
    body.push(STOP);
    let mut bytes = vec![PROTO, protocol];
    if body.len() >= 4 {
        bytes.push(FRAME);
        bytes.extend((body.len() as u64).to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

#[test]
fn the_bytes_of_python_are_read() {
    assert_eq!(ONE.len(), 33);
    assert_eq!(read(EMPTY), Ok(Some(set(&[]))));
    assert_eq!(read(ONE), Ok(Some(set(&["127.0.0.1:5050"]))));
    let two = set(&["127.0.0.1:5050", "127.0.0.1:5051"]);
    assert_eq!(read(TWO), Ok(Some(two)));
    for bytes in [EMPTY, ONE, TWO] {
        let mut newer = bytes.to_vec();
        newer[1] = 5;
        assert_eq!(read(&newer), read(bytes), "protocol 5 differs in a byte");
        for protocol in (0..=255).filter(|protocol| !(4..=5).contains(protocol)) {
            newer[1] = protocol;
            assert_eq!(read(&newer), Err(BadPickle::Protocol), "{protocol}");
        }
    }
    assert_eq!(as_python(&["127.0.0.1:5050".to_owned()], 4), ONE);
}

#[test]
fn it_is_written_without_frame_and_memo() {
    assert_eq!(pickle([]), b"\x80\x04\x8f.");
    assert_eq!(
        pickle(["127.0.0.1:5050"]),
        b"\x80\x04\x8f(\x8c\x0e127.0.0.1:5050\x90."
    );
    let entries: Vec<_> = (0..63).map(|n| format!("127.0.0.1:{}", 5050 + n)).collect();
    let bytes = pickle(entries.iter().map(String::as_str));
    assert!(bytes.len() <= 1024, "{} bytes", bytes.len());
}

#[test]
fn a_set_comes_in_batches_of_a_thousand() {
    for many in [999_usize, 1000, 1001, 2000] {
        let entries: Vec<_> = (0..many)
            .map(|n| format!("10.0.0.1:{}", 5050 + n))
            .collect();
        let whole: BTreeSet<_> = entries.iter().cloned().collect();
        for protocol in [4, 5] {
            assert_eq!(
                read(&as_python(&entries, protocol)),
                Ok(Some(whole.clone()))
            );
        }
        let ours = pickle(entries.iter().map(String::as_str));
        assert_eq!(read(&ours), Ok(Some(whole)));
        let batches = ours.split(|byte| *byte == MARK).count() - 1;
        assert_eq!(batches, many.div_ceil(BATCH));
    }
}

#[test]
fn texts_of_256_bytes_and_more_are_read() {
    for length in [0, 1, 255, 256, 300, 60_000] {
        let entries = ["x".repeat(length)];
        let whole = Ok(Some(BTreeSet::from(entries.clone())));
        assert_eq!(read(&as_python(&entries, 4)), whole, "{length}");
        assert_eq!(read(&pickle([&*entries[0]])), whole, "{length}");
    }
}

/// All other instructions run, build or fetch something, or make another kind of value.
#[test]
fn every_other_instruction_is_refused() {
    let known = [
        PROTO,
        FRAME,
        EMPTY_SET,
        MEMOIZE,
        MARK,
        SHORT_BINUNICODE,
        BINUNICODE,
        ADDITEMS,
        STOP,
    ];
    // Behind the protocol, behind the set, and where the texts are.
    for place in [
        &ONE[..2],
        b"\x80\x04\x8f",
        b"\x80\x04\x8f(",
        b"\x80\x04\x8f(\x8c\x01x",
    ] {
        for code in (0..=255).filter(|code| !known.contains(code)) {
            let mut bytes = place.to_vec();
            bytes.push(code);
            let refused = Err(BadPickle::Instruction(code));
            assert_eq!(read(&bytes), refused, "{place:x?} 0x{code:02x}");
            bytes.extend([0; 16]);
            assert_eq!(read(&bytes), refused);
        }
    }
    // Known ones at another place.
    for (bytes, code) in [
        (&b"\x80\x04\x8f\x8f"[..], EMPTY_SET),
        (b"\x80\x04\x8f\x80\x04", PROTO),
        (b"\x80\x04\x8f\x94\x94", MEMOIZE),
        (b"\x80\x04\x94", MEMOIZE),
        (b"\x80\x04.", STOP),
        (b"\x80\x04(", MARK),
        (b"\x80\x04\x8f(.", STOP),
        (b"\x80\x04\x8f((", MARK),
        (b"\x80\x04\x8f(\x94", MEMOIZE),
        (b"\x80\x04\x8f\x8c\x01x", SHORT_BINUNICODE),
        (b"\x80\x04\x8f\x90", ADDITEMS),
    ] {
        assert_eq!(read(bytes), Err(BadPickle::Instruction(code)), "{bytes:x?}");
    }
    for code in (0..=255).filter(|code| *code != PROTO) {
        assert_eq!(read(&[code]), Err(BadPickle::Protocol));
    }
}

#[test]
fn what_is_cut_is_never_taken_for_a_whole() {
    let entries: Vec<_> = (0..1001)
        .map(|n| format!("10.0.0.1:{}", 5050 + n))
        .collect();
    for bytes in [
        EMPTY.to_vec(),
        TWO.to_vec(),
        as_python(&entries, 5),
        pickle(["x".repeat(300).as_str()]),
    ] {
        let mut unpickler = Unpickler::default();
        let (last, others) = bytes.split_last().unwrap();
        for byte in others {
            assert_eq!(unpickler.push(&[*byte]), Ok(None));
        }
        assert_eq!(unpickler.push(&[*last]), read(&bytes));
        let more = [bytes.as_slice(), b"."].concat();
        assert_eq!(read(&more), Err(BadPickle::Trailing));
    }
    for cut in 0..TWO.len() {
        assert_eq!(read(&TWO[..cut]), Ok(None), "cut at {cut}");
    }
}

#[test]
fn a_frame_ends_where_it_says() {
    // Where an instruction ends, a frame may end.
    let ends = [1, 2, 3, 19, 20, 21, 22];
    for length in 1..200_u8 {
        let mut bytes = ONE.to_vec();
        bytes[3] = length;
        if ends.contains(&length) {
            assert_eq!(read(&bytes), read(ONE), "{length}");
        } else {
            assert_eq!(read(&bytes), Err(BadPickle::Frame), "{length}");
        }
    }
    let mut bytes = ONE.to_vec();
    bytes[3..11].fill(0);
    assert_eq!(read(&bytes), Err(BadPickle::Frame), "an empty one");
    bytes[3..11].fill(0xff);
    assert_eq!(read(&bytes), Err(BadPickle::TooLong));
    let within = b"\x80\x04\x95\x16\0\0\0\0\0\0\0\x95\x0d\0\0\0\0\0\0\0\x8f\x94.";
    assert_eq!(read(within), Err(BadPickle::Frame), "a frame in a frame");
}

#[test]
fn what_is_too_long_is_refused_before_it_has_come() {
    assert_eq!(
        read(b"\x80\x04\x8f(X\xff\xff\xff\xff"),
        Err(BadPickle::TooLong)
    );
    let mut unpickler = Unpickler::default();
    assert_eq!(unpickler.push(b"\x80\x04\x8f("), Ok(None));
    let text = [b"\x8c\xff".as_slice(), &[b'x'; 255]].concat();
    let ended = (0..1000).find_map(|_| unpickler.push(&text).err());
    assert_eq!(ended, Some(BadPickle::TooLong));
    assert!(unpickler.bytes.len() <= MAX_PICKLE);
}

#[test]
fn a_text_is_utf_8() {
    assert_eq!(
        read(b"\x80\x04\x8f(\x8c\x01\xff\x90."),
        Err(BadPickle::Text)
    );
    assert_eq!(
        read("\u{80}".as_bytes()),
        Err(BadPickle::Protocol),
        "0x80 as UTF-8"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        entries in btree_set("\\PC{0,300}", 0..40),
        pieces in prop::collection::vec(1..50_usize, 1..200),
    ) {
        let list: Vec<_> = entries.iter().cloned().collect();
        for bytes in [pickle(entries.iter().map(String::as_str)), as_python(&list, 4)] {
            let whole = bytes.len() <= MAX_PICKLE;
            let expected = if whole { Ok(Some(entries.clone())) } else { Err(BadPickle::TooLong) };
            prop_assert_eq!(read(&bytes), expected.clone());
            let mut unpickler = Unpickler::default();
            let mut rest = bytes.as_slice();
            let mut pieces = pieces.iter().cycle();
            let mut last = Ok(None);
            while !rest.is_empty() && last == Ok(None) {
                let (piece, behind) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
                last = unpickler.push(piece);
                rest = behind;
            }
            prop_assert_eq!(last, expected);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
    }
}
