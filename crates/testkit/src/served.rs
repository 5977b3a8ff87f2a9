//! A server to which a test speaks as a balancer does.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::farm::{start_server, stored};
use crate::role::Role;
use crate::wire::{PREFACE, Wire, frame};

/// The identity of the journal of these balancers, unless a test says otherwise.
pub const JOURNAL: &str = "0123456789abcdef0123456789abcdef";

/// A server in a directory of its own, without a balancer: the test speaks as one.
pub struct Served {
    /// The server.
    pub role: Role,
    /// Its working directory.
    pub dir: TempDir,
}

impl Served {
    /// Starts the server.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts the server with more flags.
    pub fn with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            role: start_server(dir.path(), 1, flags),
            dir,
        }
    }

    /// The directory where it stores files.
    pub fn files_dir(&self) -> PathBuf {
        self.dir.path().join("json_files_1")
    }

    /// The stored files with their content.
    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        stored(&self.files_dir())
    }

    /// The names of the stored files, sorted.
    pub fn names(&self) -> Vec<String> {
        self.stored().into_keys().collect()
    }

    /// The server's log.
    pub fn log(&self) -> String {
        let port = self.role.address.rsplit_once(':').unwrap().1;
        fs::read_to_string(self.dir.path().join(format!("logs/server-{port}.log"))).unwrap()
    }

    /// Kills the server, as a crash would, and starts it again.
    pub fn crash(&mut self) {
        self.role.kill();
        self.role.restart();
    }

    /// Connects as a balancer with this journal, and reads nothing after the greeting.
    pub fn link(&self, identity: &str) -> Balancer {
        let mut balancer = Balancer::greet(&self.role.address, Some(identity));
        let (hello, _) = balancer.0.greeting();
        assert!(hello.contains(r#""role":"server""#), "{hello}");
        balancer
    }

    /// Connects as this process of a balancer with [`JOURNAL`], which shares the journal if it names
    /// an epoch.
    pub fn process(&self, instance: &str, epoch: Option<u64>) -> Balancer {
        let mut hello = json!({
            "request_type": "hello",
            "role": "balancer",
            "identity": JOURNAL,
            "instance": instance.repeat(32),
        });
        if let Some(epoch) = epoch {
            hello["epoch"] = json!(epoch);
        }
        let mut balancer = Balancer::say_hello(&self.role.address, &hello);
        balancer.0.greeting();
        balancer
    }

    /// Connects as the lane of this process of a balancer with [`JOURNAL`], which the server enters.
    pub fn lane(&self, instance: &str) -> Balancer {
        let hello = json!({
            "request_type": "hello",
            "role": "balancer",
            "identity": JOURNAL,
            "instance": instance.repeat(32),
            "bulk": true,
        });
        let mut lane = Balancer::say_hello(&self.role.address, &hello);
        lane.0.greeting();
        assert_eq!(lane.holding(), [[0; 3]; 0], "the link has the list");
        lane
    }

    /// The server's hello.
    pub fn hello(&self) -> Value {
        let (hello, _) = Balancer::greet(&self.role.address, None).0.greeting();
        serde_json::from_str(&hello).unwrap()
    }

    /// Connects as a balancer with this journal, and reads the list of the files that it holds.
    pub fn reconnect(&self, identity: &str) -> (Balancer, Vec<[u64; 3]>) {
        let mut balancer = self.link(identity);
        let held = balancer.holding();
        (balancer, held)
    }

    /// The identity of its directory.
    pub fn identity(&self) -> String {
        self.hello()["identity"].as_str().unwrap().to_owned()
    }
}

/// A balancer's end of a link, on which the test reads and writes each byte.
pub struct Balancer(pub Wire);

impl Balancer {
    /// Connects and sends a `hello`, with this journal's identity.
    pub fn greet(address: &str, identity: Option<&str>) -> Self {
        let mut hello = json!({"request_type": "hello", "role": "balancer"});
        if let Some(identity) = identity {
            hello["identity"] = json!(identity);
        }
        Self::say_hello(address, &hello)
    }

    /// Connects and sends this `hello`.
    fn say_hello(address: &str, hello: &Value) -> Self {
        let mut wire = Wire::connect(address);
        wire.write(&[&PREFACE[..], &frame(&hello.to_string(), b"")].concat());
        Self(wire)
    }

    /// Reads the next message and its content.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is no iterator: it waits and may fail"
    )]
    pub fn next(&mut self) -> (Value, Vec<u8>) {
        let (header, content) = self.0.frame().expect("the server has closed");
        (serde_json::from_str(&header).unwrap(), content)
    }

    /// Reads all parts of the list of files that the server holds, which comes next.
    pub fn holding(&mut self) -> Vec<[u64; 3]> {
        let mut held = Vec::new();
        loop {
            let (header, content) = self.next();
            assert_eq!(header["request_type"], "holding", "{header}");
            if !content.is_empty() {
                let part: Vec<[u64; 3]> = serde_json::from_slice(&content).unwrap();
                assert!(!part.is_empty() && part.len() <= 16 * 1024);
                held.extend(part);
            }
            if header["last"] == true {
                return held;
            }
        }
    }

    /// Sends a file.
    pub fn store(&mut self, number: u64, content: &[u8]) {
        self.0.write(&store(number, content));
    }

    /// Sends content ahead of its file's acceptance.
    pub fn ahead(&mut self, content: &[u8]) {
        self.0.write(&frame(r#"{"request_type":"ahead"}"#, content));
    }

    /// Says that the content which came ahead is that of this file.
    pub fn keep(&mut self, number: u64) {
        let keep = json!({"request_type": "keep", "request_number": number, "title": "x.json"});
        self.0.write(&frame(&keep.to_string(), b""));
    }

    /// Confirms files, and waits until the server has read that: it answers a `drop` that comes
    /// after it. Without that, a newer link could end this one before the server reads it.
    #[track_caller]
    pub fn confirm(&mut self, numbers: &[u64]) {
        let content = serde_json::to_vec(numbers).unwrap();
        self.0
            .write(&frame(r#"{"request_type":"confirmed"}"#, &content));
        self.drop_file(u64::MAX);
        self.expect("dropped", u64::MAX);
    }

    /// Asks the server to remove a file.
    pub fn drop_file(&mut self, number: u64) {
        self.0.write(&frame(
            &json!({"request_type": "drop", "request_number": number}).to_string(),
            b"",
        ));
    }

    /// Reads the next message, which must have this type and this number.
    #[track_caller]
    pub fn expect(&mut self, request_type: &str, number: u64) -> Value {
        let (header, _) = self.next();
        assert_eq!(
            (&header["request_type"], &header["request_number"]),
            (&json!(request_type), &json!(number))
        );
        header
    }

    /// Stores a file and waits for the acknowledgement.
    #[track_caller]
    pub fn put(&mut self, number: u64, content: &[u8]) {
        self.store(number, content);
        self.expect("stored", number);
    }

    /// Reads until the `bye` with which the server ends the connection.
    pub fn bye(&mut self) -> Value {
        loop {
            let (header, _) = self.next();
            if header["request_type"] == "bye" {
                return header;
            }
        }
    }
}

/// The frame that hands a file to a server.
pub fn store(number: u64, content: &[u8]) -> Vec<u8> {
    frame(
        &json!({"request_type": "store", "request_number": number, "title": "x.json"}).to_string(),
        content,
    )
}
