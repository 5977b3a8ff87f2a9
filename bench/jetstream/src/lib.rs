//! What both programs share: how arguments are read, what the clock is, and how latencies are
//! handed over.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// What either program fails with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The value that follows `--name` on the command line.
pub fn argument(name: &str) -> Result<String, Failure> {
    let flag = format!("--{name}");
    let mut words = std::env::args().skip_while(|word| *word != flag).skip(1);
    words.next().ok_or_else(|| format!("{flag} is missing").into())
}

/// The number that follows `--name` on the command line.
pub fn number(name: &str) -> Result<usize, Failure> {
    argument(name)?.parse().map_err(|_| format!("--{name} takes a number").into())
}

/// Nanoseconds of the clock that all processes of the machine share.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds from `since` until now; 0 if the clock went back.
pub fn micros_since(since: u64) -> u32 {
    u32::try_from(now_ns().saturating_sub(since) / 1_000).unwrap_or(u32::MAX)
}

/// Writes latencies to `path` as they are: microseconds, 32 bits each, in the machine's byte order.
pub fn write_latencies(path: &str, latencies: &[u32]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for latency in latencies {
        file.write_all(&latency.to_ne_bytes())?;
    }
    file.flush()
}
