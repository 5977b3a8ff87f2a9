//! The pickles and lines of the first monitoring system.

use bilico::fleet_core::old::{Unpickler, next_line, parse_line, pickle, status_line};

use crate::TIME;

/// What is read is a set that is read again as it is written, and comes out the same in pieces.
fn holds(bytes: &[u8]) {
    let whole = Unpickler::default().push(bytes);
    let mut pieces = Unpickler::default();
    let mut last = Ok(None);
    for byte in bytes {
        last = pieces.push(&[*byte]);
        if last.is_err() {
            break;
        }
    }
    match whole {
        Ok(Some(set)) => {
            let again = pickle(set.iter().map(String::as_str));
            assert_eq!(Unpickler::default().push(&again), Ok(Some(set.clone())));
            assert_eq!(last, Ok(Some(set)));
        }
        Ok(None) => assert_eq!(last, Ok(None)),
        Err(_) => assert!(last.is_err()),
    }
}

/// Bytes of a pickle, so that more than the first one is right.
const PARTS: [&[u8]; 12] = [
    b"\x80\x04\x8f",
    b"\x80\x05\x8f",
    b"\x95\x16\0\0\0\0\0\0\0",
    b"\x94",
    b"(",
    b"\x8c\x0e127.0.0.1:5050",
    b"\x8c\0",
    b"X\x01\0\0\0x",
    b"\x90",
    b".",
    b"\xff",
    b"c",
];

#[test]
fn any_bytes() {
    bolero::check!().with_test_time(TIME).for_each(holds);
}

#[test]
fn parts_of_pickles() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<u8>>()
        .for_each(|choices| {
            let parts = choices
                .iter()
                .map(|choice| PARTS[usize::from(*choice) % PARTS.len()]);
            holds(&[PARTS[0], &parts.collect::<Vec<_>>().concat()].concat());
        });
}

/// A line that is taken is one that is written again, and bytes never make a line that is none.
#[test]
fn lines() {
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|bytes: &[u8]| {
            let mut came = [b"Uso de CPU", bytes, b" horas"].concat();
            while let Ok(Some(line)) = next_line(&mut came) {
                if let Ok(facts) = parse_line(&line) {
                    let again = parse_line(&status_line(&facts)).unwrap();
                    assert_eq!(status_line(&again), status_line(&facts));
                }
            }
        });
}
