//! What all integration tests share: roles as real processes on free ports, peers that speak byte
//! by byte, and waiting on conditions with a deadline. Everything that a test starts ends when it
//! drops it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bilico::protocol::status::{ServerReport, StatusReport};
use bilico::transport::Tcp;
use rexpect::process::{Signal, WaitStatus};
use rexpect::session::PtySession;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest that any condition is waited for: far longer than it takes, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until `condition` gives something, or fails the test.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "waited {DEADLINE:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `condition` holds, or fails the test.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Set for a process that is to be `bilico`: an example, which cargo builds without the binary,
/// then acts as it.
pub const ACT_AS_BILICO: &str = "ACT_AS_BILICO";

/// The program that is `bilico`.
pub fn program() -> PathBuf {
    option_env!("CARGO_BIN_EXE_bilico")
        .map_or_else(|| std::env::current_exe().unwrap(), PathBuf::from)
}

/// The `bilico` binary with these arguments.
pub fn bilico(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(args)
        .env_remove("NO_COLOR")
        .env(ACT_AS_BILICO, "1");
    // No test meets a balancer of somebody else's, or one of another test.
    command.env("BILICO_ADMIN", "127.0.0.1:0");
    command
}

/// A role in a process of its own; killed when it is dropped, and ends by itself when the test
/// process does.
pub struct Role {
    child: Child,
    /// Where it listens.
    pub address: String,
    /// Where it listens for operators, if it does.
    pub admin: Option<String>,
    args: Vec<String>,
    dir: PathBuf,
}

impl Role {
    /// Starts a role in `dir` and waits until it listens.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::launch(bilico(&[]), dir, args).unwrap()
    }

    /// The same with a command of the caller's that runs `bilico`; an error if it does not come to
    /// listen.
    pub fn launch(mut command: Command, dir: &Path, args: &[&str]) -> Result<Self, String> {
        let mut args = args.to_vec();
        if args[0] == "balancer" && !args.contains(&"--admin") {
            args.extend(["--admin", "127.0.0.1:0"]);
        }
        let has_admin = args
            .windows(2)
            .any(|pair| pair[0] == "--admin" && pair[1] != "none");
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
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        // From here on dropping it ends the process.
        let mut role = Self {
            child,
            address: String::new(),
            admin: None,
            args,
            dir: dir.to_owned(),
        };
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..=usize::from(has_admin) {
                let mut line = String::new();
                let _ = stdout.read_line(&mut line);
                let _ = said.send(line);
            }
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
        (role.address, role.admin) = (address, admin);
        Ok(role)
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many files in `dir` it has begun and neither stored nor given up: under temporary names,
    /// or without any.
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

    /// Ends the process as a crash would.
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
        *self = Self::start(&dir, &args);
    }

    /// Asks the process to stop and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }

    /// The processor time that the process has used, user and system.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // The kernel counts in hundredths of a second for user space, whatever it does inside.
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

impl Drop for Role {
    fn drop(&mut self) {
        // A stopped process must be woken to die.
        let _ = Command::new("kill")
            .args(["-CONT", &self.pid().to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A balancer and its servers, each a process, in a directory of their own.
pub struct Farm {
    /// The servers, in the order of their weights.
    pub servers: Vec<Role>,
    /// The balancer.
    pub balancer: Role,
    /// Where all of them work.
    pub dir: TempDir,
}

impl Farm {
    /// Starts servers with these weights, and a balancer, and waits until all are up.
    pub fn start(weights: &[u32]) -> Self {
        Self::with(weights, &[], &[])
    }

    /// The same with more flags for the servers and the balancer.
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

    /// Waits until every server with a weight may get files.
    pub fn wait_until_up(&self) {
        wait_until("all servers to be up", || {
            self.status()
                .servers
                .iter()
                .all(|s| s.eligible || s.weight == 0)
        });
    }

    /// What the balancer says of itself.
    pub fn status(&self) -> StatusReport {
        status(&self.balancer.address)
    }

    /// What the balancer says of the server in this place.
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

    /// All stored files, by name; a name on two servers fails the test.
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

    /// Runs `bilico send` against this balancer, in the farm's directory.
    pub fn send(&self, args: &[&str]) -> Output {
        let mut all = vec!["send", "--balancer", &self.balancer.address];
        all.extend(args);
        bilico(&all).current_dir(self.dir.path()).output().unwrap()
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

/// What the balancer at this address says of itself.
pub fn status(address: &str) -> StatusReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(bilico::client::status(&Tcp, address, DEADLINE))
        .unwrap()
}

/// The files in a server's directory with their content; its own, unfinished ones and the index,
/// are not among them.
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

/// A connection that is spoken byte by byte.
pub struct Wire(pub TcpStream);

impl Wire {
    /// Connects; no read waits longer than the deadline.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    /// Connects and greets as a native client.
    pub fn native(address: &str) -> Self {
        let mut wire = Self::connect(address);
        wire.write(&PREFACE);
        wire.write(&frame(r#"{"request_type":"hello","role":"client"}"#, b""));
        let (hello, _) = wire.greeting();
        assert!(hello.contains(r#""role":"balancer""#), "{hello}");
        wire
    }

    /// Writes all of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads the preface and the first frame.
    pub fn greeting(&mut self) -> (String, Vec<u8>) {
        let mut preface = [0; 8];
        self.0.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        self.frame().unwrap()
    }

    /// Reads a frame: its header and its content. `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<(String, Vec<u8>)> {
        let mut head = [0; 12];
        let mut got = 0;
        while got < head.len() {
            match self.0.read(&mut head[got..]) {
                Ok(0) if got == 0 => return None,
                Ok(read) if read > 0 => got += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset && got == 0 => {
                    return None;
                }
                other => panic!("{other:?} after {got} bytes of a frame"),
            }
        }
        let header_len = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let content_len =
            usize::try_from(u64::from_be_bytes(head[4..].try_into().unwrap())).unwrap();
        let mut header = vec![0; header_len];
        self.0.read_exact(&mut header).unwrap();
        let mut content = vec![0; content_len];
        self.0.read_exact(&mut content).unwrap();
        if content_len > 0 {
            let mut crc = [0; 4];
            self.0.read_exact(&mut crc).unwrap();
            assert_eq!(u32::from_be_bytes(crc), crc32c::crc32c(&content));
        }
        Some((String::from_utf8(header).unwrap(), content))
    }

    /// Reads frames until one of this request type comes.
    pub fn frame_of(&mut self, request_type: &str) -> String {
        let mark = format!(r#""request_type":"{request_type}""#);
        loop {
            let (header, _) = self
                .frame()
                .unwrap_or_else(|| panic!("closed before a `{request_type}`"));
            if header.contains(&mark) {
                return header;
            }
        }
    }

    /// Reads to the end of the connection; a reset is one.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
        rest
    }
}

/// The bytes that open a native connection, as `docs/protocol.md` gives them.
pub const PREFACE: [u8; 8] = [0xB1, b'I', b'L', b'I', b'C', b'O', 0, 1];

/// A native frame with this header and content.
pub fn frame(header: &str, content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    wire.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
    wire.extend_from_slice(&(content.len() as u64).to_be_bytes());
    wire.extend_from_slice(header.as_bytes());
    wire.extend_from_slice(content);
    if !content.is_empty() {
        wire.extend_from_slice(&crc32c::crc32c(content).to_be_bytes());
    }
    wire
}

/// The header that puts a file with this title.
pub fn put(id: u64, title: &str) -> String {
    serde_json::json!({"request_type": "put", "id": id, "title": title}).to_string()
}

impl Farm {
    /// Starts a farm, kills its servers, and waits until the balancer knows.
    pub fn without_servers(weights: &[u32]) -> Self {
        let mut farm = Self::start(weights);
        farm.servers.iter_mut().for_each(Role::kill);
        wait_until("all to be seen down", || {
            farm.status().servers.iter().all(|server| !server.eligible)
        });
        farm
    }
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal killed it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Runs a command on this input; one that does not end in time fails the test.
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

    /// Writes to its standard input, if it still reads it.
    pub fn write(&mut self, input: &str) {
        // Who has ended does not read the rest; how it ended is what tests look at.
        let _ = self
            .child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(input.as_bytes());
    }

    /// Waits until it has written this to standard output, and gives all that it has written there.
    #[track_caller]
    pub fn wait_for_output(&self, text: &str) -> String {
        self.stdout.wait_for(text)
    }

    /// Waits until it has written this to standard error, and gives all that it has written there.
    #[track_caller]
    pub fn wait_for_error(&self, text: &str) -> String {
        self.stderr.wait_for(text)
    }

    /// Sends the process a signal by name, e.g. `INT`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Ends its input and waits until it ends.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        drop(self.child.stdin.take());
        self.wait()
    }

    /// Waits until it ends by itself, its input still open.
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

/// What comes out of a pipe, collected by a thread.
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

/// What the prompt asks with.
pub const PROMPT: &str = "bilico> ";

/// `bilico` at a terminal of its own, used as a person would. Ended when it is dropped.
pub struct Terminal {
    session: PtySession,
    /// Whether pasted text is to be marked as such.
    marks_pastes: bool,
}

impl Terminal {
    /// Runs `bilico` with these arguments at a terminal of 40 rows and 120 columns.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::run(dir, r#"exec "$@""#, args)
    }

    /// Runs a shell script there, to which the program and the arguments are given.
    pub fn run(dir: &Path, script: &str, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("stty sane rows 40 cols 120; {script}"), "sh"])
            .arg(program());
        command
            .args(args)
            .current_dir(dir)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        let options = rexpect::reader::Options::new().timeout_ms(Some(30_000));
        let mut session = rexpect::session::spawn_with_options(command, options).unwrap();
        session.process_mut().set_kill_timeout(Some(1000));
        Self {
            session,
            marks_pastes: false,
        }
    }

    /// Waits for this text and gives what was written before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        // The library takes each byte for a character.
        let bytes: String = text.bytes().map(char::from).collect();
        match self.session.exp_string(&bytes) {
            Ok(before) => {
                if let Some((_, mode)) = before.rsplit_once("\x1b[?2004") {
                    self.marks_pastes = mode.starts_with('h');
                }
                decode(&before)
            }
            Err(error) => panic!("no {text:?} on the terminal: {}", unexpected(error)),
        }
    }

    /// Presses these keys.
    pub fn press(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// Pastes this text, with the marks around it that terminals send to programs that asked for
    /// them.
    pub fn paste(&mut self, text: &str) {
        if self.marks_pastes {
            self.press(&format!("\x1b[200~{text}\x1b[201~"));
        } else {
            self.press(text);
        }
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Sends the process a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.session.process_mut().signal(signal).unwrap();
    }

    /// Waits until the process ends; gives its exit code and the rest of what it wrote.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let rest = self
            .session
            .exp_eof()
            .unwrap_or_else(|error| panic!("no end: {}", unexpected(error)));
        let code = wait_for("the process at the terminal to end", || {
            match self.session.process().status() {
                Some(WaitStatus::Exited(_, code)) => Some(Some(code)),
                Some(WaitStatus::Signaled(..)) | None => Some(None),
                Some(_) => None,
            }
        });
        (code, decode(&rest))
    }
}

/// The last of what came on a terminal instead.
fn unexpected(error: rexpect::error::Error) -> String {
    let (rexpect::error::Error::EOF { got, .. } | rexpect::error::Error::Timeout { got, .. }) =
        error
    else {
        return error.to_string();
    };
    let got = decode(&got);
    format!(
        "{:?}",
        got.get(got.floor_char_boundary(got.len().saturating_sub(600))..)
    )
}

/// The text of bytes that came as one character each, without control sequences.
fn decode(text: &str) -> String {
    let bytes: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect();
    let text = String::from_utf8_lossy(&bytes);
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        plain.push_str(end.get(1..).unwrap_or_default());
    }
    plain
}

/// Sends a process a signal by name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// The processes whose working directory this is, but those that have ended and are only not yet
/// waited for.
pub fn processes_in(dir: &Path) -> Vec<u32> {
    let dir = fs::canonicalize(dir).unwrap();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir))
        .collect()
}

/// A small file system of its own, where that is allowed; unmounted when it is dropped.
pub struct Mount(TempDir);

impl Mount {
    /// A file system in memory of a size like `4m`; without leave to mount one, a visible line and
    /// nothing else.
    pub fn tmpfs(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        if mount(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "none"],
            dir.path(),
        ) {
            return Some(Self(dir));
        }
        // Past the capture of the test's output: a skipped test must be seen.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED, for this user may not mount a tmpfs"
        );
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Runs `mount` with these arguments for this directory, and says whether it succeeded.
pub fn mount(args: &[&str], dir: &Path) -> bool {
    let status = Command::new("mount")
        .args(args)
        .arg(dir)
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The sample files of the crate.
pub fn sample_files() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/sample_files")
}

/// The title and the content of each sample file.
pub fn samples() -> BTreeMap<String, String> {
    let paths = fs::read_dir(sample_files())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let payload: serde_json::Value =
                serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let text = |keys: [&str; 2]| {
                keys.iter()
                    .find_map(|key| payload[key].as_str())
                    .unwrap()
                    .to_owned()
            };
            (text(["title", "titolo"]), text(["content", "contenuto"]))
        })
        .collect()
}

/// The object with which a client of the first system hands a file over.
pub fn old_style_put(title: &str, content: &str) -> String {
    let (title, content) = (serde_json::json!(title), serde_json::json!(content));
    format!(r#"{{"titolo": {title}, "contenuto": {content}, "request_type": "file_di_testo"}}"#)
}

/// Waits until a log has a line with all of these parts in it, and gives the first one.
#[track_caller]
pub fn wait_for_line(log: impl Fn() -> String, parts: &[&str]) -> String {
    wait_for(&format!("a line in the log with {parts:?}"), || {
        log()
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
    })
}

/// A native client, spoken byte by byte.
pub struct Client {
    /// Its connection.
    pub wire: Wire,
    /// What came, and nobody has asked for yet.
    seen: Vec<Value>,
}

impl Client {
    /// Connects and greets.
    pub fn connect(address: &str) -> Self {
        Self {
            wire: Wire::native(address),
            seen: Vec::new(),
        }
    }

    /// Puts a file whose title is that of its key, or `x` without one.
    pub fn put(&mut self, id: u64, key: Option<&str>, content: &[u8]) {
        self.wire
            .write(&frame(&put_header(id, key).to_string(), content));
    }

    /// Puts a file and gives the number under which it is accepted.
    #[track_caller]
    pub fn put_accepted(&mut self, id: u64, key: Option<&str>, content: &[u8]) -> u64 {
        self.put(id, key, content);
        number(&self.expect("accepted", id))
    }

    /// Puts what comes after the first `offset` bytes of a file, of which the balancer has those.
    pub fn resume(&mut self, id: u64, key: &str, content: &[u8], offset: usize) {
        self.resume_after(
            id,
            key,
            (offset, crc32c::crc32c(&content[..offset])),
            &content[offset..],
        );
    }

    /// Puts `rest` behind a beginning of this length and checksum.
    pub fn resume_after(
        &mut self,
        id: u64,
        key: &str,
        (offset, crc32c): (usize, u32),
        rest: &[u8],
    ) {
        let mut header = put_header(id, Some(key));
        (header["offset"], header["crc32c"]) = (json!(offset), json!(crc32c));
        self.wire.write(&frame(&header.to_string(), rest));
    }

    /// Offers a file with this content.
    pub fn offer(&mut self, id: u64, key: &str, content: &[u8]) {
        let mut header = offer_header(id, key, content.len());
        header["crc32c"] = json!(crc32c::crc32c(content));
        self.wire.write(&frame(&header.to_string(), b""));
    }

    /// Offers a file of `size` bytes, without a word about its content.
    pub fn offer_size(&mut self, id: u64, key: &str, size: usize) {
        self.wire
            .write(&frame(&offer_header(id, key, size).to_string(), b""));
    }

    /// Offers a file that the balancer does not know, and gives how much of it it has.
    #[track_caller]
    pub fn offer_wanted(&mut self, id: u64, key: &str, size: usize) -> usize {
        self.offer_size(id, key, size);
        usize::try_from(self.expect("wanted", id)["offset"].as_u64().unwrap()).unwrap()
    }

    /// The next message.
    #[track_caller]
    pub fn next(&mut self) -> Value {
        let (header, _) = self.wire.frame().expect("the balancer has closed");
        serde_json::from_str(&header).unwrap()
    }

    /// Waits for this message about this file; others are kept for later.
    #[track_caller]
    pub fn expect(&mut self, request_type: &str, id: u64) -> Value {
        let is_it =
            |message: &Value| message["request_type"] == request_type && message["id"] == id;
        loop {
            if let Some(place) = self.seen.iter().position(is_it) {
                return self.seen.remove(place);
            }
            let message = self.next();
            let is_last = ["bye", "refused"]
                .iter()
                .any(|last| message["request_type"] == *last);
            assert!(
                is_it(&message) || !is_last,
                "no `{request_type}` for {id}, but {message}"
            );
            self.seen.push(message);
        }
    }

    /// Reads on to the reason with which the balancer ends the connection.
    #[track_caller]
    pub fn bye(&mut self) -> Value {
        loop {
            let message = self.next();
            if message["request_type"] == "bye" {
                return message;
            }
        }
    }
}

fn offer_header(id: u64, key: &str, size: usize) -> Value {
    json!({"request_type": "offer", "id": id, "key": key, "size": size})
}

/// The header of a `put`.
pub fn put_header(id: u64, key: Option<&str>) -> Value {
    let mut header = json!({"request_type": "put", "id": id, "title": key.unwrap_or("x")});
    if let Some(key) = key {
        header["key"] = json!(key);
    }
    header
}

/// The request number in a receipt.
#[track_caller]
pub fn number(receipt: &Value) -> u64 {
    receipt["request_number"].as_u64().unwrap()
}

/// Bytes that do not repeat soon, others for each seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

/// The names in a directory that begin so.
pub fn names_with(dir: &Path, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// A native server that answers probes as it should, and on the link, once greetings are exchanged,
/// does as told. It ends with the test process.
pub fn pretend_server(
    identity: Option<&str>,
    on_link: impl Fn(Wire) + Send + Sync + 'static,
) -> String {
    pretend_instance(identity, None, on_link)
}

/// The same, which also says which process of its directory it is.
pub fn pretend_instance(
    identity: Option<&str>,
    instance: Option<&str>,
    on_link: impl Fn(Wire) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut hello = json!({"request_type": "hello", "role": "server", "overloaded": false});
    for (field, value) in [("identity", identity), ("instance", instance)] {
        if let Some(value) = value {
            hello[field] = json!(value);
        }
    }
    let greeting = [&PREFACE[..], &frame(&hello.to_string(), b"")].concat();
    let on_link = Arc::new(on_link);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (wire, greeting, on_link) =
                (Wire(stream.unwrap()), greeting.clone(), on_link.clone());
            std::thread::spawn(move || answer_as_server(wire, &greeting, &*on_link));
        }
    });
    address
}

fn answer_as_server(mut wire: Wire, greeting: &[u8], on_link: &dyn Fn(Wire)) {
    let mut first = [0; 8];
    if wire.0.read_exact(&mut first).is_err() {
        return;
    }
    if first == PREFACE {
        let _ = wire.0.write_all(greeting);
        if wire.try_frame().is_some() {
            on_link(wire);
        }
        return;
    }
    let mut request = [0; 100];
    let read = wire.0.read(&mut request).unwrap_or(0);
    let asks = String::from_utf8_lossy(&request[..read]).contains("bilico");
    let _ = wire.0.write_all(if asks { greeting } else { &[0] });
}

impl Wire {
    /// Reads a frame; `None` however the connection ends.
    pub fn try_frame(&mut self) -> Option<(Value, Vec<u8>)> {
        let mut head = [0; 12];
        self.0.read_exact(&mut head).ok()?;
        let header_len = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let content_len =
            usize::try_from(u64::from_be_bytes(head[4..].try_into().unwrap())).unwrap();
        let mut header = vec![0; header_len];
        self.0.read_exact(&mut header).ok()?;
        let mut content = vec![0; content_len + if content_len > 0 { 4 } else { 0 }];
        self.0.read_exact(&mut content).ok()?;
        content.truncate(content_len);
        Some((serde_json::from_slice(&header).unwrap(), content))
    }

    /// Reads and throws away until the other end closes.
    pub fn swallow(mut self) {
        let _ = std::io::copy(&mut self.0, &mut std::io::sink());
    }
}

/// The answer to a request over HTTP.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Asks a role's admin listener for something; a body goes as JSON.
#[track_caller]
pub fn http(role: &Role, method: &str, path: &str, body: Option<&Value>) -> Response {
    http_at(role.admin.as_ref().unwrap(), method, path, body)
}

/// Asks the admin listener at this address for something; a body goes as JSON.
#[track_caller]
pub fn http_at(address: &str, method: &str, path: &str, body: Option<&Value>) -> Response {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let body = body.map(ToString::to_string).unwrap_or_default();
    if !body.is_empty() {
        request.push_str("Content-Type: application/json\r\n");
        request.push_str(&["Content-Length: ", &body.len().to_string(), "\r\n"].concat());
    }
    http_raw(address, format!("{request}\r\n{body}").as_bytes())
}

/// Sends these bytes to an HTTP listener and reads the answer, whose connection is to end with it.
#[track_caller]
pub fn http_raw(address: &str, request: &[u8]) -> Response {
    let mut wire = Wire::connect(address);
    // Who is refused early need not read all of it.
    let _ = wire.0.write_all(request);
    response(&wire.rest())
}

/// An answer as it came over the wire.
#[track_caller]
pub fn response(bytes: &[u8]) -> Response {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer, but {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers: BTreeMap<_, _> = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let is_chunked = headers
        .get("transfer-encoding")
        .is_some_and(|coding| coding == "chunked");
    let body = if is_chunked {
        dechunk(body)
    } else {
        body.to_vec()
    };
    if let Some(len) = headers.get("content-length") {
        assert_eq!(
            len.parse::<usize>().unwrap(),
            body.len(),
            "the body is whole"
        );
    }
    Response {
        status,
        headers,
        body,
    }
}

/// What chunks hold, as far as they came.
pub fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|part| part == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let from = end + 2;
        whole.extend_from_slice(&bytes[from.min(bytes.len())..(from + len).min(bytes.len())]);
        bytes = bytes.get(from + len + 2..).unwrap_or_default();
    }
    whole
}
