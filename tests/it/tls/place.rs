//! A directory with the certificates of a cluster, and roles that use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bilico_testkit::{
    Ended, Role, bilico, run, start_balancer, start_server, stored, wait_for_line,
};
use tempfile::TempDir;

/// A directory with an authority in `tls`, a balancer's certificate `b1` and those of servers.
pub(super) struct Place {
    dir: TempDir,
}

/// What makes a balancer require TLS of its clients.
pub(super) const REQUIRED: [&str; 6] = [
    "--tls",
    "required",
    "--tls-cert",
    "tls/balancer-b1.pem",
    "--tls-key",
    "tls/balancer-b1.key",
];

/// What makes a balancer a member of the cluster.
pub(super) const IN_CLUSTER: [&str; 6] = [
    "--cluster-ca",
    "tls/ca.pem",
    "--cluster-cert",
    "tls/balancer-b1.pem",
    "--cluster-key",
    "tls/balancer-b1.key",
];

impl Place {
    pub(super) fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.certs(&["init"]);
        place.certs(&["issue", "balancer", "b1"]);
        place
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = bilico(args);
        command.current_dir(self.path());
        command
    }

    /// Runs `bilico` here.
    pub(super) fn run(&self, args: &[&str]) -> Ended {
        run(&mut self.command(args), "")
    }

    /// Runs `bilico certs`, which must succeed, and gives what it prints.
    #[track_caller]
    pub(super) fn certs(&self, args: &[&str]) -> String {
        let ended = self.run(&[&["certs"], args].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }

    /// The `n`-th server, with a certificate of this name, which is made if it is missing.
    pub(super) fn server(&self, n: usize, name: &str, flags: &[&str]) -> Role {
        let cert = format!("tls/server-{name}.pem");
        if !self.path().join(&cert).exists() {
            self.certs(&["issue", "server", name]);
        }
        self.server_as(n, &format!("server-{name}"), flags)
    }

    /// The `n`-th server, with these files for its certificate and key.
    pub(super) fn server_as(&self, n: usize, stem: &str, flags: &[&str]) -> Role {
        let (cert, key) = (format!("tls/{stem}.pem"), format!("tls/{stem}.key"));
        let own = [
            "--cluster-ca",
            "tls/ca.pem",
            "--cluster-cert",
            &cert,
            "--cluster-key",
            &key,
        ];
        start_server(self.path(), n, &[&own[..], flags].concat())
    }

    /// A balancer of the cluster over these servers.
    pub(super) fn balancer(&self, servers: &[String], flags: &[&str]) -> Role {
        start_balancer(self.path(), servers, &[&IN_CLUSTER[..], flags].concat())
    }

    /// A balancer that requires TLS of its clients, over a server in plain text.
    pub(super) fn required(&self) -> (Role, Role) {
        let server = start_server(self.path(), 1, &[]);
        let servers = [server.address.clone()];
        (start_balancer(self.path(), &servers, &REQUIRED), server)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// What the balancer's log says.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path().join("logs/balancer.log")).unwrap()
    }

    /// Waits for a line with all of this in the balancer's log.
    pub(super) fn wait_for_log(&self, parts: &[&str]) {
        wait_for_line(|| self.log(), parts);
    }

    /// Waits for a line with all of this in a server's log.
    pub(super) fn wait_for_log_of(&self, server: &Role, parts: &[&str]) {
        let port = server.address.rsplit_once(':').unwrap().1;
        let log = self.path().join(format!("logs/server-{port}.log"));
        wait_for_line(|| fs::read_to_string(&log).unwrap(), parts);
    }

    /// What the `n`-th server has stored.
    pub(super) fn stored(&self, n: usize) -> Vec<Vec<u8>> {
        let dir = self.path().join(format!("json_files_{n}"));
        stored(&dir).into_values().collect()
    }
}
