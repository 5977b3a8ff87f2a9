//! A server of the system before Bilico, written from the bytes that it puts on the wire.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::port::Port;
use crate::wait::{DEADLINE, uninterrupted, wait_for, wait_until};

/// An old-style server. It accepts a connection, calls `recv` once for at most 4096 bytes, and reads
/// them as JSON. It saves a file without an answer, and answers anything else with its overload
/// byte. Then it closes.
pub struct OldServer {
    /// The address where it listens.
    pub address: String,
    seen: Arc<Seen>,
    listening: Option<Listening>,
    /// Its own, so that it can listen there again.
    port: Option<Port>,
}

/// The requests that it has seen, and its answer.
#[derive(Default)]
struct Seen {
    files: Mutex<Vec<Value>>,
    unreadable: Mutex<Vec<String>>,
    statuses: AtomicUsize,
    overloaded: AtomicBool,
}

struct Listening {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl OldServer {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let port = Port::take();
        let mut server = Self::at(&port.address());
        server.port = Some(port);
        server
    }

    /// Starts one at an address that another server may still be closing.
    pub fn at(address: &str) -> Self {
        let mut server = Self {
            address: address.to_owned(),
            seen: Arc::default(),
            listening: None,
            port: None,
        };
        server.listen();
        server
    }

    /// Listens again after [`OldServer::kill`].
    pub fn listen(&mut self) {
        let listener = wait_for("the address to be free", || {
            TcpListener::bind(&self.address).ok()
        });
        self.address = listener.local_addr().unwrap().to_string();
        let (seen, stop) = (self.seen.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, seen) = (stream.unwrap(), seen.clone());
                std::thread::spawn(move || seen.serve(stream));
            }
        });
        self.listening = Some(Listening { stop, thread });
    }

    /// Closes its listener, as the end of its process would.
    pub fn kill(&mut self) {
        let Some(Listening { stop, thread }) = self.listening.take() else {
            return;
        };
        stop.store(true, Ordering::SeqCst);
        // Wakes it from its `accept`.
        let _ = TcpStream::connect(&self.address);
        let _ = thread.join();
    }

    /// The objects of the files that it has got.
    pub fn files(&self) -> MutexGuard<'_, Vec<Value>> {
        self.seen.files.lock().unwrap()
    }

    /// The titles of its files, sorted.
    pub fn titles(&self) -> Vec<String> {
        let mut titles: Vec<String> = self
            .files()
            .iter()
            .map(|f| f["titolo"].as_str().unwrap().to_owned())
            .collect();
        titles.sort();
        titles
    }

    /// Changes the overload byte of its answers.
    pub fn set_overloaded(&self, overloaded: bool) {
        self.seen.overloaded.store(overloaded, Ordering::SeqCst);
    }

    /// Waits until it has answered this many more status requests.
    pub fn wait_for_statuses(&self, more: usize) {
        let before = self.seen.statuses.load(Ordering::SeqCst);
        wait_until("status requests", || {
            self.seen.statuses.load(Ordering::SeqCst) >= before + more
        });
    }

    /// Checks that each request came as one readable piece.
    pub fn check(&self) {
        let unreadable = self.seen.unreadable.lock().unwrap();
        assert!(
            unreadable.is_empty(),
            "an old server could not read {unreadable:?}"
        );
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Seen {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut buffer = [0; 4096];
        let Ok(length @ 1..) = uninterrupted(|| stream.read(&mut buffer)) else {
            return;
        };
        match serde_json::from_slice::<Value>(&buffer[..length]) {
            Ok(request) if request["request_type"] == "file_di_testo" => {
                self.files.lock().unwrap().push(request);
            }
            Ok(request) if request["request_type"].is_string() => {
                self.statuses.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&[u8::from(self.overloaded.load(Ordering::SeqCst))]);
            }
            _ => self
                .unreadable
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        }
    }
}
