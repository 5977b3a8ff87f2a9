//! A balancer where servers register, and servers that do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bilico::protocol::status::{ServerReport, StatusReport};
use bilico_testkit::{Role, start_balancer, status, wait_for_line};
use tempfile::TempDir;

/// A balancer where servers register.
pub struct Place {
    pub dir: TempDir,
    pub balancer: Role,
}

impl Place {
    /// A balancer without servers of its own.
    pub fn start(join: &[&str]) -> Self {
        Self::with(tempfile::tempdir().unwrap(), join)
    }

    pub fn with(dir: TempDir, flags: &[&str]) -> Self {
        let balancer = start_balancer(dir.path(), &[], flags);
        Self { dir, balancer }
    }

    pub fn status(&self) -> StatusReport {
        status(&self.balancer.address)
    }

    /// How the balancer sees a server, if it has it.
    pub fn seen(&self, server: &str) -> Option<ServerReport> {
        let servers = self.status().servers;
        servers.into_iter().find(|seen| seen.name == server)
    }

    /// Whether a server gets files.
    pub fn is_up(&self, server: &str) -> bool {
        self.seen(server).is_some_and(|seen| seen.eligible)
    }

    /// A server that registers from a free port, over its own directory.
    pub fn server(&self, n: usize, flags: &[&str]) -> Role {
        self.server_at("127.0.0.1:0", n, flags)
    }

    pub fn server_at(&self, listen: &str, n: usize, flags: &[&str]) -> Role {
        let dir = self.files(n);
        let mut args = vec!["server", "--listen", listen];
        args.extend(["--dir", dir.to_str().unwrap()]);
        args.extend(["--register", &self.balancer.address]);
        args.extend(flags);
        Role::start(self.dir.path(), &args)
    }

    /// The directory of a server.
    pub fn files(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("files_{n}"))
    }

    /// The log of a server.
    pub fn log_of(&self, server: &Role) -> String {
        let (_, port) = server.address.rsplit_once(':').unwrap();
        let name = format!("logs/server-{port}.log");
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Waits for a line in the log of a server.
    #[track_caller]
    pub fn wait_for_line_of(&self, server: &Role, parts: &[&str]) -> String {
        wait_for_line(|| self.log_of(server), parts)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("logs/balancer.log")).unwrap_or_default()
    }
}

pub fn secret_in(dir: &Path, name: &str, secret: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, format!("{secret}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}
