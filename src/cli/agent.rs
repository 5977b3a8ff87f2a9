//! `bilico agent`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;

use super::output::{Exit, Failure, note, warn};
use super::secrets::{self, read_file};
use super::service::Service;
use super::settings::values::positive;
use super::settings::words::{self, one_of};
use super::tls::CaArg;
use crate::agent::{Config, Dialect, To, Told, can_sign, run as tell};
use crate::host::Host;
use crate::protocol::is_member_name;
use crate::protocol::limits::MAX_MEMBER_NAME;
use crate::shutdown;
use crate::text::Printable;
use crate::transport::{Connect, Tcp};

/// Tell a balancer the figures of this host, which stores no files: processor, memory, disk and network
#[derive(Debug, Args)]
#[command(
    after_help = "It runs until it is stopped, and tries again whatever breaks. docs/fleet.md has \
                  the ways, and what the balancer needs for each."
)]
pub(super) struct AgentArgs {
    /// Where to tell it: HOST:PORT of a balancer; udp://HOST:PORT of its --agents-udp, signed with the
    /// token if there is one; wss://HOST:PORT of its --agents-http, or ws:// where that has no TLS
    #[arg(
        long,
        value_name = "PLACE",
        default_value = "127.0.0.1:60002",
        env = "BILICO_AGENT_TO"
    )]
    to: To,
    /// How often
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5s",
        value_parser = seconds,
        env = "BILICO_AGENT_EVERY"
    )]
    every: Duration,
    /// A directory on the file system whose space and rates are told
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        env = "BILICO_AGENT_DIRECTORY"
    )]
    directory: PathBuf,
    /// With HOST:PORT: what this host is to be called where people look, at most 64 bytes. Without it:
    /// its host name
    #[arg(long, value_name = "NAME", value_parser = name, env = "BILICO_AGENT_NAME")]
    name: Option<String>,
    /// File with the token that says who this is. Without it: the credential `bilico-token` of its
    /// service, or `BILICO_TOKEN`; never what `bilico login` has saved for the commands of a person
    #[arg(long, value_name = "FILE", env = "BILICO_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// With wss:// and ws://: get an OAuth 2.0 token for this user first, with what is in the token's
    /// file as the secret
    #[arg(long, value_name = "NAME", env = "BILICO_AGENT_USER")]
    user: Option<String>,
    /// With HOST:PORT: file with the secret of a balancer with --join secret, to prove by it instead of
    /// a token
    #[arg(long, value_name = "FILE", env = "BILICO_REGISTER_SECRET_FILE")]
    register_secret_file: Option<PathBuf>,
    /// Whose words to use: those of this program, or those of the first systems' agents, for their
    /// servers
    #[arg(
        long,
        value_parser = one_of(words::DIALECT),
        default_value = "native",
        env = "BILICO_AGENT_DIALECT"
    )]
    dialect: Dialect,
    #[command(flatten)]
    ca: CaArg,
    /// Stop when standard input ends, so that this process does not outlive its parent
    #[arg(long, hide = true)]
    with_parent: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let every = positive(text)?;
    if every < Duration::from_secs(1) || every > Duration::from_hours(1) {
        return Err("it must be between 1s and 1h".to_owned());
    }
    Ok(every)
}

fn name(text: &str) -> Result<String, String> {
    if is_member_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a name has 1 to {MAX_MEMBER_NAME} bytes, and no control characters"
        ))
    }
}

/// Tells figures until a signal comes.
pub(super) async fn run(args: AgentArgs) -> Result<Exit, Failure> {
    let config = args.config()?;
    let stop = shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    if args.with_parent {
        shutdown::with_parent(stop.clone());
    }
    let service = Service::of_environment();
    let now = Arc::new(Mutex::new("not told yet".to_owned()));
    let latest = now.clone();
    // It works as soon as it tries: the balancer may come later.
    service.ready(stop.clone(), move || {
        std::future::ready(latest.lock().ok().map(|line| line.clone()))
    });
    let to = config.to.to_string();
    let every = crate::units::format_duration(config.every);
    let mut show = |told: Told| {
        let line = line(&told, &to, &every);
        match &told {
            Told::Telling(_) | Told::Sending => note(&line),
            Told::Refused(_) | Told::Away(_) => warn(&line),
        }
        if let Ok(mut now) = now.lock() {
            *now = line;
        }
    };
    tell(config, stop, &mut show).await.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot measure on this system: {error}"),
        )
    })?;
    Ok(Exit::Done)
}

/// What became of it, in a line.
fn line(told: &Told, to: &str, every: &str) -> String {
    match told {
        Told::Telling(Some(name)) => {
            let name = Printable(&**name);
            format!("telling {to} the figures of this host every {every}, as {name}")
        }
        Told::Telling(None) => format!("telling {to} the figures of this host every {every}"),
        Told::Sending => format!(
            "sending {to} a datagram every {every}; nobody answers datagrams: `bilico fleet ls` at the \
             balancer shows whether they are taken"
        ),
        Told::Refused(reason) => {
            format!(
                "{to} does not take the figures: {}; it is tried again",
                Printable(reason)
            )
        }
        Told::Away(reason) => format!("{to}: {}; it is tried again", Printable(reason)),
    }
}

impl AgentArgs {
    /// Refuses what has no meaning at the place: nobody is to believe that it has one.
    fn check(&self) -> Result<(), Failure> {
        let usage = |error: String| Failure::new(Exit::Usage, error);
        let is_native = matches!(self.to, To::Native(_));
        let is_secure = matches!(self.to, To::SecureWeb(_));
        let is_web = is_secure || matches!(self.to, To::Web(_));
        if is_native && self.dialect == Dialect::Old {
            let error = "--dialect old is for udp://, wss:// and ws://";
            return Err(usage(error.to_owned()));
        }
        if self.user.is_some() && !is_web {
            return Err(usage(
                "--user is for wss:// and ws://: elsewhere the token says who this is".to_owned(),
            ));
        }
        if self.ca.ca.is_some() && !is_native && !is_secure {
            let error =
                "--ca is for HOST:PORT and wss://: an agent speaks udp:// and ws:// without TLS";
            let hint = if is_web {
                "say `wss://` for `ws://`"
            } else {
                "leave `udp://` or --ca out"
            };
            return Err(usage(error.to_owned()).hint(hint));
        }
        for (flag, is_given) in [
            ("--name", self.name.is_some()),
            (
                "--register-secret-file",
                self.register_secret_file.is_some(),
            ),
        ] {
            if is_given && !is_native {
                let error =
                    format!("{flag} is for HOST:PORT: elsewhere an agent does not register");
                return Err(usage(error).hint("leave the flag out, or what stands before `://`"));
            }
        }
        Ok(())
    }

    fn config(&self) -> Result<Config, Failure> {
        self.check()?;
        let usage = |error: &str, hint: &str| Failure::new(Exit::Usage, error).hint(hint);
        // What a person's login has saved is no word of this host, and whoever listens at this place
        // may be no balancer.
        let token = secrets::given(self.token_file.as_deref())?;
        if self.user.is_some() && token.is_none() {
            let error = "--user needs a secret";
            return Err(usage(error, "pass --token-file FILE"));
        }
        if let (To::Udp(_), Some(token)) = (&self.to, &token) {
            if self.dialect == Dialect::Old {
                let error = "a token is for signed datagrams, which --dialect old has not";
                return Err(usage(error, "leave the token or --dialect out"));
            }
            if !can_sign(token) {
                let error = "the token is none that `bilico token create` has made: it cannot sign";
                return Err(usage(error, "pass --token-file FILE with a whole one"));
            }
        }
        let join = self.register_secret_file.as_deref();
        let join_secret = join.map(|path| read_file(path, "secret")).transpose()?;
        let name = self.name.clone().or_else(host_name);
        Ok(Config {
            to: self.to.clone(),
            dialect: self.dialect,
            every: self.every,
            directory: self.directory.clone(),
            name: name.map(Arc::from),
            token,
            user: self.user.clone(),
            join_secret,
            connector: self.connector()?,
        })
    }

    fn connector(&self) -> Result<Arc<dyn Connect>, Failure> {
        match self.to {
            To::Web(_) | To::Udp(_) => Ok(Arc::new(Tcp)),
            To::Native(_) => self.ca.connector(),
            To::SecureWeb(_) => self.ca.to_http()?.ok_or_else(|| {
                let error =
                    "wss:// needs the authority that the balancer's certificate is signed by";
                Failure::new(Exit::Usage, error).hint("pass --ca FILE")
            }),
        }
    }
}

/// The name of this host, if it is a name for a member.
fn host_name() -> Option<String> {
    name(&Host::name()?).ok()
}
