//! Users: who registers, logs in and is let in, at a balancer whose lock is on.

pub mod api;
mod doorways;
mod ends;
mod file;
mod guesses;
mod kills;
mod own;
mod page;
mod quotas;
mod secrets;
mod strangers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bilico_testkit::{
    Client, Ended, PREFACE, Response, Role, Wire, bilico, frame, http_raw, run, start_balancer,
    start_server, wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The password of every user of these tests.
pub const PASSWORD: &str = "correct horse battery";

/// A balancer with users, and a server. The administrator is `root`.
pub struct Locked {
    pub balancer: Role,
    pub server: Role,
    pub dir: TempDir,
}

impl Locked {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more flags of the balancer.
    pub fn with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        secret_file(&dir.path().join("password"), PASSWORD);
        let added = run(
            bilico(&["user", "add", "root", "--role", "admin"])
                .args(["--users", "users.json", "--password-file", "password"])
                .current_dir(dir.path()),
            "",
        );
        assert_eq!(added.code, Some(0), "{added:?}");
        let server = start_server(dir.path(), 1, &[]);
        let mut all = vec!["--auth", "required", "--users", "users.json"];
        all.extend(flags);
        let balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &all);
        let locked = Self {
            balancer,
            server,
            dir,
        };
        wait_until("the server to be up", || {
            locked.http(None, "GET", "/ready").status == 200
        });
        locked
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command at this balancer, by somebody who has this token.
    pub fn command(&self, token: Option<&str>, args: &[&str]) -> Command {
        let mut command = bilico(args);
        command
            .current_dir(self.dir.path())
            .env("BILICO_BALANCER", &self.balancer.address)
            .env("BILICO_ADMIN", self.balancer.admin.as_ref().unwrap());
        match token {
            Some(token) => command.env("BILICO_TOKEN", token),
            None => command.env_remove("BILICO_TOKEN"),
        };
        command
    }

    pub fn run(&self, token: Option<&str>, args: &[&str]) -> Ended {
        run(&mut self.command(token, args), "")
    }

    /// What a command prints that succeeds.
    #[track_caller]
    pub fn printed(&self, token: Option<&str>, args: &[&str]) -> String {
        let ended = self.run(token, args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.stdout
    }

    /// What a command complains of that fails.
    #[track_caller]
    pub fn refused(&self, token: Option<&str>, args: &[&str]) -> String {
        let ended = self.run(token, args);
        assert_eq!(ended.code, Some(1), "{args:?}: {ended:?}");
        ended.stderr
    }

    /// A token of a user, by the password.
    #[track_caller]
    pub fn login(&self, user: &str) -> String {
        let args = [
            "login",
            "--user",
            user,
            "--password-file",
            "password",
            "--print",
        ];
        self.printed(None, &args).trim().to_owned()
    }

    /// Invites and registers a user, and gives its token.
    #[track_caller]
    pub fn user(&self, name: &str, role: &str) -> String {
        let file = ["--users", "users.json"];
        let mut invite = vec!["user", "invite", name, "--role", role];
        invite.extend(file);
        secret_file(&self.path("code"), self.printed(None, &invite).trim());
        let register = ["register", "--user", name, "--code-file", "code"];
        let password = ["--password-file", "password"];
        self.printed(None, &[&register[..], &password].concat());
        self.login(name)
    }

    pub fn http(&self, token: Option<&str>, method: &str, path: &str) -> Response {
        self.http_with(token, method, path, "")
    }

    /// A request with a body of JSON, if it is not empty.
    pub fn http_with(&self, token: Option<&str>, method: &str, path: &str, body: &str) -> Response {
        let admin = self.balancer.admin.as_ref().unwrap();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            token.unwrap_or_default(),
            body.len()
        );
        http_raw(admin, request.as_bytes())
    }

    /// A native client that has shown this token.
    pub fn client(&self, token: &str) -> Client {
        let (client, hello) = self.greet(Some(token));
        assert_eq!(hello["request_type"], "hello", "{hello}");
        client
    }

    /// A native client, and what the balancer says first.
    pub fn greet(&self, token: Option<&str>) -> (Client, Value) {
        let mut hello = json!({"request_type": "hello", "role": "client"});
        if let Some(token) = token {
            hello["token"] = json!(token);
        }
        let mut wire = Wire::connect(&self.balancer.address);
        wire.write(&PREFACE);
        wire.write(&frame(&hello.to_string(), b""));
        let (answer, _) = wire.greeting();
        (Client::over(wire), serde_json::from_str(&answer).unwrap())
    }

    /// The titles and contents that the server has.
    pub fn stored(&self) -> Vec<Vec<u8>> {
        let stored = bilico_testkit::stored(&self.path("json_files_1"));
        stored.into_values().collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("logs/balancer.log")).unwrap()
    }

    /// The entries of the audit log.
    pub fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("logs/audit.log")).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        lines.filter_map(Result::ok).collect()
    }
}

/// A file that only its owner may read.
pub fn secret_file(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
