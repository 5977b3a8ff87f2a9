//! The native frame: its preface, head, and header.

use bilico::protocol::frame;
use bytes::BytesMut;

use crate::TIME;

/// What is decoded is encoded to a frame that is decoded to the same, and decoding never takes more
/// than there is.
#[test]
fn decodes() {
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|bytes: &[u8]| {
            let mut input = BytesMut::from(bytes);
            let _ = frame::decode_preface(&mut input.clone());
            let Ok(Some(decoded)) = frame::decode(&mut input) else {
                return;
            };
            assert!(input.len() < bytes.len());
            let mut again = Vec::new();
            frame::encode(&decoded.message, decoded.content_len, &mut again);
            let same = frame::decode(&mut BytesMut::from(&*again))
                .unwrap()
                .unwrap();
            assert_eq!(same, decoded);
        });
}

/// A frame that comes in pieces is the same as one that comes at once.
#[test]
fn pieces_make_no_difference() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(Vec<u8>, u16)>()
        .for_each(|(bytes, cut)| {
            let cut = usize::from(*cut).min(bytes.len());
            let whole = frame::decode(&mut BytesMut::from(&**bytes));
            let mut input = BytesMut::from(&bytes[..cut]);
            let first = frame::decode(&mut input);
            if matches!(first, Ok(None)) {
                assert_eq!(&*input, &bytes[..cut], "nothing is taken from half a frame");
                input.extend_from_slice(&bytes[cut..]);
                assert_eq!(
                    format!("{:?}", frame::decode(&mut input)),
                    format!("{whole:?}")
                );
            }
        });
}
