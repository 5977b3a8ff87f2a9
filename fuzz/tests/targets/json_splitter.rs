//! The splitter that finds JSON objects in the stream of the old doorway.

use bilico::protocol::json::{self, Splitter};
use bytes::Bytes;

use crate::TIME;

/// The bytes that objects are made of, so that some inputs are objects.
const BYTES: &[u8] = b"{}[]\"\\:, \n0az";

/// The end of the first object is where it is, however the bytes come; and what the splitter takes
/// for an object is parsed or refused.
fn holds(bytes: &[u8], piece: usize) {
    let whole = Splitter::default().find_end(bytes);
    let mut splitter = Splitter::default();
    let mut found = Ok(None);
    for end in (piece..bytes.len()).step_by(piece).chain([bytes.len()]) {
        found = splitter.find_end(&bytes[..end]);
        if !matches!(found, Ok(None)) {
            break;
        }
    }
    assert_eq!(format!("{found:?}"), format!("{whole:?}"));
    if let Ok(Some(end)) = whole {
        assert!(end <= bytes.len());
        let object = Bytes::copy_from_slice(&bytes[..end]);
        let _ = json::parse(&object);
        let _ = json::parse_payload(&object);
    }
}

#[test]
fn any_bytes() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(Vec<u8>, u8)>()
        .for_each(|(bytes, piece)| holds(bytes, usize::from(*piece) + 1));
}

#[test]
fn bytes_of_objects() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(Vec<u8>, u8)>()
        .for_each(|(choices, piece)| {
            let bytes = choices
                .iter()
                .map(|choice| BYTES[usize::from(*choice) % BYTES.len()]);
            let bytes: Vec<_> = [b'{'].into_iter().chain(bytes).collect();
            holds(&bytes, usize::from(*piece) + 1);
        });
}
