//! Clients that use up what the balancer may open: some say nothing, some greet and idle, some
//! vanish after their receipts.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bilico::client::receipts::{Receipt, State};
use serde_json::{Value, json};

use super::load::content_of;
use super::stage::{BALANCER_FILES, Stage};
use crate::harness::{PREFACE, frame};

/// How many send a file and vanish.
const VANISHING: usize = 100;

/// How large their files are.
const SIZE: usize = 64;

/// How long operators may wait for an answer meanwhile, on a busy machine.
const ANSWER: Duration = Duration::from_secs(10);

/// What came of a crowd.
pub struct Crowd {
    /// Those who stay.
    pub connections: Vec<TcpStream>,
    /// The receipts of those who have vanished.
    pub receipts: PathBuf,
}

fn hello() -> Vec<u8> {
    [
        &PREFACE[..],
        &frame(r#"{"request_type":"hello","role":"client"}"#, b""),
    ]
    .concat()
}

/// Sends a file and waits for a moment for its request number.
fn put(address: &str, seed: u64, title: &str) -> std::io::Result<Option<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let put = json!({"request_type": "put", "id": 1, "title": title, "key": title}).to_string();
    let content = content_of(seed, title).unwrap();
    stream.write_all(&[hello(), frame(&put, &content)].concat())?;
    stream.read_exact(&mut [0; PREFACE.len()])?;
    loop {
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        let mut header = vec![0; u32::from_be_bytes(head[..4].try_into().unwrap()) as usize];
        stream.read_exact(&mut header)?;
        let header: Value = serde_json::from_slice(&header)?;
        if header["request_type"] == "accepted" {
            return Ok(header["request_number"].as_u64());
        }
    }
}

/// More connections than the balancer may open. Nothing if it cannot be reached.
pub fn gather(stage: &Stage, seed: u64, crowd: usize) -> Option<Crowd> {
    let address = &stage.balancer.role.as_ref()?.address;
    let receipts = stage.dir.path().join(format!("crowd-{crowd}.receipts"));
    let mut lines = File::create(&receipts).unwrap();
    for client in 0..VANISHING {
        let title = format!("crowd-{crowd}-{client}-{SIZE}");
        let number = put(address, seed, &title);
        let known = if matches!(number, Ok(Some(_))) {
            State::Accepted
        } else {
            State::Unknown
        };
        let receipt = Receipt {
            path: title.clone(),
            key: title.clone(),
            size: Some(SIZE as u64),
            hash: Some(blake3::hash(&content_of(seed, &title).unwrap())),
            title,
            state: known,
            number: number.as_ref().ok().copied().flatten(),
            server: None,
            confirmed: None,
            reason: None,
            change: None,
        };
        writeln!(lines, "{}", serde_json::to_string(&receipt).unwrap()).unwrap();
        if number.is_err() {
            break;
        }
    }
    let connect = |client: usize| {
        let address = address.parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
        if client.is_multiple_of(2) {
            stream.write_all(&hello()).ok()?;
        }
        Some(stream)
    };
    let connections = (0..usize::try_from(BALANCER_FILES).unwrap())
        .map_while(connect)
        .collect();
    Some(Crowd {
        connections,
        receipts,
    })
}

/// What does not go on beside a crowd while nothing else is wrong: operators and clients get their
/// answers, servers stay in service, and files are delivered.
pub fn look(stage: &Stage) -> Vec<String> {
    let Some(role) = &stage.balancer.role else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let asked = Instant::now();
    if let Err(error) = ready(role.admin.as_deref().unwrap()) {
        findings.push(format!(
            "/ready does not answer beside a crowd: {error}, after {:?}",
            asked.elapsed()
        ));
    }
    let Some(before) = stage.status(ANSWER) else {
        return [
            findings,
            vec![format!(
                "no client gets an answer in {ANSWER:?} beside a crowd"
            )],
        ]
        .concat();
    };
    loop {
        let status = stage.status(ANSWER);
        let goes_on = status.as_ref().is_some_and(|status| {
            let are_up = status.servers.iter().all(|server| server.eligible);
            are_up && (status.delivered > before.delivered || status.queue.files() == 0)
        });
        if goes_on {
            return findings;
        }
        if asked.elapsed() > 2 * ANSWER {
            findings.push(format!(
                "nothing is delivered beside a crowd: {before:?}, then {status:?}"
            ));
            return findings;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ready(admin: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&admin.parse().unwrap(), ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    stream.read_exact(&mut [0; 12])
}
