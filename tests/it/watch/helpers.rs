//! Watchers, and folders for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bilico_testkit::{Ended, Farm, Running, bilico, run};
use serde_json::Value;

/// The folder that is watched, made if it is missing.
pub(super) fn folder(farm: &Farm) -> PathBuf {
    let path = farm.dir.path().join("in");
    fs::create_dir_all(&path).unwrap();
    path
}

/// A command that watches the farm's folder, with JSON output.
pub(super) fn command(farm: &Farm, args: &[&str]) -> Command {
    folder(farm);
    let mut command = bilico(&[
        "watch",
        "in",
        "--json",
        "--balancer",
        &farm.balancer.address,
    ]);
    command.args(args).current_dir(farm.dir.path());
    command
}

/// Watches.
pub(super) fn watch(farm: &Farm, args: &[&str]) -> Running {
    Running::start(&mut command(farm, args))
}

/// Hands over what is there.
pub(super) fn once(farm: &Farm, args: &[&str]) -> Ended {
    let mut command = command(farm, &["--once", "--settle", "0s"]);
    run(command.args(args), "")
}

/// Puts a file into the folder as careful programs do: by a rename.
pub(super) fn drop_in(farm: &Farm, name: &str, content: impl AsRef<[u8]>) {
    let new = farm
        .dir
        .path()
        .join(format!("new-{}", name.replace('/', "-")));
    fs::write(&new, content).unwrap();
    let to = folder(farm).join(name);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(new, to).unwrap();
}

/// The files in a folder and below it, by their paths from there, without the watcher's state.
pub(super) fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && entry.file_name() != ".bilico-watch" {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(root).unwrap().to_owned();
                let content = fs::read(entry.path()).unwrap();
                found.insert(name.to_string_lossy().into_owned(), content);
            }
        }
    }
    found
}

/// The names of the same.
pub(super) fn names(root: &Path) -> Vec<String> {
    files(root).into_keys().collect()
}

/// The events of this kind.
pub(super) fn events(stdout: &str, kind: &str) -> Vec<Value> {
    let lines = stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(|line: &Value| line["event"] == kind).collect()
}

/// What stands in the line about a file that was handed over, and in no other.
pub(super) fn handed_over(path: &str) -> String {
    format!("\"path\":\"{path}\",\"request_number\":")
}

/// What servers have, by the part of the name behind the number.
pub(super) fn titles(farm: &Farm) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut titles: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, content) in farm.all_stored() {
        let title = name.split_once('_').unwrap().1.to_owned();
        titles.entry(title).or_default().push(content);
    }
    titles
}
