//! `bilico balancer`.

mod agent_args;
mod args;
mod door_at;
mod fleet_args;
mod join_args;
mod old_args;

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) use args::{BalancerArgs, check};
use args::{config, lock, openings, settings};

use self::old_args::Bound;
use super::admin::AdminListeners;
use super::journal_errors::journal_failure;
use super::output::{Exit, Failure, note};
use super::reload::{self, Reloader};
use super::role::{bind, tell_lock, tell_openings};
use super::settings::Started;
use super::tls::{Certificates, Doors};
use crate::access::Auth;
use crate::admin::{Admin, AdminLimits, balancer_routes};
use crate::balancer::events::Kind;
use crate::balancer::{Balancer, BalancerError, Outcome};
use crate::doors::old::OldDoors;
use crate::fleet::Fleet;
use crate::numbers::{Grouped, count, plural};
use crate::protocol::status::{ServerReport, ServerState, StatusReport};
use crate::transport::{Connect, Tcp};

/// Runs the balancer until SIGTERM, Ctrl-C or a fatal error.
pub(super) async fn run(args: BalancerArgs, started: Started) -> Result<Exit, Failure> {
    let hangup = reload::hangups()?;
    let service = args.role.service();
    let openings = openings(&args)?;
    let (doors, held) = Doors::open(&args.tls)?.unzip();
    let (to_servers, of_cluster) = args.cluster.connector()?.unzip();
    let (listener, address) = bind(&args.listen, &args.role.listen_flag).await?;
    let is_for_all = args.auth == Auth::Required && args.tls.is_required();
    let operators = AdminListeners::bind(&args.admin, &args.metrics, is_for_all).await?;
    let for_http = doors.as_ref().map(|doors| &doors.http);
    let agents = args.fleet.agents.bind(args.auth, for_http).await?;
    let (old_doors, old_at) = args.fleet.old.bind().await?;
    let audit = (args.auth == Auth::Required).then(|| "audit.log".to_owned());
    let log = args.role.log.start("balancer.log".to_owned(), audit)?;
    tell_openings(args.max_connections, &openings);
    let lock = lock(&args)?;
    let mut config = config(&args, openings, lock.clone())?;
    config.tls = doors.as_ref().map(|doors| doors.native.clone());
    if let Some(doors) = &doors {
        tracing::info!(listen = %address, "{}", doors.accepted);
    }
    let certificates = Certificates::watched(held.into_iter().chain(of_cluster));
    tell_lock(&lock, address);
    if lock.is_locked() && doors.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            "other machines can show no token: tokens are taken over TLS only, and `tls` is off"
        );
    }
    let following = CancellationToken::new();
    if let Some(accounts) = lock.accounts() {
        tokio::spawn(accounts.clone().follow(following.clone()));
    }
    let _following = following.drop_guard();
    service.status("reading the journal");
    let outcome = match Balancer::open(config) {
        Ok(balancer) => {
            let target = reload::Balancer {
                control: balancer.control(),
                fleet: balancer.fleet(),
                settings,
            };
            let control = balancer.control();
            let reloader = Reloader::new(started, log.level(), Some(target), certificates)
                .telling(service.clone());
            let reload = reloader.hook();
            reloader.follow(hangup, log.names());
            let events = balancer.control().events().clone();
            log.listen(move |level, text| events.tell(level.into(), Kind::Log, None, None, text));
            let told = operators.addresses();
            if let Some(at) = told.operators {
                let scheme = if doors.is_some() { "https" } else { "http" };
                balancer
                    .door()
                    .http_is_at(format!("{scheme}://{at}/files/"));
            }
            let admin = Admin {
                control: balancer.control(),
                door: balancer.door(),
                fleet: balancer.fleet(),
                listen: address.to_string(),
                reload,
                limits: AdminLimits::default(),
            };
            let connector: Arc<dyn Connect> = match to_servers {
                Some(secure) => secure,
                None => Arc::new(Tcp),
            };
            let locks = (lock.clone(), args.metrics_for);
            let serving = operators.serve(locks, doors.as_ref().map(|doors| &doors.http), |stop| {
                balancer_routes(admin, stop)
            });
            let stop = args.role.ready(address, told)?;
            for (name, address) in agents.addresses() {
                args.role.tell(name, address);
            }
            let mut agents = agents.serve(&lock, &balancer.fleet(), &stop);
            let old_doors = serve_old(old_doors, &old_at, &args, balancer.fleet(), &stop);
            service.ready(stop.clone(), move || {
                let control = control.clone();
                // The hub answers.
                async move {
                    control
                        .sample()
                        .await
                        .map(|sample| in_a_line(&sample.status))
                }
            });
            let outcome = balancer.run(listener, connector, stop).await;
            serving.stop().await;
            while agents.join_next().await.is_some() {}
            let _ = old_doors.await;
            outcome
        }
        Err(error) => Err(error),
    };
    drop(log);
    exit(outcome, &args)
}

/// Opens the doorways of the first monitoring system, until `stop` is cancelled.
fn serve_old(
    doors: OldDoors,
    bound: &[Bound],
    args: &BalancerArgs,
    fleet: Fleet,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    for (name, address) in bound {
        args.role.tell(name, *address);
    }
    let stop = stop.clone();
    tokio::spawn(async move {
        if doors.is_open() {
            doors.run(fleet, stop).await;
        }
    })
}

/// How the balancer is.
fn in_a_line(status: &StatusReport) -> String {
    let takes_files =
        |server: &&ServerReport| matches!(server.state, ServerState::Up | ServerState::Full);
    let up = status.servers.iter().filter(takes_files).count();
    let line = format!(
        "{} of {} up, {} waiting, {} delivered",
        Grouped(up as u64),
        count(status.servers.len(), "server"),
        count(status.queue.files(), "file"),
        Grouped(status.delivered),
    );
    match &status.trouble {
        Some(trouble) => format!("no files are accepted: {trouble}; {line}"),
        None => line,
    }
}

/// The exit code of a balancer that has ended, or its failure with the remedy.
fn exit(outcome: Result<Outcome, BalancerError>, args: &BalancerArgs) -> Result<Exit, Failure> {
    match outcome {
        Ok(outcome) => {
            if outcome.undelivered > 0 {
                let files = plural(outcome.undelivered, "file is", "files are");
                let journal = args.journal.display();
                note(format_args!(
                    "{files} not delivered yet: {journal} keeps what waits for the next start"
                ));
            }
            Ok(Exit::Done)
        }
        Err(error @ BalancerError::Limits(_)) => Err(Failure::new(Exit::Usage, error)),
        Err(error @ BalancerError::SetBack { .. }) => {
            let hint = format!(
                "nothing was removed because of it. `bilico queue adopt {}` gives the journal a \
                 new identity and skips far ahead in its request numbers; then all waiting files \
                 are delivered. If another balancer runs on a copy of this journal, stop one first",
                args.journal.display()
            );
            Err(Failure::new(Exit::Journal, error).hint(hint))
        }
        Err(BalancerError::Journal(error)) => {
            let another = format!("pass {}", args.journal_flag);
            Err(journal_failure(error, &args.journal, &another))
        }
        Err(error) => Err(Failure::new(Exit::Failed, error)),
    }
}
