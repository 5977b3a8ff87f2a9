//! Shared by the roles `bilico balancer` and `bilico server`: the log, the listener, and the
//! limit of open files.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::admin::AdminAddresses;
use super::output::{Exit, Failure, note, say};
use super::service::Service;
use super::settings::values::{level, whole};
use super::settings::words::{self, one_of};
use crate::access::Lock;
use crate::descriptors::{Openings, TooFew};
use crate::logging::{self, Destination, LogConfig, LogError, LogFormat, LogGuard};
use crate::shutdown;
use crate::units::ByteSize;

/// Where and how a role logs.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
#[command(next_help_heading = "Log")]
pub(super) struct LogArgs {
    /// The directory of the log files; `-` for standard output, `none` for no log
    #[arg(
        long,
        value_name = "DIR",
        default_value = "logs",
        env = "BILICO_LOG_DIR"
    )]
    pub(super) log_dir: PathBuf,
    /// Log level: error, warn, info, debug, trace
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        value_parser = level,
        env = "BILICO_LOG_LEVEL"
    )]
    pub(super) log_level: String,
    /// Lines for people, or JSON lines for machines
    #[arg(
        long,
        value_parser = one_of(words::LOG_FORMAT),
        value_name = "FORMAT",
        default_value = "human",
        env = "BILICO_LOG_FORMAT"
    )]
    pub(super) log_format: LogFormat,
    /// A log file is rotated when it is larger than this, and every day
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_LOG_MAX_SIZE"
    )]
    pub(super) log_max_size: ByteSize,
    /// How many rotated log files are kept; with 0, no file is rotated or removed, because another
    /// program such as logrotate does it
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = whole::<usize>(..),
        env = "BILICO_LOG_KEEP"
    )]
    pub(super) log_keep: usize,
}

impl LogArgs {
    /// The flags that make another process log like this one. Defaults are left out.
    pub(super) fn flags(&self) -> Vec<String> {
        let format = if self.log_format == LogFormat::Json {
            "json"
        } else {
            "human"
        };
        let flags = [
            ("--log-dir", self.log_dir.display().to_string(), "logs"),
            ("--log-level", self.log_level.clone(), "info"),
            ("--log-format", format.to_owned(), "human"),
            (
                "--log-max-size",
                self.log_max_size.0.to_string(),
                "67108864",
            ),
            ("--log-keep", self.log_keep.to_string(), "8"),
        ];
        let changed = flags
            .into_iter()
            .filter(|(_, value, default)| value != default);
        changed
            .flat_map(|(flag, value, _)| [flag.to_owned(), value])
            .collect()
    }

    /// Where the log goes.
    pub(super) fn destination(&self) -> Destination {
        Destination::from(&*self.log_dir)
    }

    /// A prompt on standard output leaves no place for a log.
    pub(super) fn wants_terminal(&self) -> Result<(), Failure> {
        if self.destination() == Destination::Stdout {
            let error = "--log-dir - is for one role: standard output has the prompt here";
            let hint = "name a directory, or `none` for no logs";
            return Err(Failure::new(Exit::Usage, error).hint(hint));
        }
        Ok(())
    }

    pub(super) fn start(&self, file: String, audit: Option<String>) -> Result<LogGuard, Failure> {
        let config = LogConfig {
            to: self.destination(),
            file,
            max_bytes: self.log_max_size.0,
            keep: self.log_keep,
            format: self.log_format,
            level: self.log_level.clone(),
            also_stderr: Some(tracing::Level::ERROR),
            audit,
        };
        logging::init(&config).map_err(|error| {
            let exit = match error {
                LogError::Level(_) | LogError::NotADirectory { .. } => Exit::Usage,
                _ => Exit::Failed,
            };
            let hint = match error {
                LogError::NotADirectory { .. }
                | LogError::Directory { .. }
                | LogError::File { .. } => Some(
                    "name a directory that this user may write to with --log-dir; \
                         `--log-dir -` logs to standard output, `--log-dir none` nowhere",
                ),
                _ => None,
            };
            Failure {
                hint: hint.map(str::to_owned),
                ..Failure::new(exit, error)
            }
        })
    }
}

/// Flags that every role has.
#[derive(Debug, Clone, Args)]
pub(super) struct RoleArgs {
    /// Stop when standard input ends, so that this process does not outlive its parent
    #[arg(long, hide = true)]
    with_parent: bool,
    /// The flag that hints name for another address: the parent of this process has another one
    #[arg(
        long,
        hide = true,
        value_name = "FLAG",
        default_value = "--listen",
        allow_hyphen_values = true
    )]
    pub(super) listen_flag: String,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

impl RoleArgs {
    /// What this process tells systemd, if that has started it. The child of a role's own parent is
    /// no service.
    pub(super) fn service(&self) -> Service {
        if self.with_parent {
            Service::none()
        } else {
            Service::of_environment()
        }
    }

    /// The last step of a start: prints the role's addresses and returns the token that stops it.
    pub(super) fn ready(
        &self,
        address: SocketAddr,
        admin: AdminAddresses,
    ) -> Result<CancellationToken, Failure> {
        let signals = shutdown::survive_size_limits().and_then(|()| shutdown::on_signals());
        let stop = signals.map_err(|error| Failure::new(Exit::Failed, error))?;
        if self.with_parent {
            shutdown::with_parent(stop.clone());
        } else if self.log.destination() == Destination::Nowhere {
            note("no log is written (--log-dir none): only errors are told, on standard error");
        }
        let addresses = [
            ("listening", Some(address)),
            ("admin", admin.operators),
            ("metrics", admin.metrics),
        ];
        for (what, address) in addresses {
            if let Some(address) = address {
                self.tell(what, address);
            }
        }
        Ok(stop)
    }

    /// Says where something listens.
    pub(super) fn tell(&self, what: &str, address: SocketAddr) {
        // All lines of a log have the log's format.
        if self.log.destination() == Destination::Stdout {
            tracing::info!("{what} on {address}");
        } else {
            say(format_args!("{what} on {address}"));
        }
    }
}

/// Binds a role's address. Hints name `flag` as the one that takes another address.
pub(super) async fn bind(address: &str, flag: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = match TcpListener::bind(address).await {
        Ok(listener) => listener.local_addr().map(|address| (listener, address)),
        Err(error) => Err(error),
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
            // The owner need not be a listener: an outgoing connection keeps its local port, too,
            // and for a minute after its end no process owns it.
            Failure::new(
                Exit::Failed,
                format!("port {port} is in use by another program"),
            )
            .hint(format!(
                "`ss -tanp 'sport = :{port}'` shows which one (TIME-WAIT ends within a minute); \
                 pass {flag} to use another address"
            ))
        }
        _ => Failure::new(Exit::Failed, format!("cannot listen on {address}: {error}")),
    })
}

/// Reports that the limit of open files is too low for the role.
pub(super) fn too_few(error: TooFew) -> Failure {
    Failure::new(Exit::Failed, error).hint(RAISE)
}

const RAISE: &str =
    "raise the limit of open files: `ulimit -n` in a shell, LimitNOFILE= with systemd";

/// Says in the log who may do what: as a warning where other machines may come.
pub(super) fn tell_lock(lock: &Lock, listen: SocketAddr) {
    if listen.ip().is_loopback() {
        tracing::info!(%listen, "{lock}");
    } else {
        tracing::warn!(%listen, "{lock}");
    }
}

/// Logs a warning if the limit of open files allows fewer connections than `wanted`.
pub(super) fn tell_openings(wanted: u32, openings: &Openings) {
    let Openings {
        limit, connections, ..
    } = *openings;
    if connections < wanted as usize {
        let max_connections = wanted;
        tracing::warn!(
            connections,
            max_connections,
            open_files = limit,
            "fewer connections than max-connections: {RAISE}, or lower max-connections"
        );
    }
}
