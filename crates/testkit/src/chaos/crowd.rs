//! Clients that use up the balancer's file descriptors: some say nothing, some greet and idle, some
//! close after their receipts.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bilico::client::receipts::{Receipt, State};
use serde_json::{Value, json};

use super::load::content_of;
use super::stage::{BALANCER_FILES, Stage};
use crate::{PREFACE, Wire, frame};

/// The number of clients that send a file and close.
const VANISHING: usize = 100;

/// The size of their files, in bytes.
const SIZE: usize = 64;

/// How long operators may wait for an answer meanwhile: enough on a busy machine.
const ANSWER: Duration = Duration::from_secs(10);

/// The clients that have come.
pub(super) struct Crowd {
    /// The connections of those that stay.
    pub(super) connections: Vec<TcpStream>,
    /// The receipts of those that have closed.
    pub(super) receipts: PathBuf,
}

fn hello() -> Vec<u8> {
    [
        &PREFACE[..],
        &frame(r#"{"request_type":"hello","role":"client"}"#, b""),
    ]
    .concat()
}

/// Sends a file and waits up to half a second for its request number.
fn put(address: &str, seed: u64, title: &str) -> std::io::Result<Option<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let put = json!({"request_type": "put", "id": 1, "title": title, "key": title}).to_string();
    let content = content_of(seed, title).unwrap();
    stream.write_all(&[hello(), frame(&put, &content)].concat())?;
    stream.read_exact(&mut [0; PREFACE.len()])?;
    let mut wire = Wire(stream);
    while let Some((header, _)) = wire.read_frame()? {
        let header: Value = serde_json::from_str(&header)?;
        if header["request_type"] == "accepted" {
            return Ok(header["request_number"].as_u64());
        }
    }
    Err(ErrorKind::UnexpectedEof.into())
}

/// Opens more connections than the balancer has descriptors. `None` if the balancer is down.
pub(super) fn gather(stage: &Stage, seed: u64, crowd: usize) -> Option<Crowd> {
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
            crc32c: None,
            title,
            state: known,
            sent: None,
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

/// Reports what stands still beside a crowd while nothing else is wrong. Operators and clients must
/// get their answers, servers must stay in service, and files must be delivered.
pub(super) fn look(stage: &Stage) -> Vec<String> {
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
