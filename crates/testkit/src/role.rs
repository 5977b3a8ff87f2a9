//! A balancer or a server in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::port::Port;
use crate::process::{bilico, limit, signal};
use crate::wait::DEADLINE;

/// A balancer or a server in a process of its own. It is killed on drop, and ends by itself if the
/// test's process ends.
pub struct Role {
    child: Child,
    /// The address where it listens for peers.
    pub address: String,
    /// The address where it listens for operators, unless `--admin none` was given.
    pub admin: Option<String>,
    args: Vec<String>,
    dir: PathBuf,
    /// Its own, so that it can be started again there.
    ports: Vec<Port>,
}

impl Role {
    /// Starts a role in `dir` and waits until it listens.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::launch(bilico(&[]), dir, args).unwrap()
    }

    /// Starts a role by a given command that runs `bilico`. An error if it ends before it listens.
    pub fn launch(mut command: Command, dir: &Path, args: &[&str]) -> Result<Self, String> {
        let mut args = args.to_vec();
        if args[0] == "balancer" && !args.contains(&"--admin") {
            args.extend(["--admin", "127.0.0.1:0"]);
        }
        let has_admin = args
            .windows(2)
            .any(|pair| pair[0] == "--admin" && pair[1] != "none");
        let mut ports = Vec::new();
        let args = with_ports(&args, &mut ports);
        command
            .args(&args)
            .arg("--with-parent")
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // From here on, dropping the role ends the process.
        let mut role = Self {
            child,
            address: String::new(),
            admin: None,
            args,
            dir: dir.to_owned(),
            ports,
        };
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..=usize::from(has_admin) {
                let mut line = String::new();
                let _ = stdout.read_line(&mut line);
                let _ = said.send(line);
            }
            // A role that cannot say what it has to say ends.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let next = |start: &str| {
            let line = lines
                .recv_timeout(DEADLINE)
                .map_err(|_| format!("{:?} says nothing", role.args))?;
            let address = line
                .strip_prefix(start)
                .ok_or_else(|| format!("{:?} said {line:?}", role.args))?;
            Ok::<_, String>(address.trim().to_owned())
        };
        let address = next("listening on ")?;
        let admin = if has_admin {
            Some(next("admin on ")?)
        } else {
            None
        };
        role.address = address;
        role.admin = admin;
        Ok(role)
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The number of files in `dir` that it has begun and neither stored nor given up. They have
    /// temporary names, or no name.
    pub fn unfinished(&self, dir: &Path) -> usize {
        let names = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let parts = names
            .filter(|name| bilico::server::name::is_part(name))
            .count();
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let is_nameless = |path: &PathBuf| {
            path.starts_with(dir) && path.to_string_lossy().ends_with(" (deleted)")
        };
        parts + open.filter(is_nameless).count()
    }

    /// Sends the process a signal by name, e.g. `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Limits a resource of the process: see [`limit`].
    #[track_caller]
    pub fn limit(&self, resource: &str, to: &str) {
        limit(self.pid(), resource, to);
    }

    /// Kills the process, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the process again on the same ports.
    pub fn restart(&mut self) {
        let mut args = self.args.clone();
        for pair in 0..args.len() {
            match (args[pair].as_str(), &self.admin) {
                ("--listen", _) => args[pair + 1].clone_from(&self.address),
                ("--admin", Some(admin)) => args[pair + 1].clone_from(admin),
                _ => {}
            }
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let dir = self.dir.clone();
        let ports = std::mem::take(&mut self.ports);
        *self = Self::start(&dir, &args);
        self.ports = ports;
    }

    /// Asks the process to stop, waits for it, and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }

    /// The processor time that the process has used, in user space and in the kernel.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // `/proc` counts in hundredths of a second, whatever the kernel's own tick is.
        Duration::from_millis(ticks * 10)
    }

    /// The process's resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        statm
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 4096
    }
}

/// The arguments with a port of its own for each listener that may have any.
fn with_ports(args: &[&str], ports: &mut Vec<Port>) -> Vec<String> {
    let mut all = Vec::with_capacity(args.len());
    let mut flag = "";
    for arg in args {
        if matches!(flag, "--listen" | "--admin") && *arg == "127.0.0.1:0" {
            let port = Port::take();
            all.push(port.address());
            ports.push(port);
        } else {
            all.push((*arg).to_owned());
        }
        flag = arg;
    }
    all
}

impl Drop for Role {
    fn drop(&mut self) {
        // A process that SIGSTOP has stopped dies only once it goes on.
        let _ = Command::new("kill")
            .args(["-CONT", &self.pid().to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
