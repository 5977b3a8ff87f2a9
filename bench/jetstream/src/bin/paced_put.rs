//! PUTs files over HTTP at a steady rate, whatever the answers do: the open loop that wrk does not
//! have.
//!
//! ```text
//! paced_put --address IP:PORT --files N --size BYTES --rate N --connections N --latencies FILE --lags FILE
//!           [--until FILE]
//! ```
//!
//! With `--until` it ends early, once that file is there.
//!
//! File i is due i / rate seconds after the start, and its latency counts from then, also when no
//! connection was free. How late a request was written, the generator's own error included, is its
//! lag; both are written in microseconds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bilico_peers::{Failure, argument, number, write_latencies};

/// What is to be sent, and when.
struct Plan {
    address: String,
    files: usize,
    size: usize,
    rate: usize,
    start: Instant,
    next: AtomicUsize,
    until: Option<PathBuf>,
}

impl Plan {
    fn read() -> Result<Self, Failure> {
        let (files, size, rate) = (number("files")?, number("size")?, number("rate")?.max(1));
        let start = Instant::now() + Duration::from_millis(200);
        let (address, until) = (argument("address")?, argument("until").ok().map(PathBuf::from));
        Ok(Self { address, files, size, rate, start, next: AtomicUsize::new(0), until })
    }

    /// The next file, and when it is due.
    fn take(&self) -> Option<(usize, Instant)> {
        let file = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.start + Duration::from_secs_f64(file as f64 / self.rate as f64);
        let over = file >= self.files || self.until.as_ref().is_some_and(|path| path.exists());
        (!over).then_some((file, due))
    }

    fn request(&self, file: usize) -> Vec<u8> {
        let head = format!("PUT /{file} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.address, self.size);
        let mut request = head.into_bytes();
        request.resize(request.len() + self.size, b'x');
        request
    }
}

/// What one connection saw, in microseconds a file.
#[derive(Default)]
struct Seen {
    latencies: Vec<u32>,
    lags: Vec<u32>,
}

fn main() -> Result<(), Failure> {
    let plan = Plan::read()?;
    let all = run(&plan, number("connections")?)?;
    write_latencies(&argument("latencies")?, &all.latencies)?;
    write_latencies(&argument("lags")?, &all.lags)?;
    println!(r#"{{"files": {}, "seconds": {}}}"#, all.latencies.len(), plan.start.elapsed().as_secs_f64());
    Ok(())
}

fn run(plan: &Plan, connections: usize) -> Result<Seen, Failure> {
    let mut all = Seen::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(|| send(plan))).collect();
        for thread in threads {
            let seen = thread.join().map_err(|_| "a connection's thread failed")??;
            all.latencies.extend(seen.latencies);
            all.lags.extend(seen.lags);
        }
        Ok::<(), Failure>(())
    })?;
    Ok(all)
}

/// One connection: takes the file that is due next, until none is left.
fn send(plan: &Plan) -> Result<Seen, Failure> {
    let mut stream = TcpStream::connect(&plan.address)?;
    stream.set_nodelay(true)?;
    let mut seen = Seen::default();
    while let Some((file, due)) = plan.take() {
        let request = plan.request(file);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        seen.lags.push(micros(due));
        stream.write_all(&request)?;
        read_answer(&mut stream)?;
        seen.latencies.push(micros(due));
    }
    Ok(seen)
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// Reads the answer to a PUT, which has no body; anything but a success is an error.
fn read_answer(stream: &mut TcpStream) -> Result<(), Failure> {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Err("the connection ended before its answer".into()),
            read => answer.extend(part.iter().take(read)),
        }
    }
    if answer.starts_with(b"HTTP/1.1 2") { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into()) }
}
