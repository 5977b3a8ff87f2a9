//! Commands against a farm, and what they print.

use std::fs;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{Ended, Farm, Role, bilico, run};
use serde_json::Value;

pub(super) fn admin(balancer: &Role) -> &str {
    balancer.admin.as_deref().unwrap()
}

/// A command for this balancer.
pub(super) fn command(balancer: &Role, args: &[&str]) -> Command {
    let mut command = bilico(args);
    command.args(["--admin", admin(balancer)]);
    command
}

pub(super) fn order(balancer: &Role, args: &[&str]) -> Ended {
    run(&mut command(balancer, args), "")
}

/// The output of a command, which must succeed.
#[track_caller]
pub(super) fn printed(balancer: &Role, args: &[&str]) -> String {
    let ended = order(balancer, args);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{args:?}: {ended:?}"
    );
    ended.stdout
}

#[track_caller]
pub(super) fn printed_json(balancer: &Role, args: &[&str]) -> Value {
    serde_json::from_str(&printed(balancer, &[args, &["--json"]].concat())).unwrap()
}

/// Checks that a command fails with this code, and that its message has these parts.
#[track_caller]
pub(super) fn refused(balancer: &Role, args: &[&str], code: i32, parts: &[&str]) {
    let ended = order(balancer, args);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(code), ""),
        "{args:?}: {ended:?}"
    );
    for part in parts {
        assert!(
            ended.stderr.contains(part),
            "{args:?} says {part:?}: {ended:?}"
        );
    }
}

pub(super) fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// The row of a table for this server.
#[track_caller]
pub(super) fn row<'a>(table: &'a str, server: &str) -> Vec<&'a str> {
    let line = table
        .lines()
        .find(|line| line.trim_start().starts_with(server));
    line.unwrap_or_else(|| panic!("no {server} in {table}"))
        .split_whitespace()
        .collect()
}

fn write_files(dir: &Path, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("f{n}")).collect();
    for name in &names {
        fs::write(dir.join(name), "x").unwrap();
    }
    names
}

#[track_caller]
pub(super) fn send(farm: &Farm, count: usize, flags: &[&str]) {
    let names = write_files(farm.dir.path(), count);
    let mut args = flags.to_vec();
    args.extend(names.iter().map(String::as_str));
    let sent = farm.send(&args);
    assert!(sent.status.success(), "{sent:?}");
}
