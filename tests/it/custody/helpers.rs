//! Journals with files, and balancers that are watched.

use std::fs;
use std::path::{Path, PathBuf};

use bilico_testkit::{Ended, Farm, bilico, noise, run};

use crate::journal::is_segment;

pub(super) const FILES: u64 = 40;

/// A farm whose balancer was killed, with a journal of one segment and 40 files.
pub(super) fn one_segment() -> Farm {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=FILES {
        assert_eq!(
            client.put_accepted(id, Some(&format!("k{id}")), &noise(id, 1000)),
            id
        );
    }
    farm.balancer.kill();
    assert_eq!(segments(&farm.journal()).len(), 1);
    farm
}

pub(super) fn segments(journal: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| is_segment(path));
    paths.sort();
    paths
}

/// Runs a balancer that cannot start in the farm's directory.
pub(super) fn refused(farm: &Farm) -> Ended {
    let server = format!("{}=1", farm.servers[0].address);
    run(
        bilico(&["balancer", "--listen", "127.0.0.1:0", "--server", &server])
            .current_dir(farm.dir.path()),
        "",
    )
}
