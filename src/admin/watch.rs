//! Samples the balancer: at each tick for the last minute's history and the event stream, and anew
//! for each request.
//!
//! Many requests at once cost the balancer no more than one: those that wait share the next sample,
//! and samples are at least [`GAP`] apart.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::events::Listeners;
use super::history::{Minute, to_f64};
use super::limits::AdminLimits;
use super::long_answers::{LongAnswers, MAX_SCRAPES};
use super::types::{FleetState, History, HostReport, Overview, Queue, Server, ServerCounts, State};
use crate::balancer::control::Control;
use crate::balancer::orders::Sample;
use crate::fleet::Fleet;
use crate::fleet_core::{Facts, MemberReport, Trust};
use crate::protocol::status::{QueueReport, ServerReport, StatusReport};

/// The least time between two samples.
const GAP: Duration = Duration::from_millis(10);

/// How old a list of the members may be. To make one of ten thousand takes some milliseconds.
const MEMBERS_AGE: Duration = Duration::from_millis(200);

/// The most members that are no servers in a state: the worst, since those need somebody first.
pub(super) const MAX_TOLD_MEMBERS: usize = 500;

/// The last samples, and who listens to them.
pub(super) struct Watch {
    pub(super) control: Control,
    pub(super) fleet: Fleet,
    /// The members as they were a moment ago, and when that was. Who finds them too old makes the
    /// list anew under the lock, and the others wait for that.
    members: tokio::sync::Mutex<Option<(Instant, Arc<Vec<MemberReport>>)>>,
    /// Answers with metrics.
    pub(super) scrapes: LongAnswers,
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
    pub(super) fn new(
        control: Control,
        fleet: Fleet,
        listen: String,
        limits: &AdminLimits,
    ) -> Self {
        Self {
            control,
            fleet,
            members: tokio::sync::Mutex::default(),
            scrapes: LongAnswers::at_most(MAX_SCRAPES),
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
            if self.listeners.want_states()
                && let Ok(state) = self.state(&sample).await
            {
                self.listeners.tell_state(&state);
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
    pub(super) async fn state(&self, sample: &Sample) -> Result<State, ApiError> {
        let members = self.members().await?;
        Ok(State {
            overview: self.overview(sample),
            servers: self.all_servers(sample, &members),
            fleet: fleet_of(&members),
        })
    }

    /// The members of the fleet, as they are or were a moment ago.
    pub(super) async fn members(&self) -> Result<Arc<Vec<MemberReport>>, ApiError> {
        let mut latest = self.members.lock().await;
        if let Some((at, members)) = &*latest
            && at.elapsed() < MEMBERS_AGE
        {
            return Ok(members.clone());
        }
        let fleet = self.fleet.clone();
        // On a thread that may take its time.
        let members = spawn_blocking(move || fleet.members()).await;
        let members = Arc::new(members.map_err(|_| ApiError::gone())?);
        *latest = Some((Instant::now(), members.clone()));
        Ok(members)
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
    pub(super) async fn servers(&self, sample: &Sample) -> Result<Vec<Server>, ApiError> {
        Ok(self.all_servers(sample, &self.members().await?))
    }

    fn all_servers(&self, sample: &Sample, members: &[MemberReport]) -> Vec<Server> {
        let hosts = hosts_of(members);
        let host = |address: &str| hosts.get(address).map(|member| host_of(member));
        self.some_servers(sample, |_| true, host)
    }

    /// The server of this name.
    pub(super) fn server(&self, sample: &Sample, name: &str) -> Option<Server> {
        let host = |address: &str| Some(host_of(&self.fleet.at(address)?));
        self.some_servers(sample, |report| report.name == name, host)
            .pop()
    }

    fn some_servers(
        &self,
        sample: &Sample,
        is_wanted: impl Fn(&ServerReport) -> bool,
        host: impl Fn(&str) -> Option<HostReport>,
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
                host: host(&report.name),
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

/// What the members of the fleet are that are no servers: those who need somebody first.
fn fleet_of(members: &[MemberReport]) -> FleetState {
    let mut others: Vec<&MemberReport> = members
        .iter()
        .filter(|member| !member.capabilities.files)
        .collect();
    let mut states = BTreeMap::new();
    for member in &others {
        *states.entry(member.state).or_default() += 1;
    }
    others.sort_by(|one, other| {
        let key = |member: &MemberReport| (member.state.urgency(), member.trust == Trust::Claimed);
        let by_key = key(one).cmp(&key(other));
        by_key.then_with(|| one.name.cmp(&other.name))
    });
    let more = others.len().saturating_sub(MAX_TOLD_MEMBERS);
    others.truncate(MAX_TOLD_MEMBERS);
    let told = others.into_iter().map(|member| {
        let mut told = member.clone();
        // Hundreds of them are of no use in a list.
        told.facts.cores = Box::default();
        told
    });
    FleetState {
        states,
        members: told.collect(),
        more,
    }
}

/// The members by the addresses of their servers. Two may have the same one: a host that is away
/// keeps the address of its lease for a while, and the member whose server is there now counts.
fn hosts_of(members: &[MemberReport]) -> HashMap<&str, &MemberReport> {
    let is_server = |member: &&MemberReport| member.capabilities.files;
    let others = members.iter().filter(|member| !is_server(member));
    let in_turn = others.chain(members.iter().filter(is_server));
    in_turn
        .filter_map(|member| Some((member.address.as_deref()?, member)))
        .collect()
}

/// What a server's host tells, unless anybody could have told it: a row of figures has no room for
/// the mark that those need.
fn host_of(member: &MemberReport) -> HostReport {
    let nothing = Facts::default();
    let facts = match member.trust {
        Trust::Claimed => &nothing,
        Trust::Asked | Trust::Proved | Trust::Measured => &member.facts,
    };
    HostReport {
        state: member.state,
        trust: member.trust,
        heard_s: member.heard_s,
        cpu: facts.cpu,
        memory_used: facts.memory_used,
        memory_total: facts.memory_total,
        memory_ratio: facts.memory_ratio,
        disk_used: facts.disk_used,
        disk_total: facts.disk_total,
        disk_free: facts.disk_free,
        disk_ratio: facts.disk_ratio,
        disk_trouble: facts.disk_trouble.as_deref().map(str::to_owned),
        held_files: facts.held_files,
        held_bytes: facts.held_bytes,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet_core::{Identity, MemberState, Source, Told};

    /// So many members, by name.
    fn members(count: usize, trust: Trust) -> Vec<MemberReport> {
        let fleet = Fleet::default();
        for number in 0..count {
            let told = Told {
                who: Identity::Agent(format!("host-{number:04}").into()),
                name: None,
                source: Source::Token,
                trust,
                peer: None,
                every: Duration::from_mins(1),
                facts: Facts {
                    memory_ratio: Some(0.5),
                    ..Facts::default()
                },
            };
            fleet.told(told).unwrap();
        }
        fleet.members()
    }

    /// The heading counts all members that are no servers, also those that an event has no room for.
    #[test]
    fn members_that_are_not_told_one_by_one_are_counted() {
        let mut all = members(MAX_TOLD_MEMBERS + 7, Trust::Proved);
        all[0].capabilities.files = true;
        for member in &mut all[1..3] {
            member.state = MemberState::Gone;
        }
        all[9].state = MemberState::Unknown;
        let told = fleet_of(&all);
        assert_eq!((told.members.len(), told.more), (MAX_TOLD_MEMBERS, 6));
        let states = [
            (MemberState::Active, MAX_TOLD_MEMBERS + 3),
            (MemberState::Unknown, 1),
            (MemberState::Gone, 2),
        ];
        assert_eq!(told.states, BTreeMap::from(states));
        assert_eq!(told.members[0].name, all[9].name, "who needs somebody");
        let is_told = |member: &MemberReport| member.state == MemberState::Gone;
        assert!(!told.members.iter().any(is_told), "they need nobody");
    }

    /// A server took the address of a host that is away and stays known for a day: its row had the
    /// figures of either.
    #[test]
    fn of_two_members_at_one_address_the_one_with_a_server_counts() {
        let mut two = members(2, Trust::Measured);
        for place in [0, 1] {
            for (at, member) in two.iter_mut().enumerate() {
                member.address = Some("10.0.0.1:5000".to_owned());
                member.capabilities.files = at == place;
            }
            let hosts = hosts_of(&two);
            assert_eq!(hosts["10.0.0.1:5000"].id, two[place].id);
        }
    }

    #[test]
    fn figures_that_anybody_could_have_told_stand_in_no_server_s_row() {
        let told = |trust| host_of(&members(1, trust)[0]);
        assert_eq!(told(Trust::Asked).memory_ratio, Some(0.5));
        let claimed = told(Trust::Claimed);
        assert_eq!(
            (claimed.memory_ratio, claimed.trust),
            (None, Trust::Claimed)
        );
    }
}
