//! The pickles and lines of the first monitoring system.

use bilico::fleet_core::old::{
    Requests, STATUS, Unpickler, next_line, parse_line, pickle, status_line,
};

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

/// Parts of lines, so that some are whole.
const WORDS: [&[u8]; 16] = [
    "Uso de CPU: 58.9% | Uso de Memória: 3.5% | Uso de Disco: 29.8% | Status da Rede: Ativo | \
     Tempo de Atividade: 0.84 horas"
        .as_bytes(),
    b"Uso de CPU: ",
    "% | Uso de Memória: ".as_bytes(),
    b"% | Uso de Disco: ",
    b"% | Status da Rede: ",
    b" | Tempo de Atividade: ",
    b" horas",
    b"58.9",
    b"100",
    b"0.0",
    b"158.9",
    b"nan",
    b"-1",
    b"Ativo",
    b"Inativo",
    b"\n",
];

/// A line that is taken is one that is written again, and lines come out the same in pieces.
#[test]
fn lines() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(Vec<u8>, [u8; 6], u8)>()
        .for_each(|(choices, figures, piece)| {
            let part = |choice: &u8| WORDS[usize::from(*choice) % WORDS.len()];
            // A line with other figures in it, and then any parts.
            let mut bytes = Vec::new();
            for (word, figure) in WORDS[1..7].iter().zip(figures) {
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(part(figure));
            }
            bytes.extend(choices.iter().flat_map(part));
            let mut came = bytes.clone();
            let whole = all_lines(&mut came);
            for line in whole.iter().flatten() {
                if let Ok(facts) = parse_line(line) {
                    let again = parse_line(&status_line(&facts)).unwrap();
                    assert_eq!(status_line(&again), status_line(&facts));
                }
            }
            let (mut came, mut pieces) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(usize::from(*piece) + 1) {
                came.extend_from_slice(piece);
                let Some(lines) = all_lines(&mut came) else {
                    assert_eq!(whole, None);
                    return;
                };
                pieces.extend(lines);
            }
            if let Some(whole) = whole {
                assert_eq!(pieces, whole);
            }
        });
}

/// The lines that have come whole; `None` if something else came.
fn all_lines(came: &mut Vec<u8>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = next_line(came).ok()? {
        lines.push(line);
    }
    Some(lines)
}

/// Requests are counted the same in one piece and in many, and none is counted that is not there.
#[test]
fn requests() {
    const PARTS: [&[u8]; 5] = [b"status", b"sta", b"tus", b"\r\n", b"x"];
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(Vec<u8>, u8)>()
        .for_each(|(choices, piece)| {
            let parts = choices
                .iter()
                .flat_map(|choice| PARTS[usize::from(*choice) % PARTS.len()]);
            let bytes: Vec<u8> = parts.copied().collect();
            let whole = Requests::default().push(&bytes);
            let mut requests = Requests::default();
            let pieces = bytes.chunks(usize::from(*piece) + 1);
            let pieces: Result<usize, _> = pieces.map(|piece| requests.push(piece)).sum();
            assert_eq!(pieces, whole);
            let there = bytes.windows(STATUS.len()).filter(|part| *part == STATUS);
            assert!(whole.is_err() || whole == Ok(there.count()));
        });
}
