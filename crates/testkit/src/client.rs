//! A native client, spoken byte by byte.

use serde_json::{Value, json};

use crate::wire::{Wire, frame};

/// A native client, spoken byte by byte.
pub struct Client {
    /// Its connection.
    pub wire: Wire,
    /// Messages that came while the test waited for others.
    seen: Vec<Value>,
}

impl Client {
    /// Connects and greets.
    pub fn connect(address: &str) -> Self {
        Self::over(Wire::native(address))
    }

    /// A client that has greeted over this connection.
    pub fn over(wire: Wire) -> Self {
        let seen = Vec::new();
        Self { wire, seen }
    }

    /// Puts a file with its key as its title, or with the title `x` if it has no key.
    pub fn put(&mut self, id: u64, key: Option<&str>, content: &[u8]) {
        self.wire
            .write(&frame(&put_header(id, key).to_string(), content));
    }

    /// Puts a file and returns its request number once it is accepted.
    #[track_caller]
    pub fn put_accepted(&mut self, id: u64, key: Option<&str>, content: &[u8]) -> u64 {
        self.put(id, key, content);
        number(&self.expect("accepted", id))
    }

    /// Puts the rest of a file of which the balancer has the first `offset` bytes.
    pub fn resume(&mut self, id: u64, key: &str, content: &[u8], offset: usize) {
        self.resume_after(
            id,
            key,
            (offset, crc32c::crc32c(&content[..offset])),
            &content[offset..],
        );
    }

    /// Puts `rest` after a beginning with this length and checksum.
    pub fn resume_after(
        &mut self,
        id: u64,
        key: &str,
        (offset, crc32c): (usize, u32),
        rest: &[u8],
    ) {
        let mut header = put_header(id, Some(key));
        header["offset"] = json!(offset);
        header["crc32c"] = json!(crc32c);
        self.wire.write(&frame(&header.to_string(), rest));
    }

    /// Offers a file with the size and the checksum of this content.
    pub fn offer(&mut self, id: u64, key: &str, content: &[u8]) {
        let mut header = offer_header(id, key, content.len());
        header["crc32c"] = json!(crc32c::crc32c(content));
        self.wire.write(&frame(&header.to_string(), b""));
    }

    /// Offers a file of `size` bytes without a checksum.
    pub fn offer_size(&mut self, id: u64, key: &str, size: usize) {
        self.wire
            .write(&frame(&offer_header(id, key, size).to_string(), b""));
    }

    /// Offers a file that the balancer wants, and returns how many bytes of it the balancer has.
    #[track_caller]
    pub fn offer_wanted(&mut self, id: u64, key: &str, size: usize) -> usize {
        self.offer_size(id, key, size);
        usize::try_from(self.expect("wanted", id)["offset"].as_u64().unwrap()).unwrap()
    }

    /// Reads the next message.
    #[track_caller]
    #[expect(
        clippy::should_implement_trait,
        reason = "it is no iterator: it waits and may fail"
    )]
    pub fn next(&mut self) -> Value {
        let (header, _) = self.wire.frame().expect("the balancer has closed");
        serde_json::from_str(&header).unwrap()
    }

    /// Waits for this message about this file, and keeps other messages for later.
    #[track_caller]
    pub fn expect(&mut self, request_type: &str, id: u64) -> Value {
        let is_it =
            |message: &Value| message["request_type"] == request_type && message["id"] == id;
        loop {
            if let Some(place) = self.seen.iter().position(is_it) {
                return self.seen.remove(place);
            }
            let message = self.next();
            let is_last = ["bye", "refused"]
                .iter()
                .any(|last| message["request_type"] == *last);
            assert!(
                is_it(&message) || !is_last,
                "no `{request_type}` for {id}, but {message}"
            );
            self.seen.push(message);
        }
    }

    /// Reads until the `bye` with which the balancer ends the connection.
    #[track_caller]
    pub fn bye(&mut self) -> Value {
        loop {
            let message = self.next();
            if message["request_type"] == "bye" {
                return message;
            }
        }
    }
}

fn offer_header(id: u64, key: &str, size: usize) -> Value {
    json!({"request_type": "offer", "id": id, "key": key, "size": size})
}

/// The header of a `put`.
pub fn put_header(id: u64, key: Option<&str>) -> Value {
    let mut header = json!({"request_type": "put", "id": id, "title": key.unwrap_or("x")});
    if let Some(key) = key {
        header["key"] = json!(key);
    }
    header
}

/// The request number in a receipt.
#[track_caller]
pub fn number(receipt: &Value) -> u64 {
    receipt["request_number"].as_u64().unwrap()
}
