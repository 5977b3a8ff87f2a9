//! Files to send, and their receipts as JSON.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{Ended, Farm, bilico, run};
use serde_json::Value;

/// How `bilico send` with these arguments, run in the farm's directory, ends.
pub(super) fn send(farm: &Farm, args: &[&str]) -> Ended {
    run(&mut command(farm, args), "")
}

/// `bilico send` to the farm's balancer with these arguments, in the farm's directory.
pub(super) fn command(farm: &Farm, args: &[&str]) -> Command {
    let mut command = bilico(&["send", "--balancer", &farm.balancer.address]);
    command.args(args).current_dir(farm.dir.path());
    command
}

/// Writes a file below the farm's directory.
pub(super) fn write(farm: &Farm, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = farm.dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Makes a pipe with a name that nobody writes to.
pub(super) fn make_pipe(farm: &Farm, name: &str) {
    let made = Command::new("mkfifo")
        .arg(farm.dir.path().join(name))
        .status()
        .unwrap();
    assert!(made.success());
}

/// The objects that were printed, one a line.
pub(super) fn objects(stdout: &str) -> Vec<Value> {
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "{stdout:?}");
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// The same without the keys, which are different in each run.
pub(super) fn without_keys(stdout: &str) -> Vec<Value> {
    let mut objects = objects(stdout);
    for object in &mut objects {
        let key = object.as_object_mut().unwrap().remove("key").unwrap();
        assert!(key.as_str().is_some_and(|key| key.len() > 32), "{key}");
    }
    objects
}

pub(super) fn hash(content: &str) -> String {
    blake3::hash(content.as_bytes()).to_string()
}

/// Bytes that repeat nowhere, the same in every run.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}
