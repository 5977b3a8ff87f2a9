//! Waiting for conditions, with a deadline.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// The longest wait for any condition: far longer than it takes, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until `condition` returns something, or fails the test with `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "waited {DEADLINE:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `condition` holds, or fails the test.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until a log has a line that contains all of these parts, and returns the first one.
#[track_caller]
pub fn wait_for_line(log: impl Fn() -> String, parts: &[&str]) -> String {
    wait_for(&format!("a line in the log with {parts:?}"), || {
        log()
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
    })
}

/// Repeats a call that is interrupted. The kernel doesn't restart a call on a socket that has a
/// timeout (signal(7)), and stopping and continuing the process is enough to interrupt it.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
