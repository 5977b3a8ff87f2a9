//! The JSON header of a native frame.

use bilico::protocol::{HelloFacts, Message};

use crate::TIME;

/// Fragments of headers, so that more than the first byte is right.
const WORDS: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "type",
    "put",
    "hello",
    "accepted",
    "stored",
    "holding",
    "id",
    "number",
    "title",
    "key",
    "crc32c",
    "role",
    "server",
    "facts",
    "cpu",
    "register",
    "registered",
    "seen",
    "good",
    "ttl_ms",
    "address",
    "proof",
    "0",
    "18446744073709551616",
    "-1",
    "null",
    "\\u0000",
];

fn holds(header: &[u8]) {
    let Ok(mut message) = Message::decode(header) else {
        return;
    };
    if let Message::Hello(hello) = &mut message
        && let HelloFacts::Unusable(_) = &hello.facts
    {
        hello.facts = HelloFacts::Untold;
    }
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(Message::decode(&again).unwrap(), message);
}

#[test]
fn any_bytes() {
    bolero::check!().with_test_time(TIME).for_each(holds);
}

#[test]
fn fragments_of_headers() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<u8>>()
        .for_each(|choices| {
            let words = choices
                .iter()
                .map(|choice| WORDS[usize::from(*choice) % WORDS.len()]);
            holds(words.collect::<String>().as_bytes());
        });
}
