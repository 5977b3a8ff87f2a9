//! A balancer and its servers as processes, each behind a proxy, in a directory of their own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bilico::client::Way;
use bilico::protocol::status::StatusReport;
use bilico::queue::segment::parse_name;
use rustix::process::{Resource, Rlimit, getrlimit};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::proxy::Proxy;
use super::secure::Secured;
use crate::{Mount, Role, bilico_through};

/// The longest wait for anything that must happen by itself: far longer than it takes on a busy
/// machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);

/// The balancer's limit of open files: so low that clients can use it up.
pub(super) const BALANCER_FILES: u64 = 512;

/// A `bilico` that dies with the thread that starts it, even if it is stopped or that thread is
/// killed.
pub(super) fn mortal_bilico() -> Command {
    mortal(&[])
}

/// Like [`mortal_bilico`], through another program, too.
fn mortal(through: &[&str]) -> Command {
    let program = [&["setpriv", "--pdeathsig", "KILL", "--"], through].concat();
    let mut command = bilico_through(&program);
    // Ctrl-C at a terminal is for the chaos tool alone, which then ends what it has started.
    command.process_group(0);
    command
}

/// A role and the proxy in front of it.
pub(super) struct Post {
    /// Its name in reports.
    pub(super) name: String,
    /// The proxy through which others reach it.
    pub(super) proxy: Proxy,
    /// The process, unless it was killed.
    pub(super) role: Option<Role>,
    /// Its limit of open files, if it has one of its own.
    files: Option<u64>,
    args: Vec<String>,
    dir: PathBuf,
}

impl Post {
    fn new(name: String, proxy: Proxy, dir: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self {
            name,
            proxy,
            role: None,
            files: None,
            args,
            dir: dir.to_owned(),
        }
    }

    /// Starts the process if it does not run. It gets another port each time; the proxy's address
    /// stays.
    pub(super) fn start(&mut self) -> Result<(), String> {
        if self.role.is_none() {
            let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
            let limit = self.files.map(|files| format!("--nofile={files}:{files}"));
            let through = limit
                .iter()
                .flat_map(|limit| ["prlimit", limit, "--"])
                .collect::<Vec<_>>();
            let role = Role::launch(mortal(&through), &self.dir, &args)?;
            self.proxy.point_to(&role.address);
            self.role = Some(role);
        }
        Ok(())
    }

    /// Replaces the servers of a balancer by this one.
    pub(super) fn serve_only(&mut self, server: &str) {
        let place = self.args.iter().position(|arg| arg == "--server").unwrap() + 1;
        server.clone_into(&mut self.args[place]);
    }

    /// The limit that the process had after its start.
    pub(super) fn limit(&self, resource: Resource) -> Rlimit {
        match (resource, self.files) {
            (Resource::Nofile, Some(files)) => Rlimit {
                current: Some(files),
                maximum: Some(files),
            },
            // The process raises its soft limit to the hard one.
            (Resource::Nofile, None) => Rlimit {
                current: getrlimit(resource).maximum,
                ..getrlimit(resource)
            },
            // It has inherited our other limits.
            _ => getrlimit(resource),
        }
    }

    /// Kills the process, as a crash would.
    pub(super) fn kill(&mut self) {
        if let Some(mut role) = self.role.take() {
            role.kill();
        }
    }

    /// The process's id, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.role.as_ref().map(Role::pid)
    }
}

/// The parameters of a stage.
pub(super) struct Setup<'a> {
    /// The weights of the servers.
    pub(super) weights: &'a [u32],
    /// More flags for the balancer.
    pub(super) balancer: &'a [&'a str],
    /// The size of the journal's own file system, e.g. `64m`; `None` for a plain directory.
    pub(super) journal: Option<&'a str>,
    /// The delay of each piece in a proxy.
    pub(super) delay: Duration,
    /// Whether all speak TLS, and clients show a token.
    pub(super) is_secure: bool,
}

/// The processes and their directories.
pub(super) struct Stage {
    /// The balancer.
    pub(super) balancer: Post,
    /// The servers.
    pub(super) servers: Vec<Post>,
    /// The journal's directory.
    pub(super) journal: PathBuf,
    /// Whether the journal has a file system of its own.
    pub(super) has_own_disk: bool,
    /// Whether the journal's directory was taken away.
    pub(super) is_journal_away: bool,
    /// The certificates and the token, if all speak TLS.
    pub(super) secured: Option<Arc<Secured>>,
    /// Whether the directory stays after the run.
    pub(super) keep: bool,
    runtime: Option<Runtime>,
    // It is unmounted after the processes have ended: fields are dropped in this order.
    _disk: Option<Mount>,
    /// The working directory of all of them.
    pub(super) dir: TempDir,
}

impl Stage {
    /// Sets everything up and starts nothing.
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("bilico-chaos-")
            .tempdir()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let disk = setup.journal.and_then(Mount::tmpfs);
        let has_own_disk = disk.is_some();
        let place = disk
            .as_ref()
            .map_or_else(|| dir.path().to_owned(), |disk| disk.path().to_owned());
        let journal = place.join("journal");
        fs::create_dir_all(&journal).unwrap();
        let servers = setup.weights.len();
        let secured = setup
            .is_secure
            .then(|| Arc::new(Secured::make(dir.path(), servers)));
        let proxy = || Proxy::start(runtime.handle(), setup.delay);
        let servers: Vec<Post> = (1..=setup.weights.len())
            .map(|n| {
                let files = format!("files_{n}");
                fs::create_dir(dir.path().join(&files)).unwrap();
                let args = [
                    "server",
                    "--listen",
                    "127.0.0.1:0",
                    "--dir",
                    &files,
                    "--stall-timeout",
                    "5s",
                ];
                let mut post = Post::new(format!("server {n}"), proxy(), dir.path(), &args);
                let more = secured.as_ref().map(|secured| secured.of_server(n));
                post.args.extend(more.unwrap_or_default());
                post
            })
            .collect();
        let specs = servers
            .iter()
            .zip(setup.weights)
            .map(|(post, weight)| format!("{}={weight}", post.proxy.address));
        let specs = specs.collect::<Vec<_>>().join(",");
        let mut args = vec![
            "balancer",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--server",
            &specs,
        ];
        args.extend([
            "--journal",
            journal.to_str().unwrap(),
            "--stall-timeout",
            "5s",
            "--probe-interval",
            "300ms",
        ]);
        args.extend(setup.balancer);
        let mut balancer = Post::new("balancer".to_owned(), proxy(), dir.path(), &args);
        balancer.files = Some(BALANCER_FILES);
        let more = secured.as_ref().map(|secured| secured.of_balancer());
        balancer.args.extend(more.unwrap_or_default());
        Self {
            balancer,
            servers,
            journal,
            has_own_disk,
            is_journal_away: false,
            secured,
            keep: false,
            runtime: Some(runtime),
            _disk: disk,
            dir,
        }
    }

    /// Sets everything up, starts it, and waits until all servers may get files.
    pub(super) fn start(setup: &Setup<'_>) -> Self {
        let mut stage = Self::new(setup);
        stage.start_all();
        stage
    }

    /// Starts what does not run, and waits until all servers may get files.
    pub(super) fn start_all(&mut self) {
        for server in &mut self.servers {
            server.start().unwrap();
        }
        self.balancer.start().unwrap();
        self.wait_for("all servers to be up", |status| {
            status.servers.iter().all(|server| server.eligible)
        });
    }

    /// The process in this place: 0 is the balancer, servers are counted from 1.
    pub(super) fn post(&mut self, place: usize) -> &mut Post {
        match place.checked_sub(1) {
            None => &mut self.balancer,
            Some(server) => &mut self.servers[server],
        }
    }

    /// The balancer's status, asked without the proxy. `None` if it does not answer in time.
    pub(super) fn status(&self, soon: Duration) -> Option<StatusReport> {
        let address = &self.balancer.role.as_ref()?.address;
        let way = match &self.secured {
            Some(secured) => secured.way(address),
            None => Way::plain(&**address),
        };
        self.status_over(&way, soon)
    }

    /// The status of a balancer without TLS at this address. `None` if it does not answer in time.
    pub(super) fn status_at(&self, address: &str, soon: Duration) -> Option<StatusReport> {
        self.status_over(&Way::plain(address), soon)
    }

    fn status_over(&self, way: &Way, soon: Duration) -> Option<StatusReport> {
        let ask = async { tokio::time::timeout(soon, bilico::client::status(way, soon)).await };
        self.runtime.as_ref().unwrap().block_on(ask).ok()?.ok()
    }

    /// Waits until the balancer's status fulfils a condition.
    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, is: impl Fn(&StatusReport) -> bool) -> StatusReport {
        let started = Instant::now();
        let mut last = None;
        loop {
            if let Some(status) = self.status(Duration::from_secs(5)) {
                if is(&status) {
                    return status;
                }
                last = Some(status);
            }
            assert!(
                started.elapsed() < PATIENCE,
                "waited {PATIENCE:?} in vain for {what}: {last:#?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The servers' directories.
    pub(super) fn shelves(&self) -> Vec<PathBuf> {
        (1..=self.servers.len())
            .map(|n| self.dir.path().join(format!("files_{n}")))
            .collect()
    }

    /// The size of all segments of the journal, in bytes.
    pub(super) fn segments(&self) -> u64 {
        let entries = fs::read_dir(&self.journal).unwrap().filter_map(Result::ok);
        let segments =
            entries.filter(|entry| parse_name(&entry.file_name().to_string_lossy()).is_some());
        segments
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .sum()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.keep || std::thread::panicking() {
            if self.has_own_disk {
                let kept = self.dir.path().join("journal");
                let _ = Command::new("cp")
                    .arg("-r")
                    .arg(&self.journal)
                    .arg(kept)
                    .status();
            }
            self.dir.disable_cleanup(true);
            eprintln!("everything is kept in {}", self.dir.path().display());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
