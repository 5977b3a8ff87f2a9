//! Connections that a test speaks byte by byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::wait::{DEADLINE, uninterrupted};

/// A connection on which the test reads and writes each byte.
pub struct Wire(pub TcpStream);

impl Wire {
    /// Connects. Reads fail after [`DEADLINE`].
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    /// Connects and greets as a native client.
    pub fn native(address: &str) -> Self {
        let mut wire = Self::connect(address);
        wire.write(&PREFACE);
        wire.write(&frame(r#"{"request_type":"hello","role":"client"}"#, b""));
        let (hello, _) = wire.greeting();
        assert!(hello.contains(r#""role":"balancer""#), "{hello}");
        wire
    }

    /// Writes all of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads the preface and the first frame.
    pub fn greeting(&mut self) -> (String, Vec<u8>) {
        let mut preface = [0; 8];
        self.0.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        self.frame().unwrap()
    }

    /// Reads a frame: its header and its content. `None` if the connection ends between frames.
    /// The test fails if it ends within one.
    #[track_caller]
    pub fn frame(&mut self) -> Option<(String, Vec<u8>)> {
        self.read_frame()
            .unwrap_or_else(|error| panic!("no whole frame came: {error}"))
    }

    /// Reads a message and its content. `None` however the connection ends: for pretended peers,
    /// whose other end may be killed at any time.
    pub fn message(&mut self) -> Option<(Value, Vec<u8>)> {
        let (header, content) = self.read_frame().ok()??;
        Some((serde_json::from_str(&header).unwrap(), content))
    }

    /// Reads a frame. `None` if the connection ends, or is reset, before its first byte.
    pub fn read_frame(&mut self) -> io::Result<Option<(String, Vec<u8>)>> {
        let mut head = [0; 12];
        match uninterrupted(|| self.0.read(&mut head[..1])) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            first => first?,
        };
        self.0.read_exact(&mut head[1..])?;
        let header_len = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let content_len = u64::from_be_bytes(head[4..].try_into().unwrap());
        let mut header = vec![0; header_len];
        self.0.read_exact(&mut header)?;
        let mut content = vec![0; usize::try_from(content_len).unwrap()];
        self.0.read_exact(&mut content)?;
        if !content.is_empty() {
            let mut crc = [0; 4];
            self.0.read_exact(&mut crc)?;
            assert_eq!(u32::from_be_bytes(crc), crc32c::crc32c(&content));
        }
        Ok(Some((String::from_utf8(header).unwrap(), content)))
    }

    /// Reads frames until one of this request type comes.
    pub fn frame_of(&mut self, request_type: &str) -> String {
        let mark = format!(r#""request_type":"{request_type}""#);
        loop {
            let (header, _) = self
                .frame()
                .unwrap_or_else(|| panic!("closed before a `{request_type}`"));
            if header.contains(&mark) {
                return header;
            }
        }
    }

    /// Reads to the end of the connection. A reset is an end, too.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
        rest
    }

    /// Sends a message without content. `false` if the other end has closed.
    pub fn say(&mut self, header: &Value) -> bool {
        self.0.write_all(&message(header)).is_ok()
    }

    /// Reads and drops everything until the other end closes.
    pub fn swallow(mut self) {
        let _ = io::copy(&mut self.0, &mut io::sink());
    }
}

/// The bytes that open a native connection, written out as in `docs/protocol.md`.
pub const PREFACE: [u8; 8] = [0xB1, b'I', b'L', b'I', b'C', b'O', 0, 1];

/// A native frame with this header and content.
pub fn frame(header: &str, content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    wire.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
    wire.extend_from_slice(&(content.len() as u64).to_be_bytes());
    wire.extend_from_slice(header.as_bytes());
    wire.extend_from_slice(content);
    if !content.is_empty() {
        wire.extend_from_slice(&crc32c::crc32c(content).to_be_bytes());
    }
    wire
}

/// The frame of a message without content.
pub fn message(header: &Value) -> Vec<u8> {
    frame(&header.to_string(), b"")
}

/// The header of a `put` with this title.
pub fn put(id: u64, title: &str) -> String {
    json!({"request_type": "put", "id": id, "title": title}).to_string()
}
