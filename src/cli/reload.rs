//! Reads the configuration again while a role runs, and applies what a running role can take.
//!
//! What is read is what a start would read now: the same flags and environment, and the file as it
//! is by now. Either all of it makes sense and holds, or nothing changes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::FromArgMatches;
use tokio::signal::unix::Signal;
use tokio::sync::Mutex;

use super::balancer::{self, BalancerArgs};
use super::settings::keys::LOG;
use super::settings::{Effective, Refused};
use super::{Failure, program};
use crate::admin::Reload;
use crate::balancer::Settings;
use crate::balancer::control::Control;
use crate::balancer::events::{Kind, Level};
use crate::config::{Reloaded, ServerSpec};
use crate::logging::{LogLevel, LogNames};
use crate::protocol::status::{ServerReport, ServerState};

/// The keys of the balancer that a reload applies.
pub(super) const BALANCER: [&str; 16] = [
    "servers",
    "in-doubt",
    "max-attempts",
    "remember",
    "remember-files",
    "queue-files",
    "queue-bytes",
    "max-json",
    "window-files",
    "window-bytes",
    "probe-interval",
    "probe-timeout",
    "fall",
    "rise",
    "stall-timeout",
    "idle-timeout",
];

/// The key of the log that a reload applies, in all roles.
const LEVEL: &str = "level";

/// Whether a reload applies this key.
pub(super) fn is_applied(table: &str, key: &str) -> bool {
    match table {
        "balancer" => BALANCER.contains(&key),
        LOG => key == LEVEL,
        _ => false,
    }
}

/// What a role was started with.
#[derive(Debug, Clone, Default)]
pub(super) struct Started {
    /// The words of its command line.
    pub(super) args: Vec<OsString>,
    /// The file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// The values in force.
    pub(super) values: Vec<Effective>,
}

/// Reloads a role's configuration, once at a time.
pub(super) struct Reloader {
    args: Vec<OsString>,
    file: Option<PathBuf>,
    in_force: Mutex<Vec<Effective>>,
    level: LogLevel,
    /// The balancer, if the role is one.
    balancer: Option<Control>,
}

/// What a start would work with now.
struct Fresh {
    values: Vec<Effective>,
    balancer: Option<Settings>,
}

impl Reloader {
    /// A reloader for what was started so.
    pub(super) fn new(started: Started, level: LogLevel, balancer: Option<Control>) -> Arc<Self> {
        let Started { args, file, values } = started;
        Arc::new(Self {
            args,
            file,
            in_force: Mutex::new(values),
            level,
            balancer,
        })
    }

    /// The same for those who know nothing of command lines; `None` if there is no file.
    pub(super) fn hook(self: &Arc<Self>) -> Option<Reload> {
        let reloader = self.clone();
        self.file.is_some().then(|| -> Reload {
            Arc::new(move || {
                let reloader = reloader.clone();
                Box::pin(async move { reloader.reload().await })
            })
        })
    }

    /// At each SIGHUP, as long as the process runs, goes on in the file that the log's name leads
    /// to, then reloads.
    pub(super) fn follow(self: Arc<Self>, mut hangup: Signal, log: LogNames) {
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                let log = log.clone();
                // The log may be on a disk that is slow.
                let _ = tokio::task::spawn_blocking(move || log.reopen()).await;
                if self.file.is_some() {
                    // Whatever comes of it is logged.
                    let _ = self.reload().await;
                } else {
                    tracing::info!(
                        "SIGHUP: there is no configuration file to read again, and the log's file was looked at; \
                         name a configuration with --config"
                    );
                }
            }
        });
    }

    /// Reads the configuration again and applies it. The error tells a problem a line; then nothing
    /// has changed.
    pub(super) async fn reload(&self) -> Result<Reloaded, String> {
        let result = {
            let mut in_force = self.in_force.lock().await;
            self.renew(&mut in_force).await
        };
        match &result {
            Ok(reloaded) => self.tell(reloaded),
            Err(problems) => {
                for problem in problems.lines() {
                    tracing::error!(problem, "configuration not reloaded, nothing has changed");
                }
                self.notice(
                    Level::Error,
                    Kind::ReloadFailed,
                    format!("nothing has changed: {problems}"),
                );
            }
        }
        result
    }

    async fn renew(&self, in_force: &mut [Effective]) -> Result<Reloaded, String> {
        let args = self.args.clone();
        // A file may be on a disk that is slow.
        let read = tokio::task::spawn_blocking(move || read(&args)).await;
        let Fresh { values, balancer } = read.map_err(|error| error.to_string())??;
        let mut reloaded = Reloaded::default();
        if let (Some(control), Some(settings)) = (&self.balancer, balancer) {
            let stopping = || "the balancer is stopping".to_owned();
            let before = control.sample().await.ok_or_else(stopping)?.status.servers;
            reloaded.applied = changed_servers(&before, &settings.servers);
            control
                .apply(settings)
                .await
                .map_err(|error| error.to_string())?;
        }
        for (old, new) in in_force.iter_mut().zip(values) {
            let change = change(old, &new);
            if !is_applied(&new.table, &new.key) {
                reloaded.restart.extend(change);
                continue;
            }
            if change.is_some() && new.table == LOG {
                let level = new.shown().concat();
                self.level.set(&level).map_err(|error| error.to_string())?;
            }
            // Servers are told of by what the balancer had, which an operator may have changed.
            if new.key != "servers" {
                reloaded.applied.extend(change);
            }
            *old = new;
        }
        Ok(reloaded)
    }

    fn tell(&self, reloaded: &Reloaded) {
        for change in &reloaded.applied {
            tracing::info!(change, "configuration applied");
        }
        for change in &reloaded.restart {
            tracing::warn!(change, "this change of the configuration needs a restart");
        }
        let (applied, restart) = (reloaded.applied.len(), reloaded.restart.len());
        tracing::info!(applied, restart, "configuration reloaded");
        let mut text = "configuration reloaded".to_owned();
        for (what, changes) in [
            ("applied", &reloaded.applied),
            ("needs a restart", &reloaded.restart),
        ] {
            if !changes.is_empty() {
                text = format!("{text}; {what}: {}", changes.join(", "));
            }
        }
        self.notice(Level::Info, Kind::Reloaded, text);
    }

    fn notice(&self, level: Level, kind: Kind, text: String) {
        if let Some(control) = &self.balancer {
            control.events().tell(level, kind, None, None, text);
        }
    }
}

/// Reads what a start would work with now.
fn read(args: &[OsString]) -> Result<Fresh, String> {
    let program = program();
    let resolved = program.resolve(args).map_err(|refused| match refused {
        Refused::Flags(error) => plain(&error.to_string()),
        Refused::File(problems) => problems.join("\n"),
        Refused::Together(problem) => problem,
    })?;
    let Some((name, matches)) = resolved.matches.subcommand() else {
        return Err("there is no command".to_owned());
    };
    let values = program.effective(name, matches, &resolved.entries);
    let balancer = if name == "balancer" {
        let args = BalancerArgs::from_arg_matches(matches).map_err(|error| error.to_string())?;
        Some(balancer::settings(&args))
    } else {
        None
    };
    Ok(Fresh { values, balancer })
}

/// What the parser has to say, in a line and without its advice.
fn plain(error: &str) -> String {
    let what = error.split("\n\n").next().unwrap_or(error);
    let words: Vec<&str> = what
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    words.join(" ")
}

/// What is different about a value, if something is.
fn change(old: &Effective, new: &Effective) -> Option<String> {
    let shown = |value: &Effective| {
        let values = value.shown();
        if values.is_empty() {
            "not set".to_owned()
        } else {
            values.join(", ")
        }
    };
    let name = if new.table == LOG {
        format!("log {}", new.key)
    } else {
        new.key.clone()
    };
    new.differs(old)
        .then(|| format!("{name}: {} (was {})", shown(new), shown(old)))
}

/// What is different about the servers.
fn changed_servers(before: &[ServerReport], now: &[ServerSpec]) -> Vec<String> {
    let before: Vec<_> = before
        .iter()
        .filter(|server| server.state != ServerState::Removing)
        .collect();
    let new = now.iter().filter_map(|spec| {
        match before.iter().find(|server| server.name == spec.address) {
            None => Some(format!(
                "server {} added, weight {}",
                spec.address, spec.weight
            )),
            Some(server) if server.weight != spec.weight => Some(format!(
                "server {}: weight {} (was {})",
                spec.address, spec.weight, server.weight
            )),
            Some(_) => None,
        }
    });
    let is_gone = |server: &&&ServerReport| !now.iter().any(|spec| spec.address == server.name);
    let gone = before
        .iter()
        .filter(is_gone)
        .map(|server| format!("server {} removed", server.name));
    new.chain(gone).collect()
}

/// Catches SIGHUP before a role has anything that can be reloaded.
pub(super) fn hangups() -> Result<Signal, Failure> {
    crate::shutdown::on_hangup().map_err(|error| Failure::new(super::Exit::Failed, error))
}
