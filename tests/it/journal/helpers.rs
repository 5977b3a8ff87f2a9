//! Journals to damage, and what is asked of them.

use std::fs;
use std::path::{Path, PathBuf};

use bilico_testkit::{Ended, Farm, Mount, Role, Running, bilico, noise, run, start_balancer};

pub(super) const MIB: usize = 1024 * 1024;

/// Runs `bilico queue check` on a journal.
pub fn check(journal: &Path) -> Ended {
    run(bilico(&["queue", "check"]).arg(journal), "")
}

/// The address of a role that was started as a command.
pub fn address_of(role: &Running) -> String {
    role.wait_for_output("\n")
        .lines()
        .next()
        .unwrap()
        .strip_prefix("listening on ")
        .unwrap()
        .to_owned()
}

/// The journal of a stopped balancer with 40 files of 1000 bytes, each in its own batch.
pub(super) fn journal_of_40(end: impl FnOnce(&mut Role)) -> (Farm, PathBuf) {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=40 {
        assert_eq!(
            client.put_accepted(id, Some(&format!("k{id}")), &noise(id, 1000)),
            id
        );
    }
    end(&mut farm.balancer);
    let journal = farm.journal();
    let mut segments: Vec<PathBuf> = fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_segment(path))
        .collect();
    segments.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let segment = segments.pop().unwrap();
    (farm, segment)
}

pub(super) fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A balancer over one server that is down, its journal on a small disk.
pub(super) fn farm_on(disk: &Mount) -> Farm {
    let mut farm = Farm::without_servers(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    let journal = disk.path().join("journal");
    let flags = ["--journal", journal.to_str().unwrap(), "--log-dir", "small"];
    farm.balancer = start_balancer(farm.dir.path(), &[server], &flags);
    farm
}

pub fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}
