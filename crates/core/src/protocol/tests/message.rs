//! Single messages, and headers that are none.

use super::oracle::{to_oracle, written};
use super::samples::samples;
use crate::protocol::decode::decode_canonical;
use crate::protocol::limits::{MAX_ADDRESS, MAX_KEY, MAX_MEMBER_NAME, MAX_TITLE};
use crate::protocol::{Message, ProtocolError};

#[test]
fn every_message_survives_the_wire() {
    for message in samples() {
        let mut wire = Vec::new();
        message.encode(&mut wire);
        assert_eq!(
            Message::decode(&wire).unwrap(),
            message,
            "{}",
            String::from_utf8_lossy(&wire)
        );
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_requests_named() {
    let wire = br#"{"request_type":"stored","request_number":7,"since":[1,{"x":null}]}"#;
    assert_eq!(
        Message::decode(wire).unwrap(),
        Message::Stored { number: 7 }
    );
    let error = Message::decode(br#"{"request_type":"dance"}"#).unwrap_err();
    assert!(matches!(error, ProtocolError::UnknownRequest(name) if name == "dance"));
}

#[test]
fn headers_at_their_extremes_are_errors() {
    let long = format!(
        r#"{{"request_type":"put","id":1,"title":"{}"}}"#,
        "x".repeat(MAX_TITLE + 1)
    );
    let long_key = format!(
        r#"{{"request_type":"offer","id":1,"size":1,"key":"{}"}}"#,
        "x".repeat(MAX_KEY + 1)
    );
    let long_address = format!(
        r#"{{"request_type":"register","address":"{}"}}"#,
        "x".repeat(MAX_ADDRESS + 1)
    );
    let long_name = format!(
        r#"{{"request_type":"register","name":"{}"}}"#,
        "x".repeat(MAX_MEMBER_NAME + 1)
    );
    for wire in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        r#"{"request_type":5}"#,
        r#"{"request_type":"put","id":1}"#,
        r#"{"request_type":"put","id":-1,"title":"x"}"#,
        r#"{"request_type":"put","id":18446744073709551616,"title":"x"}"#,
        r#"{"request_type":"put","id":1.5,"title":"x"}"#,
        r#"{"request_type":"put","id":1,"id":2,"title":"x"}"#,
        r#"{"request_type":"put","id":1,"title":"\ud800"}"#,
        r#"{"request_type":"put","id":1,"title":"x","key":""}"#,
        r#"{"request_type":"put","id":1,"title":"x","offset":5}"#,
        r#"{"request_type":"put","id":1,"title":"x","offset":5,"crc32c":4294967296}"#,
        r#"{"request_type":"offer","id":1,"size":5}"#,
        r#"{"request_type":"offer","id":1,"key":"k"}"#,
        r#"{"request_type":"offer","id":1,"key":"k","size":1,"crc32c":4294967296}"#,
        r#"{"request_type":"hello","role":"king"}"#,
        r#"{"request_type":"hello","role":"server","identity":"../../x"}"#,
        r#"{"request_type":"hello","role":"server","version_min":0,"version_max":1}"#,
        r#"{"request_type":"hello","role":"server","version_min":2,"version_max":1}"#,
        r#"{"request_type":"hello","role":"server","version_max":1}"#,
        r#"{"request_type":"hello","role":"server","version_min":1}"#,
        r#"{"request_type":"hello","role":"server","version_min":1,"version_max":65536}"#,
        r#"{"request_type":"hello","role":"server","version_min":2,"version_max":3}"#,
        r#"{"request_type":"refused","id":1,"code":"mood"}"#,
        r#"{"request_type":"hello","role":"balancer","challenge":"c3"}"#,
        r#"{"request_type":"register","address":""}"#,
        r#"{"request_type":"register","address":"10.0.0.7\n:5001"}"#,
        r#"{"request_type":"register","name":""}"#,
        r#"{"request_type":"register","name":"\u001b[2J"}"#,
        r#"{"request_type":"register","weight":-1}"#,
        r#"{"request_type":"register","weight":4294967296}"#,
        r#"{"request_type":"register","ticket":""}"#,
        r#"{"request_type":"register","proof":"c3"}"#,
        r#"{"request_type":"registered","ttl_ms":1,"beat_ms":1}"#,
        r#"{"request_type":"registered","name":"a","beat_ms":1}"#,
        r#"{"request_type":"registered","name":"a","ttl_ms":1}"#,
        r#"{"request_type":"seen","reason":"x"}"#,
        &long_address,
        &long_name,
        &long,
        &long_key,
    ] {
        assert!(Message::decode(wire.as_bytes()).is_err(), "{wire}");
    }
}

#[test]
fn every_sample_is_written_as_serde_writes_it() {
    for message in samples() {
        assert_eq!(
            written(&message),
            serde_json::to_vec(&to_oracle(&message)).unwrap()
        );
    }
}

/// Otherwise each file would pay for serde, and no test would notice.
#[test]
fn what_each_file_costs_is_read_by_hand() {
    let (id, number) = (u64::MAX / 2, 10_000_000_000_000_000_000 - 1);
    for message in [
        Message::Put {
            id,
            title: "città.json".into(),
            key: None,
            resumed: None,
        },
        Message::Put {
            id: 0,
            title: String::new(),
            key: Some("k-1".into()),
            resumed: None,
        },
        Message::Accepted { id, number },
        Message::Delivered {
            id,
            number,
            server: "127.0.0.1:5001".into(),
            confirmed: false,
        },
        Message::Store {
            number,
            title: "🚚".into(),
        },
        Message::Stored { number: 0 },
    ] {
        assert_eq!(decode_canonical(&written(&message)), Some(message));
    }
}
