//! Reads the configuration again while a role runs, and applies the settings that a running role
//! can change.
//!
//! A reload reads what a start would read now: the same flags and environment, and the file as it
//! is now. If any of it is invalid, nothing changes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;
use tokio::signal::unix::Signal;
use tokio::sync::Mutex;

use super::output::{Exit, Failure};
use super::service::Service;
use super::settings::keys::LOG;
use super::settings::{Effective, Program, Refused, Started};
use super::tls::Certificates;
use crate::access::Lock;
use crate::admin::Reload;
use crate::balancer::Settings;
use crate::balancer::control::Control;
use crate::balancer::events::{Kind, Level};
use crate::config::{Reloaded, ServerSpec};
use crate::fleet::Fleet;
use crate::logging::{LogLevel, LogNames};
use crate::protocol::status::{ServerReport, ServerState};

/// Keys of the table `[balancer]` that a reload applies.
pub(super) const BALANCER: [&str; 18] = [
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
    "servers-speak",
    "fall",
    "rise",
    "stall-timeout",
    "old-style-timeout",
    "idle-timeout",
];

/// The key of the table `[log]` that a reload applies.
const LEVEL: &str = "level";

pub(super) fn is_applied(table: &str, key: &str) -> bool {
    match table {
        "balancer" => BALANCER.contains(&key),
        LOG => key == LEVEL,
        _ => false,
    }
}

/// Reloads a role's configuration, one reload at a time.
pub(super) struct Reloader {
    args: Vec<OsString>,
    file: Option<PathBuf>,
    in_force: Mutex<Vec<Effective>>,
    program: fn() -> Program,
    level: LogLevel,
    /// `None` for a server.
    balancer: Option<Balancer>,
    certificates: Certificates,
    service: Service,
}

/// Reads a balancer's settings from its parsed command line.
type ReadSettings = fn(&ArgMatches) -> Result<Settings, String>;

/// A balancer as its reloads see it.
#[derive(Clone)]
pub(super) struct Balancer {
    pub(super) control: Control,
    pub(super) fleet: Fleet,
    /// Reads a balancer's settings from a command line.
    pub(super) settings: ReadSettings,
}

/// The settings that a start would have now.
struct Fresh {
    values: Vec<Effective>,
    balancer: Option<Settings>,
}

impl Reloader {
    pub(super) fn new(
        started: Started,
        level: LogLevel,
        balancer: Option<Balancer>,
        certificates: Certificates,
    ) -> Self {
        let Started {
            args,
            file,
            values,
            program,
        } = started;
        Self {
            args,
            file,
            in_force: Mutex::new(values),
            program,
            level,
            balancer,
            certificates,
            service: Service::none(),
        }
    }

    /// Tells this service manager of each reload, too.
    pub(super) fn telling(self, service: Service) -> Arc<Self> {
        Arc::new(Self { service, ..self })
    }

    /// Whether there is something to read again.
    fn has_sources(&self) -> bool {
        self.file.is_some() || !self.certificates.is_empty()
    }

    /// The reload for the admin API; `None` without a configuration file and certificates.
    pub(super) fn hook(self: &Arc<Self>) -> Option<Reload> {
        let reloader = self.clone();
        self.has_sources().then(|| -> Reload {
            Arc::new(move || {
                let reloader = reloader.clone();
                Box::pin(async move { reloader.reload().await })
            })
        })
    }

    /// At each SIGHUP, opens the log file by its name again, then reloads.
    pub(super) fn follow(self: Arc<Self>, mut hangup: Signal, log: LogNames) {
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                let names = log.clone();
                // The log's disk may be slow.
                let _ = tokio::task::spawn_blocking(move || names.reopen()).await;
                if self.has_sources() {
                    // The outcome is logged.
                    let _ = self.reload().await;
                } else {
                    let log = if log.is_empty() {
                        "there is no log file to open again"
                    } else {
                        "the log file was opened again"
                    };
                    tracing::info!(
                        "SIGHUP: {log}; no configuration file to reload (--config names one)"
                    );
                }
            }
        });
    }

    /// Reads the configuration again and applies it. The error has one problem per line; then
    /// nothing has changed.
    pub(super) async fn reload(&self) -> Result<Reloaded, String> {
        self.service.reloading();
        let result = {
            let mut in_force = self.in_force.lock().await;
            self.renew(&mut in_force).await
        };
        self.service
            .reloaded(result.as_ref().err().map(String::as_str));
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
        let program = self.program;
        let settings = self.balancer.as_ref().map(|balancer| balancer.settings);
        // The file's disk may be slow.
        let read = tokio::task::spawn_blocking(move || read(&args, program, settings)).await;
        let Fresh { values, balancer } = read.map_err(|error| error.to_string())??;
        let certificates = self
            .certificates
            .read()
            .map_err(|error| error.to_string())?;
        let mut reloaded = Reloaded::default();
        if let (Some(Balancer { control, fleet, .. }), Some(settings)) = (&self.balancer, balancer)
        {
            let stopping = || "the balancer is stopping".to_owned();
            let before = control.sample().await.ok_or_else(stopping)?.status.servers;
            let registered = fleet.registered();
            reloaded.applied = changed_servers(&before, &settings.servers, &registered);
            control
                .apply(&Lock::own(), settings)
                .await
                .map_err(|error| error.to_string())?;
        }
        reloaded.applied.extend(certificates.put());
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
            // Changes of servers are reported against the servers in force, which an operator may
            // have changed since the file was read.
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
        if let Some(Balancer { control, .. }) = &self.balancer {
            control.events().tell(level, kind, None, None, text);
        }
    }
}

/// Reads the settings that a start would have now.
fn read(
    args: &[OsString],
    program: fn() -> Program,
    settings: Option<ReadSettings>,
) -> Result<Fresh, String> {
    let program = program();
    let resolved = program.resolve(args).map_err(|refused| match refused {
        Refused::Flags(error) => plain(&error.to_string()),
        Refused::File(problems) => problems.join("\n"),
        Refused::Together(problem) => problem,
    })?;
    let Some((_, matches)) = resolved.matches.subcommand() else {
        return Err("the command line has no subcommand".to_owned());
    };
    let values = resolved.effective(&program);
    let balancer = settings.map(|settings| settings(matches)).transpose()?;
    Ok(Fresh { values, balancer })
}

/// clap's message in one line, without its usage and tips.
fn plain(error: &str) -> String {
    let what = error.split("\n\n").next().unwrap_or(error);
    let words: Vec<&str> = what
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    words.join(" ")
}

/// How a value changed; `None` if it did not.
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

/// How the servers changed, one line each.
fn changed_servers(
    before: &[ServerReport],
    now: &[ServerSpec],
    registered: &[ServerSpec],
) -> Vec<String> {
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
    let is_gone = |server: &&&ServerReport| {
        let mut staying = now.iter().chain(registered);
        !staying.any(|spec| spec.address == server.name)
    };
    let gone = before
        .iter()
        .filter(is_gone)
        .map(|server| format!("server {} removed", server.name));
    new.chain(gone).collect()
}

/// Catches SIGHUP. Call it first in a start: an uncaught SIGHUP ends the process.
pub(super) fn hangups() -> Result<Signal, Failure> {
    crate::shutdown::on_hangup().map_err(|error| Failure::new(Exit::Failed, error))
}
