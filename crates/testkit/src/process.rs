//! The `bilico` program, and commands that tests feed and read through pipes.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crate::wait::{wait_for, wait_until};

/// If this variable is set, a process acts as `bilico`: the chaos tool, which cargo builds without
/// the `bilico` binary, runs itself in that way.
pub const ACT_AS_BILICO: &str = "ACT_AS_BILICO";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Decides which program runs as `bilico`. Call it before anything starts; later calls change
/// nothing.
pub fn set_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// The program that runs as `bilico`: the one that was set, or the one that cargo has built for
/// this run of the tests.
pub fn program() -> PathBuf {
    PROGRAM.get_or_init(built_program).clone()
}

/// Cargo names the program to a test that it runs. A test that is run by hand finds it in the
/// directory of the build, one above its own.
fn built_program() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_bilico").map_or_else(
        || {
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("bilico")
        },
        PathBuf::from,
    )
}

/// A command that runs `bilico` with these arguments.
pub fn bilico(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(args)
        .env_remove("NO_COLOR")
        .env(ACT_AS_BILICO, "1");
    // Tests must not reach the balancer of another test, or one of the developer's.
    command.env("BILICO_ADMIN", "127.0.0.1:0");
    // Nor must they find, or save, the developer's tokens.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// A command that runs `bilico` through another program, e.g. `prlimit --nofile=64 --`.
pub fn bilico_through(program: &[&str]) -> Command {
    let plain = bilico(&[]);
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Whether these programs are installed. Without one it prints a line, or fails if `CI` is set.
pub fn are_there(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|dir| dir.join(name).exists());
    let missing = programs.iter().find(|name| !is_there(name));
    if let Some(name) = missing {
        let why = format!("no {name} here: install the package of that name");
        let is_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        assert!(!is_ci, "{why}");
        // Not by a macro, whose output is captured.
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
    missing.is_none()
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub struct Ended {
    /// `None` if a signal killed it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// Runs a command with this input. The test fails if it does not end in time.
#[track_caller]
pub fn run(command: &mut Command, input: &str) -> Ended {
    let mut running = Running::start(command);
    running.write(input);
    running.end()
}

/// A command whose standard streams are pipes; killed when it is dropped.
pub struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    /// Starts the command.
    pub fn start(command: &mut Command) -> Self {
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self {
            child,
            stdout: Collected::from(stdout),
            stderr: Collected::from(stderr),
        }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input. A command that no longer reads is no error.
    pub fn write(&mut self, input: &str) {
        // A command that has ended does not read the rest: tests look at how it ended.
        let _ = self
            .child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(input.as_bytes());
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for this text on standard output, and returns all of its standard output so far.
    #[track_caller]
    pub fn wait_for_output(&self, text: &str) -> String {
        self.stdout.wait_for(text)
    }

    /// Waits for this text on standard error, and returns all of its standard error so far.
    #[track_caller]
    pub fn wait_for_error(&self, text: &str) -> String {
        self.stderr.wait_for(text)
    }

    /// Sends the process a signal by name, e.g. `INT`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Closes its standard input and waits until it ends.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.close_input();
        self.wait()
    }

    /// Waits until it ends, with its standard input open.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        let status = wait_for("the command to end", || self.child.try_wait().unwrap());
        wait_until("the end of its output", || {
            self.stdout.is_whole() && self.stderr.is_whole()
        });
        Ended {
            code: status.code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of a pipe, collected by a thread.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut some) {
                collected.lock().unwrap().extend_from_slice(&some[..read]);
            }
        });
        Self { bytes, thread }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn is_whole(&self) -> bool {
        self.thread.is_finished()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        wait_until(&format!("{text:?}"), || {
            self.text().contains(text) || self.is_whole()
        });
        let all = self.text();
        assert!(all.contains(text), "no {text:?} in {all:?}");
        all
    }
}

/// Sends a process a signal by name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// Limits a resource of a process, named as in `prlimit`, e.g. `fsize`, to a number or `unlimited`.
#[track_caller]
pub fn limit(pid: u32, resource: &str, to: &str) {
    let status = Command::new("prlimit")
        .arg(format!("--{resource}={to}:"))
        .arg(format!("--pid={pid}"))
        .status()
        .unwrap();
    assert!(status.success(), "prlimit --{resource}={to} of {pid}");
}

/// The processes with this working directory, without zombies.
pub fn processes_in(dir: &Path) -> Vec<u32> {
    let dir = fs::canonicalize(dir).unwrap();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir))
        .collect()
}
