//! Peers and frames that several of these tests use.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use bilico_testkit::{Farm, PREFACE, Wire, frame, old_style_put, put, uninterrupted};
use serde_json::{Value, json};

/// Writes bytes that the other end may not read to the end.
pub(super) fn offer(wire: &mut Wire, bytes: &[u8]) {
    let _ = wire.0.write_all(bytes);
}

/// This end of the connection, as the other end's log names it.
pub(super) fn peer_of(wire: &Wire) -> String {
    format!("peer={}", wire.0.local_addr().unwrap())
}

/// Reads all frames to the end of the connection.
pub(super) fn frames_to_the_end(wire: &mut Wire) -> Vec<Value> {
    std::iter::from_fn(|| wire.frame())
        .map(|(header, _)| serde_json::from_str(&header).unwrap())
        .collect()
}

pub(super) fn is_of(frame: &Value, request_type: &str) -> bool {
    frame["request_type"] == request_type
}

/// A frame with this header that says it has `declared` bytes of content, followed by these bytes.
pub(super) fn frame_declaring(header: &str, declared: u64, bytes: &[u8]) -> Vec<u8> {
    let mut wire = frame(header, b"");
    wire[4..12].copy_from_slice(&declared.to_be_bytes());
    wire.extend_from_slice(bytes);
    wire
}

/// The head of a frame with a header of `length` bytes and no content.
pub(super) fn head(length: u32) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[0; 8]].concat()
}

/// The header with which a balancer hands a file to a server.
pub(super) fn store(number: u64, title: &str) -> String {
    json!({"request_type": "store", "request_number": number, "title": title}).to_string()
}

/// Connects to a file server and greets as a balancer.
pub(super) fn link(address: &str) -> Wire {
    let mut wire = Wire::connect(address);
    wire.write(&PREFACE);
    wire.write(&frame(r#"{"request_type":"hello","role":"balancer"}"#, b""));
    let (hello, _) = wire.greeting();
    assert!(hello.contains(r#""role":"server""#), "{hello}");
    wire
}

/// Two honest connections, one old-style and one native, which must go on all the time.
pub(super) struct Honest {
    pub(super) json: Wire,
    pub(super) native: Wire,
    pub(super) sent: u64,
}

impl Honest {
    pub(super) fn connect(farm: &Farm) -> Self {
        let address = &farm.balancer.address;
        Self {
            json: Wire::connect(address),
            native: Wire::native(address),
            sent: 0,
        }
    }

    /// Sends a file over each of them, and waits for the delivery of the native one.
    pub(super) fn go_on(&mut self) {
        self.json
            .write(old_style_put(&format!("honest-json-{}", self.sent), "honest").as_bytes());
        self.native.write(&frame(
            &put(self.sent, &format!("honest-native-{}", self.sent)),
            b"honest",
        ));
        self.native.frame_of("delivered");
        self.sent += 1;
    }

    /// The number of files that it has sent.
    pub(super) fn files(&self) -> u64 {
        self.sent * 2
    }
}

pub(super) const CLIENT_HELLO: &[u8] =
    b"\0\0\0\x28\0\0\0\0\0\0\0\0{\"request_type\":\"hello\",\"role\":\"client\"}";

/// Writes until the other end has read nothing for half a second. Returns how much of `bytes` was
/// written.
pub(super) fn write_until_stuck(wire: &mut Wire, bytes: &[u8]) -> usize {
    wire.0
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut written = 0;
    while written < bytes.len() {
        match uninterrupted(|| wire.0.write(&bytes[written..])) {
            Ok(more) => written += more,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("{error} after {written} bytes"),
        }
    }
    wire.0.set_write_timeout(None).unwrap();
    written
}

/// The stored files by title. Honest clients send files of the same title and content again.
pub(super) fn titles(stored: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    stored
        .into_iter()
        .map(|(name, content)| (name.split_once('_').unwrap().1.to_owned(), content))
        .collect()
}
