//! A directory of logs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{Ended, bilico, run};
use tempfile::TempDir;

/// A directory of logs.
pub(super) struct Logs(pub(super) TempDir);

impl Logs {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, name: &str, lines: &[&str]) {
        self.write_bytes(name, (lines.join("\n") + "\n").as_bytes());
    }

    pub(super) fn write_bytes(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path().join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Rotates the files of a log by one number, as its writer does.
    pub(super) fn rotate(&self, name: &str, keep: usize) {
        let path = |n: usize| {
            self.path().join(if n == 0 {
                name.to_owned()
            } else {
                format!("{name}.{n}")
            })
        };
        let _ = fs::remove_file(path(keep));
        for n in (0..keep).rev() {
            let _ = fs::rename(path(n), path(n + 1));
        }
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = bilico(&["logs", "--dir", self.path().to_str().unwrap()]);
        command.args(args);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Ended {
        run(&mut self.command(args), "")
    }

    /// The lines that it shows. It must show nothing else.
    #[track_caller]
    pub(super) fn lines(&self, args: &[&str]) -> Vec<String> {
        let ended = self.run(args);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{args:?}: {}",
            ended.stdout
        );
        ended.stdout.lines().map(str::to_owned).collect()
    }

    /// The last word of each line that it shows.
    #[track_caller]
    pub(super) fn words(&self, args: &[&str]) -> Vec<String> {
        let lines = self.lines(args);
        lines
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect()
    }
}

/// A line of the first minutes of an hour of a day in the past.
pub(super) fn line(second: u32, rest: &str) -> String {
    format!(
        "2026-03-01T10:{:02}:{:02}.000Z {rest}",
        second / 60,
        second % 60
    )
}
