//! A directory with a configuration file, and roles that use it.

use std::fs;
use std::path::{Path, PathBuf};

use bilico_testkit::{Role, start_balancer, status, wait_until};
use tempfile::TempDir;

/// A directory with a file `bilico.toml` in it.
pub(super) struct Place {
    pub(super) dir: TempDir,
}

impl Place {
    pub(super) fn new(config: &str) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.write(config);
        place
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path().join("bilico.toml")
    }

    /// Replaces the file as a whole.
    pub(super) fn write(&self, config: &str) {
        let new = self.path().join("new.toml");
        fs::write(&new, config).unwrap();
        fs::rename(new, self.config()).unwrap();
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path().join("logs/balancer.log")).unwrap()
    }

    /// A balancer on a free port that reads the file.
    pub(super) fn balancer(&self) -> Role {
        start_balancer(self.path(), &[], &["--config", "bilico.toml"])
    }

    /// Makes a balancer read its file again, and waits until it has.
    pub(super) fn reload(&self, balancer: &Role) {
        let ended = |log: String| log.matches("configuration reloaded applied=").count();
        let before = ended(self.log());
        balancer.signal("HUP");
        wait_until("the end of the reload", || ended(self.log()) > before);
    }

    /// Files to send.
    pub(super) fn files(&self, count: usize) -> PathBuf {
        let folder = self.path().join(format!("{count}_files"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..count {
            fs::write(
                folder.join(format!("{file}.txt")),
                format!("content of {file}"),
            )
            .unwrap();
        }
        folder
    }
}

/// The servers of a balancer with their weights.
pub(super) fn servers(balancer: &Role) -> Vec<(String, u32)> {
    status(&balancer.address)
        .servers
        .into_iter()
        .map(|server| (server.name, server.weight))
        .collect()
}
