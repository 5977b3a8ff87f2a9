//! Peers that speak the native protocol as a test tells them to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::wait::uninterrupted;
use crate::wire::{PREFACE, Wire, message};

/// Starts a peer that answers probes with this `hello`. It hands each native connection to
/// `on_connection`, once both ends have sent their `hello`. It ends with the test's process.
pub fn pretend(hello: &Value, on_connection: impl Fn(Wire) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let greeting = [&PREFACE[..], &message(hello)].concat();
    let shared = Arc::new((greeting, on_connection));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let wire = Wire(stream.unwrap());
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || answer(wire, &shared.0, &shared.1));
        }
    });
    address
}

/// Starts a native server that does on its links what `on_link` says.
pub fn pretend_server(
    identity: Option<&str>,
    on_link: impl Fn(Wire) + Send + Sync + 'static,
) -> String {
    pretend_instance(identity, None, on_link)
}

/// Like [`pretend_server`], for one of several processes that use the same directory.
pub fn pretend_instance(
    identity: Option<&str>,
    instance: Option<&str>,
    on_link: impl Fn(Wire) + Send + Sync + 'static,
) -> String {
    let mut hello = server_hello();
    for (field, value) in [("identity", identity), ("instance", instance)] {
        if let Some(value) = value {
            hello[field] = json!(value);
        }
    }
    pretend(&hello, on_link)
}

/// The `hello` of a server without an identity.
pub fn server_hello() -> Value {
    json!({"request_type": "hello", "role": "server", "overloaded": false})
}

fn answer(mut wire: Wire, greeting: &[u8], on_connection: &impl Fn(Wire)) {
    let mut first = [0; 8];
    if wire.0.read_exact(&mut first).is_err() {
        return;
    }
    if first == PREFACE {
        let _ = wire.0.write_all(greeting);
        if wire.message().is_some() {
            on_connection(wire);
        }
        return;
    }
    // A probe. An old-style one, which does not name Bilico, gets the byte of an old-style server.
    let mut request = [0; 256];
    let read = uninterrupted(|| wire.0.read(&mut request)).unwrap_or(0);
    let asks = String::from_utf8_lossy(&request[..read]).contains("bilico");
    let _ = wire.0.write_all(if asks { greeting } else { &[0] });
}
