//! What a role tells systemd: a datagram socket stands in for it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bilico_testkit::{Role, Running, bilico, signal, wait_until};
use tempfile::TempDir;

/// The socket of a service manager, and the directory of a role.
struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        Self { dir, socket }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A command that runs `bilico` as a service.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = bilico(args);
        command
            .env("NOTIFY_SOCKET", self.path().join("notify"))
            .current_dir(self.path());
        command
    }

    /// What was told since the last look.
    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(count) => {
                    let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
                    told.extend(text.lines().map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return told,
            }
        }
    }

    /// Waits for this line, and returns all up to there.
    #[track_caller]
    fn wait(&self, line: &str) -> Vec<String> {
        let mut told = Vec::new();
        wait_until(line, || {
            told.extend(self.told());
            told.iter().any(|told| told.starts_with(line))
        });
        told
    }
}

const BALANCER: [&str; 5] = [
    "balancer",
    "--listen",
    "127.0.0.1:0",
    "--admin",
    "127.0.0.1:0",
];

#[test]
fn a_role_says_when_it_listens_and_when_it_stops() {
    for (args, line) in [
        (
            &["server", "--listen", "127.0.0.1:0"][..],
            "STATUS=0 files stored",
        ),
        (
            &[&BALANCER[..], &["--server", "127.0.0.1:1=1"]].concat(),
            "STATUS=0 of 1 server up, 0 files waiting, 0 delivered",
        ),
    ] {
        let manager = Manager::new();
        let role = Running::start(&mut manager.command(args));
        let before = manager.wait("READY=1");
        assert_eq!(
            before[0].split(' ').next(),
            Some("STATUS=reading"),
            "{before:?}"
        );
        // It listens by then.
        role.wait_for_output("listening on ");
        let mut told = before;
        wait_until(line, || {
            told.extend(manager.told());
            told.iter().any(|told| told.starts_with(line))
        });
        assert!(!told.iter().any(|line| line == "WATCHDOG=1"), "{told:?}");
        role.signal("TERM");
        manager.wait("STOPPING=1");
        assert_eq!(role.wait().code, Some(0));
    }
}

#[test]
fn a_reload_is_told_with_its_failure() {
    let manager = Manager::new();
    let file = manager.path().join("b.toml");
    let write = |rise: &str| {
        let text = format!("[balancer]\nservers = [\"127.0.0.1:1=1\"]\nrise = {rise}\n");
        fs::write(&file, text).unwrap();
    };
    write("2");
    let args = [&BALANCER[..], &["--config", "b.toml"]].concat();
    let role = Running::start(&mut manager.command(&args));
    manager.wait("READY=1");
    role.wait_for_output("admin on ");

    write("3");
    role.signal("HUP");
    let mut told = Vec::new();
    wait_until("the end of the reload", || {
        told.extend(manager.told());
        told.iter().any(|line| line == "READY=1")
    });
    let order: Vec<_> = told
        .iter()
        .filter(|line| !line.starts_with("STATUS="))
        .map(|line| line.split('=').next().unwrap())
        .collect();
    assert_eq!(order, ["RELOADING", "MONOTONIC_USEC", "READY"], "{told:?}");

    write("\"x\"");
    role.signal("HUP");
    let told = manager.wait("STATUS=configuration not reloaded: b.toml:3: [balancer] rise: ");
    assert!(told.iter().any(|line| line == "READY=1"), "{told:?}");
}

/// The hub's answer is the proof. A process that is stopped cannot give one, nor can one whose tasks
/// do not run.
#[test]
fn the_watchdog_hears_of_a_role_that_lives_and_of_no_other() {
    let manager = Manager::new();
    let args = [&BALANCER[..], &["--server", "127.0.0.1:1=1"]].concat();
    let mut command = manager.command(&args);
    let role = Running::start(command.env("WATCHDOG_USEC", "300000"));
    manager.wait("READY=1");
    for _ in 0..3 {
        manager.wait("WATCHDOG=1");
    }
    role.signal("STOP");
    wait_until("it stops", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", role.pid())).unwrap();
        stat.contains(") T ")
    });
    manager.told();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(manager.told(), Vec::<String>::new());
    role.signal("CONT");
    manager.wait("WATCHDOG=1");
}

/// The variables of a watchdog for another process mean nothing.
#[test]
fn a_watchdog_for_another_process_hears_nothing() {
    let manager = Manager::new();
    let mut command = manager.command(&["server", "--listen", "127.0.0.1:0"]);
    command
        .env("WATCHDOG_USEC", "100000")
        .env("WATCHDOG_PID", "1");
    let role = Running::start(&mut command);
    manager.wait("STATUS=0 files stored");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(manager.told(), Vec::<String>::new());
    role.signal("TERM");
    assert_eq!(role.wait().code, Some(0));
}

/// The roles of a demo are no services, and a socket that takes nothing holds up nobody.
#[test]
fn a_child_of_another_role_tells_nothing_and_a_deaf_manager_delays_nobody() {
    let manager = Manager::new();
    let command = manager.command(&[]);
    let args = ["server", "--listen", "127.0.0.1:0"];
    let role = Role::launch(command, manager.path(), &args).unwrap();
    drop(role);
    assert_eq!(manager.told(), Vec::<String>::new());

    let (deaf, dir) = (tempfile::tempdir().unwrap(), manager.path());
    let path = deaf.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"X=1", &path).is_ok() {}
    let mut command = bilico(&["server", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).current_dir(dir);
    let role = Running::start(&mut command);
    role.wait_for_output("listening on ");
    signal(role.pid(), "TERM");
    assert_eq!(role.wait().code, Some(0));
    drop(socket);
}
