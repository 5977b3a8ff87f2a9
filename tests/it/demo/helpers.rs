//! A demo in a directory of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{
    DEMO_ON_FREE_PORTS, Ended, Running, Terminal, bilico, processes_in, run, sample_files, samples,
    stored,
};
use tempfile::TempDir;

/// A directory to run demos in. Processes that still run there at the end are killed.
pub(super) struct Scratch(pub(super) TempDir);

impl Scratch {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The files that the server in this place has stored, counted from 1.
    pub(super) fn stored(&self, place: usize) -> BTreeMap<String, Vec<u8>> {
        stored(&self.path().join(format!("json_files_{place}")))
    }

    /// All stored files by number. Each must have the content of its payload.
    pub(super) fn all_stored(&self) -> BTreeMap<u64, String> {
        let (mut all, samples) = (BTreeMap::new(), samples());
        for (name, content) in (1..=3).flat_map(|place| self.stored(place)) {
            let (number, title) = name.split_once('_').unwrap();
            assert_eq!(
                String::from_utf8(content).unwrap(),
                samples[title],
                "{name}"
            );
            assert!(
                all.insert(number.parse().unwrap(), title.to_owned())
                    .is_none(),
                "{name} is there twice"
            );
        }
        all
    }

    pub(super) fn check_nothing_runs(&self) {
        assert_eq!(
            processes_in(self.path()),
            Vec::<u32>::new(),
            "nothing is left running"
        );
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for pid in processes_in(self.path()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// A demo on free ports with the sample files.
pub(super) fn demo(scratch: &Scratch) -> Command {
    let mut command = bilico(&DEMO_ON_FREE_PORTS);
    command
        .args(["--files", sample_files()])
        .current_dir(scratch.path());
    command
}

/// Runs a demo with this input to its end.
pub(super) fn script(scratch: &Scratch, input: &str) -> Ended {
    run(&mut demo(scratch), input)
}

/// A demo that has sent one file and waits for more commands.
pub(super) fn started(scratch: &Scratch) -> Running {
    let mut demo = Running::start(&mut demo(scratch));
    demo.write("FTP 1\n");
    demo.wait_for_output("1 accepted, 1 delivered");
    demo
}

/// A demo at a terminal.
pub(super) fn at_a_terminal(scratch: &Scratch) -> Terminal {
    let mut args = DEMO_ON_FREE_PORTS.to_vec();
    args.extend(["--files", sample_files()]);
    Terminal::start(scratch.path(), &args)
}

/// The process ids that a banner names, the balancer's last.
pub(super) fn pids(banner: &str) -> Vec<u32> {
    let roles = banner
        .lines()
        .filter(|line| line.starts_with("server ") || line.starts_with("balancer "));
    roles
        .map(|line| {
            line.split_once(" pid ")
                .unwrap()
                .1
                .split_whitespace()
                .next()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}
