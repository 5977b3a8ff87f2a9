//! Samples the balancer: at each tick for the last minute's history and the event stream, and anew
//! for each request.
//!
//! Many requests at once cost the balancer no more than one: those that wait share the next sample,
//! and samples are at least [`GAP`] apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::events::Listeners;
use super::history::{Minute, to_f64};
use super::limits::AdminLimits;
use super::types::{History, Overview, Queue, Server, ServerCounts, State};
use crate::balancer::control::Control;
use crate::balancer::orders::Sample;
use crate::protocol::status::{QueueReport, ServerReport, StatusReport};

/// The least time between two samples.
const GAP: Duration = Duration::from_millis(10);

/// The last samples, and who listens to them.
pub(super) struct Watch {
    pub(super) control: Control,
    listen: String,
    minute: Mutex<Minute>,
    /// The last sample, and when it was asked for. A request that finds it too old takes the next
    /// one under the lock, and the others wait for that.
    latest: tokio::sync::Mutex<Option<(Instant, Arc<Sample>)>>,
    pub(super) listeners: Listeners,
    /// The time between two states on the event stream.
    tick: Duration,
}

impl Watch {
    pub(super) fn new(control: Control, listen: String, limits: &AdminLimits) -> Self {
        Self {
            control,
            listen,
            minute: Mutex::default(),
            latest: tokio::sync::Mutex::default(),
            listeners: Listeners::new(limits.keep_alive),
            tick: limits.tick,
        }
    }

    /// Keeps the history and the event stream until `stop` is cancelled, then ends the stream.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let telling = async {
            tokio::join!(self.keep(), self.listeners.forward(&self.control));
        };
        stop.run_until_cancelled(telling).await;
        self.listeners.dismiss();
    }

    async fn keep(&self) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(sample) = self.control.sample().await else {
                return;
            };
            self.minute().push(&sample);
            if self.listeners.want_states() {
                self.listeners.tell_state(&self.state(&sample));
            }
        }
    }

    /// A sample taken no earlier than this call.
    pub(super) async fn sample(&self) -> Result<Arc<Sample>, ApiError> {
        let called = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some((asked, sample)) = &*latest {
            if *asked >= called {
                return Ok(sample.clone());
            }
            tokio::time::sleep(GAP.saturating_sub(asked.elapsed())).await;
        }
        let asked = Instant::now();
        let sample = Arc::new(self.control.sample().await.ok_or_else(ApiError::gone)?);
        *latest = Some((asked, sample.clone()));
        Ok(sample)
    }

    /// Why no file gets to a server, if so: no files are taken, or no server is eligible.
    pub(super) fn trouble(&self, status: &StatusReport) -> Option<String> {
        self.refusing(status).or_else(|| no_server(&status.servers))
    }

    /// Why no files are taken, if so.
    fn refusing(&self, status: &StatusReport) -> Option<String> {
        if self.control.is_stopping() {
            Some("the balancer is stopping".to_owned())
        } else {
            status.trouble.clone()
        }
    }

    /// The balancer and its servers.
    pub(super) fn state(&self, sample: &Sample) -> State {
        State {
            overview: self.overview(sample),
            servers: self.servers(sample),
        }
    }

    /// The balancer at a glance.
    pub(super) fn overview(&self, sample: &Sample) -> Overview {
        let status = &sample.status;
        let minute = self.minute();
        Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: status.uptime_s,
            listen: self.listen.clone(),
            accepting: self.refusing(status).is_none(),
            reason: self.trouble(status),
            accepted: status.accepted,
            accepted_bytes: status.accepted_bytes,
            delivered: status.delivered,
            delivered_bytes: status.delivered_bytes,
            rates: minute.rates(),
            latency: minute.latencies(),
            history: History {
                accepted: minute.accepted.history(),
                delivered: minute.delivered.history(),
            },
            queue: queue_of(&status.queue),
            servers: ServerCounts {
                total: status.servers.len(),
                eligible: status
                    .servers
                    .iter()
                    .filter(|server| server.is_in_service())
                    .count(),
            },
        }
    }

    /// All servers.
    pub(super) fn servers(&self, sample: &Sample) -> Vec<Server> {
        self.some_servers(sample, |_| true)
    }

    /// The server of this name.
    pub(super) fn server(&self, sample: &Sample, name: &str) -> Option<Server> {
        self.some_servers(sample, |report| report.name == name)
            .pop()
    }

    fn some_servers(
        &self,
        sample: &Sample,
        is_wanted: impl Fn(&ServerReport) -> bool,
    ) -> Vec<Server> {
        let minute = self.minute();
        let reports = &sample.status.servers;
        let weights = reports
            .iter()
            .filter(|report| report.is_in_service())
            .map(|report| u64::from(report.weight))
            .sum();
        let had = |report: &ServerReport| {
            minute
                .server(&report.name)
                .map_or(report.delivered, |stored| {
                    stored.files.since_oldest(report.delivered)
                })
        };
        let all = reports.iter().map(had).sum();
        let server = |report: &ServerReport| {
            let stored = minute.server(&report.name);
            let wanted = u64::from(report.weight) * u64::from(report.is_in_service());
            Server {
                share_wanted: share(wanted, weights).unwrap_or(0.0),
                share_had: share(had(report), all),
                files_per_s: stored.map_or(0.0, |stored| stored.files.rate()),
                bytes_per_s: stored.map_or(0.0, |stored| stored.bytes.rate()),
                history: stored.map_or_else(Vec::new, |stored| stored.files.history()),
                ordered: sample.ordered.get(&report.name).cloned(),
                report: report.clone(),
            }
        };
        let wanted = reports.iter().filter(|report| is_wanted(report));
        wanted.map(server).collect()
    }

    fn minute(&self) -> MutexGuard<'_, Minute> {
        self.minute.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn queue_of(queue: &QueueReport) -> Queue {
    Queue {
        files: queue.files(),
        ready: queue.ready,
        delayed: queue.delayed,
        in_flight: queue.in_flight,
        bytes: queue.bytes,
        oldest_s: queue.oldest_s,
        dead: queue.dead,
        max_files: queue.max_files,
        max_bytes: queue.max_bytes,
    }
}

fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| to_f64(part) / to_f64(all))
}

/// Why no server is eligible, if so.
fn no_server(servers: &[ServerReport]) -> Option<String> {
    if servers.iter().any(ServerReport::is_in_service) {
        return None;
    }
    let first = servers
        .iter()
        .find_map(|server| Some((&server.name, server.reason.as_ref()?)));
    Some(match first {
        None => "no server may get files".to_owned(),
        Some((name, reason)) => format!("no server may get files; {name}: {reason}"),
    })
}
