//! Files to send, and their receipts as JSON.

use std::process::Command;

use bilico_testkit::{Ended, Farm, bilico, run};
use serde_json::Value;

/// Runs `bilico send` with these arguments in the farm's directory.
pub(super) fn send(farm: &Farm, args: &[&str]) -> Ended {
    run(&mut command(farm, args), "")
}

/// `bilico send` to the farm's balancer with these arguments, in the farm's directory.
pub(super) fn command(farm: &Farm, args: &[&str]) -> Command {
    let mut command = bilico(&["send", "--balancer", &farm.balancer.address]);
    command.args(args).current_dir(farm.dir.path());
    command
}

/// Makes a named pipe without a writer.
pub(super) fn make_pipe(farm: &Farm, name: &str) {
    let made = Command::new("mkfifo")
        .arg(farm.dir.path().join(name))
        .status()
        .unwrap();
    assert!(made.success());
}

/// The objects on the printed lines.
pub(super) fn objects(stdout: &str) -> Vec<Value> {
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "{stdout:?}");
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// The same without the keys, which differ in each run.
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
