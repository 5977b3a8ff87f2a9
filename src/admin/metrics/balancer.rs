//! The figures of a balancer, and of each of its servers.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::{Families, MAX_SERVER_SERIES, OTHER};
use crate::admin::history::to_f64;
use crate::admin::types::Server;
use crate::balancer::orders::Sample;
use crate::fleet::{Count, DoorName};
use crate::fleet_core::MemberReport;
use crate::protocol::status::QueueReport;

/// A balancer at one time.
#[derive(Debug)]
pub(in crate::admin) struct Balancer {
    pub(in crate::admin) sample: Arc<Sample>,
    pub(in crate::admin) servers: Vec<Server>,
    pub(in crate::admin) ready: bool,
    pub(in crate::admin) members: Arc<Vec<MemberReport>>,
    pub(in crate::admin) doors: BTreeMap<DoorName, Count>,
}

impl Collector for Balancer {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut to = Families(encoder);
        self.files(&mut to)?;
        queue(&self.sample.status.queue, &mut to)?;
        self.times(&mut to)?;
        self.state(&mut to)?;
        self.servers(&mut to)?;
        super::fleet::encode(&self.members, &self.doors, &mut to)
    }
}

impl Balancer {
    fn files(&self, to: &mut Families<'_>) -> Result<(), Error> {
        let status = &self.sample.status;
        for (name, help, value) in [
            (
                "bilico_files_accepted",
                "Files accepted from clients.",
                status.accepted,
            ),
            (
                "bilico_accepted_bytes",
                "Bytes of content of accepted files.",
                status.accepted_bytes,
            ),
            (
                "bilico_files_delivered",
                "Files that servers stored.",
                status.delivered,
            ),
            (
                "bilico_delivered_bytes",
                "Bytes of content of delivered files.",
                status.delivered_bytes,
            ),
        ] {
            to.counter(name, help, value)?;
        }
        Ok(())
    }

    fn times(&self, to: &mut Families<'_>) -> Result<(), Error> {
        to.times(
            "bilico_accept_seconds",
            "From a file that was read whole to its receipt.",
            &self.sample.accept,
        )?;
        to.times(
            "bilico_delivery_seconds",
            "From the acceptance of a file to the acknowledgement of its server.",
            &self.sample.deliver,
        )
    }

    fn state(&self, to: &mut Families<'_>) -> Result<(), Error> {
        to.gauge(
            "bilico_ready",
            "1 if files are taken and a server may get them.",
            u64::from(self.ready),
        )?;
        let uptime = self.sample.status.uptime_s;
        to.gauge("bilico_uptime_seconds", "Since the start.", uptime)?;
        to.gauge(
            "bilico_servers",
            "Servers that are configured.",
            self.servers.len(),
        )?;
        let eligible = self
            .servers
            .iter()
            .filter(|server| server.report.is_in_service())
            .count();
        to.gauge(
            "bilico_servers_eligible",
            "Servers that may get files; a server with a full window counts.",
            eligible,
        )
    }

    fn servers(&self, to: &mut Families<'_>) -> Result<(), Error> {
        let mut named: Vec<&Server> = self.servers.iter().collect();
        named.sort_by(|one, other| one.report.name.cmp(&other.report.name));
        let (named, others) = named.split_at(named.len().min(MAX_SERVER_SERIES));
        let each = |of: fn(&Server) -> Option<f64>| {
            let own = named
                .iter()
                .filter_map(move |server| Some((&*server.report.name, of(server)?)));
            let rest = others
                .iter()
                .filter_map(|server| of(server))
                .reduce(|one, other| one + other);
            let all = own.chain(rest.map(|sum| (OTHER, sum)));
            all.map(|(server, value)| ([("server", server)], value))
        };
        for (name, help, of) in GAUGES {
            let name = format!("bilico_server_{name}");
            to.gauges((&name, help), each(of))?;
        }
        for (name, help, of) in COUNTERS {
            let name = format!("bilico_server_{name}");
            to.counters((&name, help), each(of))?;
        }
        Ok(())
    }
}

fn queue(queue: &QueueReport, to: &mut Families<'_>) -> Result<(), Error> {
    let waiting = [
        ([("state", "ready")], queue.ready),
        ([("state", "delayed")], queue.delayed),
        ([("state", "in_flight")], queue.in_flight),
    ];
    let help = "Files that are accepted and not delivered.";
    to.gauges(("bilico_queue_files", help), waiting.into_iter())?;
    to.gauge(
        "bilico_queue_bytes",
        "Bytes of content of those.",
        queue.bytes,
    )?;
    to.gauge(
        "bilico_queue_max_files",
        "The most files that may wait.",
        queue.max_files,
    )?;
    to.gauge(
        "bilico_queue_max_bytes",
        "The most bytes that may wait.",
        queue.max_bytes,
    )?;
    let oldest = queue.oldest_s.unwrap_or(0.0);
    to.gauge(
        "bilico_queue_oldest_seconds",
        "How long the oldest file has waited; 0 if none waits.",
        oldest,
    )?;
    to.gauge(
        "bilico_dead_letters",
        "Files that no server can take.",
        queue.dead,
    )
}

/// A figure of each server: its name without the prefix, its help text, and how it is read; `None`
/// leaves the server out.
type OfServer = (&'static str, &'static str, fn(&Server) -> Option<f64>);

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn count(count: usize) -> f64 {
    to_f64(count as u64)
}

const GAUGES: [OfServer; 12] = [
    (
        "eligible",
        "1 if the server may get files, even if its window is full.",
        |server| Some(flag(server.report.is_in_service())),
    ),
    (
        "drained",
        "1 if an operator drains it: it gets nothing new.",
        |server| Some(flag(server.report.drained)),
    ),
    ("overloaded", "Its overload byte.", |server| {
        Some(flag(server.report.overloaded))
    }),
    ("weight", "Its weight.", |server| {
        Some(f64::from(server.report.weight))
    }),
    (
        "share_wanted",
        "The share of files that it is to get, from 0 to 1.",
        |server| Some(server.share_wanted),
    ),
    (
        "share_had",
        "The share of the last 60 seconds' files that it got.",
        |server| server.share_had,
    ),
    (
        "in_flight",
        "Files sent to it and not acknowledged yet.",
        |server| Some(count(server.report.in_flight)),
    ),
    ("in_flight_bytes", "Bytes of content of those.", |server| {
        Some(to_f64(server.report.in_flight_bytes))
    }),
    (
        "memory_bytes",
        "The resident memory of its process.",
        |server| server.report.memory.map(|memory| to_f64(memory.used)),
    ),
    (
        "memory_limit_bytes",
        "Above this it is overloaded.",
        |server| server.report.memory.map(|memory| to_f64(memory.limit)),
    ),
    ("probe_seconds", "How long the last probe took.", |server| {
        server.report.probe_ms.map(|ms| ms / 1000.0)
    }),
    (
        "window_files",
        "The most files in flight to it.",
        |server| Some(count(server.report.window_files)),
    ),
];

const COUNTERS: [OfServer; 3] = [
    ("delivered", "Files that it stored.", |server| {
        Some(to_f64(server.report.delivered))
    }),
    ("delivered_bytes", "Bytes of content of those.", |server| {
        Some(to_f64(server.report.delivered_bytes))
    }),
    (
        "returned",
        "Files that it refused, or that came back because it failed.",
        |server| Some(to_f64(server.report.returned)),
    ),
];
