//! A balancer and its servers, each a process, and what they have stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use bilico::client::Way;
use bilico::protocol::status::{ServerReport, StatusReport};
use tempfile::TempDir;

use crate::process::bilico;
use crate::role::Role;
use crate::wait::{DEADLINE, wait_until};

/// A balancer and its servers, each a process, in a temporary directory.
pub struct Farm {
    /// The servers, in the order of their weights.
    pub servers: Vec<Role>,
    /// A balancer over these servers.
    pub balancer: Role,
    /// The working directory of all of them.
    pub dir: TempDir,
}

impl Farm {
    /// Starts servers with these weights, and a balancer, and waits until all are up.
    pub fn start(weights: &[u32]) -> Self {
        Self::with(weights, &[], &[])
    }

    /// Like [`Farm::start`], with more flags for the servers and the balancer.
    pub fn with(weights: &[u32], server_flags: &[&str], balancer_flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let servers: Vec<Role> = (1..=weights.len())
            .map(|n| start_server(dir.path(), n, server_flags))
            .collect();
        let specs: Vec<String> = servers
            .iter()
            .zip(weights)
            .map(|(server, weight)| format!("{}={weight}", server.address))
            .collect();
        let balancer = start_balancer(dir.path(), &specs, balancer_flags);
        let farm = Self {
            servers,
            balancer,
            dir,
        };
        farm.wait_until_up();
        farm
    }

    /// Starts a balancer over servers that the test has started itself, given like
    /// `127.0.0.1:5001=3`, and does not wait for them.
    pub fn over(servers: &[String], balancer_flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let balancer = start_balancer(dir.path(), servers, balancer_flags);
        Self {
            servers: Vec::new(),
            balancer,
            dir,
        }
    }

    /// Waits until every server whose weight is not 0 may get files.
    pub fn wait_until_up(&self) {
        wait_until("all servers to be up", || {
            self.status()
                .servers
                .iter()
                .all(|s| s.eligible || s.weight == 0)
        });
    }

    /// The balancer's status.
    pub fn status(&self) -> StatusReport {
        status(&self.balancer.address)
    }

    /// The balancer's report on the server in this place, counted from 0.
    pub fn server_status(&self, place: usize) -> ServerReport {
        self.status().servers.swap_remove(place)
    }

    /// The directory of the server in this place, counted from 0.
    pub fn server_dir(&self, place: usize) -> PathBuf {
        self.dir.path().join(format!("json_files_{}", place + 1))
    }

    /// The files that the server in this place has stored, with their content.
    pub fn stored(&self, place: usize) -> BTreeMap<String, Vec<u8>> {
        stored(&self.server_dir(place))
    }

    /// All stored files by name. The test fails if two servers have the same name.
    pub fn all_stored(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for place in 0..self.servers.len() {
            for (name, content) in self.stored(place) {
                assert!(
                    all.insert(name.clone(), content).is_none(),
                    "{name} is on two servers"
                );
            }
        }
        all
    }

    /// The balancer's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("logs/balancer.log")).unwrap()
    }

    /// The log of the server in this place.
    pub fn server_log(&self, place: usize) -> String {
        let port = self.servers[place].address.rsplit_once(':').unwrap().1;
        fs::read_to_string(self.dir.path().join(format!("logs/server-{port}.log"))).unwrap()
    }

    /// Writes a file below the farm's directory.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs `bilico send` against this balancer, in the farm's directory.
    pub fn send(&self, args: &[&str]) -> Output {
        let mut all = vec!["send", "--balancer", &self.balancer.address];
        all.extend(args);
        bilico(&all).current_dir(self.dir.path()).output().unwrap()
    }
}

impl Farm {
    /// Starts a farm, kills its servers, and waits until the balancer has noticed.
    pub fn without_servers(weights: &[u32]) -> Self {
        Self::with_dead_servers(weights, &[])
    }

    /// Like [`Farm::without_servers`], with more flags for the balancer.
    pub fn with_dead_servers(weights: &[u32], balancer_flags: &[&str]) -> Self {
        let mut farm = Self::with(weights, &[], balancer_flags);
        farm.servers.iter_mut().for_each(Role::kill);
        wait_until("all to be seen down", || {
            farm.status().servers.iter().all(|server| !server.eligible)
        });
        farm
    }
}

/// Starts the `n`-th server, counted from 1, on a free port.
pub fn start_server(dir: &Path, n: usize, flags: &[&str]) -> Role {
    let json_files = format!("json_files_{n}");
    let mut args = vec!["server", "--listen", "127.0.0.1:0", "--dir", &json_files];
    args.extend(flags);
    Role::start(dir, &args)
}

/// Starts a balancer on a free port over servers like `127.0.0.1:5001=3`.
pub fn start_balancer(dir: &Path, servers: &[String], flags: &[&str]) -> Role {
    let mut args = vec!["balancer", "--listen", "127.0.0.1:0"];
    for server in servers {
        args.extend(["--server", server]);
    }
    args.extend(flags);
    Role::start(dir, &args)
}

/// The status of the balancer at this address.
pub fn status(address: &str) -> StatusReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(bilico::client::status(&Way::plain(address), DEADLINE))
        .unwrap()
}

/// The files in a server's directory with their content, without the server's own: unfinished
/// files and the index.
pub fn stored(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !bilico::server::name::is_own(&name) {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// The names in a directory that begin with `prefix`, sorted.
pub fn names_with(dir: &Path, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Stored files by title. The test fails if two have the same title.
#[track_caller]
pub fn by_title(stored: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let mut titles = BTreeMap::new();
    for (name, content) in stored {
        let title = name.split_once('_').unwrap().1.to_owned();
        let other = titles.insert(title, content);
        assert!(other.is_none(), "another file has the title of {name}");
    }
    titles
}
