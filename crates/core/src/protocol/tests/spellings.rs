//! Headers in any spelling: those that are read by hand are read as serde reads them.

use proptest::prelude::*;

use super::oracle::{to_oracle, written};
use super::strategies::{message, number, text};
use crate::protocol::Message;
use crate::protocol::decode::{decode_any, decode_canonical};

/// A number that JSON spells otherwise, or not at all, or that no field can hold.
fn strange_number() -> impl Strategy<Value = String> {
    let spellings = [
        "01",
        "00",
        "-0",
        "-1",
        "1.0",
        "1e3",
        "+1",
        "",
        "9999999999999999999",
        "10000000000000000000",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "184467440737095516160",
    ];
    prop::sample::select(spellings.to_vec()).prop_map(str::to_owned)
}

/// A value, right or wrong, as it may stand on the wire.
fn value() -> impl Strategy<Value = String> {
    let strange = vec![
        "01",
        "-0",
        "-1",
        "1.0",
        "1e3",
        "+1",
        "",
        "null",
        "true",
        "false",
        "truely",
        "TRUE",
        "[]",
        "{}",
        "[1,{\"id\":2}]",
        "\"7\"",
        "\"\\u0061\"",
        "\"\\ud800\"",
        "\"\t\"",
        "\"a\\\"b\"",
        "\"",
        "9999999999999999999",
        "10000000000000000000",
        "18446744073709551615",
        "18446744073709551616",
        "00",
        "0",
    ];
    prop_oneof![
        3 => number().prop_map(|number| number.to_string()),
        3 => text().prop_map(|text| serde_json::to_string(&text).unwrap()),
        2 => any::<bool>().prop_map(|flag| flag.to_string()),
        3 => prop::sample::select(strange).prop_map(str::to_owned),
    ]
}

/// A piece of a header that is spelled in its own way: fields known and unknown, right and wrong
/// values, in any number of each.
fn spelled_field() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => prop::sample::select(vec!["id", "request_number", "title", "key", "server", "confirmed", "offset", "crc32c"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["request_type", "new", "i\\u0064", "ID", "titl\u{e8}"]).prop_map(str::to_owned),
    ];
    (name, value()).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

/// A header whose fields are those of `message`, shuffled, some of them twice, and with others
/// between them.
fn reordered(
    message: &Message,
    extra: Vec<String>,
    order: &[prop::sample::Index],
    space: &str,
) -> String {
    let header = serde_json::to_value(to_oracle(message)).unwrap();
    let own = header
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"));
    let mut fields: Vec<String> = own.chain(extra).collect();
    for index in order {
        let (from, to) = (index.index(fields.len()), fields.len() - 1);
        fields.swap(from, to);
    }
    format!("{{{}}}", fields.join(&format!("{space},{space}")))
}

/// Both ways to read a header come to the same message, or to the same error.
fn check_agreement(wire: &[u8]) {
    let slow = decode_any(wire);
    if let Some(fast) = decode_canonical(wire) {
        assert_eq!(
            Ok(&fast),
            slow.as_ref(),
            "{}",
            String::from_utf8_lossy(wire)
        );
    }
    assert_eq!(Message::decode(wire), slow);
}

proptest! {
    #[test]
    fn any_message_is_written_as_serde_writes_it(message in message()) {
        prop_assert_eq!(written(&message), serde_json::to_vec(&to_oracle(&message)).unwrap());
    }

    #[test]
    fn what_is_written_is_read_as_serde_reads_it(message in message()) {
        check_agreement(&written(&message));
    }

    #[test]
    fn damaged_headers_are_read_as_serde_reads_them(
        message in message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop_oneof![
            any::<u8>(),
            prop::sample::select(b"\"\\{}[]:,0123456789 \n\t-.eEtfn\x00\x1f\x7f\xff".to_vec()),
        ]), 1..4),
    ) {
        let mut wire = written(&message);
        for (at, kind, byte) in damage {
            let at = at.index(wire.len() + 1);
            match kind {
                0 => wire.insert(at, byte),
                1 if at < wire.len() => wire[at] = byte,
                _ => wire.truncate(at),
            }
        }
        check_agreement(&wire);
    }

    #[test]
    fn other_spellings_are_read_as_serde_reads_them(
        message in message(),
        extra in prop::collection::vec(spelled_field(), 0..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        space in prop::sample::select(vec!["", " ", "\n\t"]),
    ) {
        check_agreement(reordered(&message, extra, &order, space).as_bytes());
    }

    /// The usual fields in the usual order, one of them with any value, so that the fast path is as
    /// near its goal as it can be.
    #[test]
    fn strange_values_in_the_usual_order_are_read_as_serde_reads_them(
        (request, fields) in prop::sample::select(vec![
            ("put", vec!["id", "title", "key", "offset"]),
            ("put", vec!["id", "title"]),
            ("accepted", vec!["id", "request_number"]),
            ("delivered", vec!["id", "request_number", "server", "confirmed"]),
            ("store", vec!["request_number", "title"]),
            ("stored", vec!["request_number"]),
            ("stored", vec!["request_number", "request_number"]),
        ]),
        strange in prop_oneof![1 => value(), 1 => strange_number()],
        at in any::<prop::sample::Index>(),
        tail in prop_oneof![6 => Just("}"), 1 => prop::sample::select(vec!["} ", ",}", "}}", " }", ""])],
    ) {
        let at = at.index(fields.len());
        let spell = |(place, field): (usize, &&str)| {
            let usual = match *field {
                "id" | "request_number" => "7",
                "confirmed" => "true",
                _ => "\"x\"",
            };
            format!(",\"{field}\":{}", if place == at { &strange } else { usual })
        };
        let fields: Vec<String> = fields.iter().enumerate().map(spell).collect();
        check_agreement(format!("{{\"request_type\":\"{request}\"{}{tail}", fields.concat()).as_bytes());
    }
}
