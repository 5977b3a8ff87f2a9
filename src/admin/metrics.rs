//! What Prometheus reads: every figure of a role, as a bounded number of series.
//!
//! Asked for `OpenMetrics`, it gets that; anybody else gets the older text format, in which a
//! counter's family has the name of its only sample.

use std::fmt::{Error, Write};
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use super::error::ApiError;
use super::history::to_f64;
use super::types::Server;
use crate::balancer::orders::Sample;
use crate::server::ServerGauge;

/// The most servers with series of their own; the others are summed up as one.
pub const MAX_SERVER_SERIES: usize = 1000;

/// What the servers beyond those are called.
const OTHER: &str = "other";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The upper ends of the buckets of times, in microseconds.
const BUCKETS: [u64; 18] = [
    250,
    500,
    1000,
    2500,
    5000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// The figures of a role, in the format that is asked for.
pub(super) fn answer(headers: &HeaderMap, figures: impl Collector) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    registry.register_collector(Box::new(Process));
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        return ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written",
        )
        .into_response();
    }
    let accept = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if accept
        .into_iter()
        .any(|accept| accept.contains("application/openmetrics-text"))
    {
        return ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response();
    }
    ([(header::CONTENT_TYPE, TEXT)], older(&text)).into_response()
}

/// The same in the older text format.
fn older(text: &str) -> String {
    let mut older = String::with_capacity(text.len() + text.len() / 16);
    // The family's help comes before its type.
    let mut help = "";
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = line;
            continue;
        }
        let Some(described) = line.strip_prefix("# TYPE ") else {
            if !line.starts_with('#') {
                older.push_str(line);
                older.push('\n');
            }
            continue;
        };
        let (name, kind) = described.split_once(' ').unwrap_or((described, "untyped"));
        let total = if kind == "counter" { "_total" } else { "" };
        let help = help
            .strip_prefix("# HELP ")
            .and_then(|help| help.split_once(' '))
            .map_or("", |(_, help)| help);
        let _ = write!(
            older,
            "# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}\n"
        );
    }
    older
}

/// Writes families one after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge<V: EncodeGaugeValue + Copy>(
        &mut self,
        name: &str,
        help: &str,
        value: V,
    ) -> Result<(), Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// A gauge of several with a label.
    fn gauges<V: EncodeGaugeValue>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl Iterator<Item = (impl AsRef<str>, V)>,
    ) -> Result<(), Error> {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            family
                .encode_family(&[(label, of.as_ref())])?
                .encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A counter of several with a label.
    fn counters<V: EncodeCounterValue>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl Iterator<Item = (impl AsRef<str>, V)>,
    ) -> Result<(), Error> {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels = [(label, of.as_ref())];
            let mut counter = family.encode_family(&labels)?;
            counter.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// Times in microseconds, told in seconds.
    fn times(&mut self, name: &str, help: &str, times: &Histogram<u64>) -> Result<(), Error> {
        let (sum, count, buckets) = bucketed(times);
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// The sum in seconds, the count, and how many there are in each bucket. What was counted once in a
/// bucket stays there, since the steps of the histogram do not change: so do the sum and the
/// buckets only grow.
fn bucketed(times: &Histogram<u64>) -> (f64, u64, Vec<(f64, u64)>) {
    let mut buckets: Vec<(f64, u64)> = BUCKETS.iter().map(|end| (to_f64(*end) / 1e6, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let (mut sum, mut all) = (0.0, 0);
    for step in times.iter_recorded() {
        let (value, count) = (step.value_iterated_to(), step.count_at_value());
        // Where the step begins decides: an end of a bucket within a step must not hide what is as
        // short as the end.
        let place = BUCKETS.partition_point(|end| *end < times.lowest_equivalent(value));
        if let Some((_, counted)) = buckets.get_mut(place) {
            *counted += count;
        }
        sum += to_f64(times.median_equivalent(value)) / 1e6 * to_f64(count);
        all += count;
    }
    (sum, all, buckets)
}

/// Something that is told of each server: its name without the prefix, what it is, and the figure,
/// if there is one.
type OfServer<'a> = (&'a str, &'a str, &'a dyn Fn(&Server) -> Option<f64>);

/// What a balancer tells.
#[derive(Debug)]
pub(super) struct Balancer {
    pub(super) sample: Arc<Sample>,
    pub(super) servers: Vec<Server>,
    pub(super) ready: bool,
}

impl Collector for Balancer {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut to = Families(encoder);
        let (status, queue) = (&self.sample.status, &self.sample.status.queue);
        to.counter(
            "bilico_files_accepted",
            "Files accepted from clients.",
            status.accepted,
        )?;
        to.counter(
            "bilico_accepted_bytes",
            "Bytes of content of accepted files.",
            status.accepted_bytes,
        )?;
        to.counter(
            "bilico_files_delivered",
            "Files that servers stored.",
            status.delivered,
        )?;
        to.counter(
            "bilico_delivered_bytes",
            "Bytes of content of delivered files.",
            status.delivered_bytes,
        )?;
        let waiting = [
            ("ready", queue.ready),
            ("delayed", queue.delayed),
            ("in_flight", queue.in_flight),
        ];
        let files = (
            "bilico_queue_files",
            "Files that are accepted and not delivered.",
        );
        to.gauges(files, "state", waiting.into_iter())?;
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
        )?;
        to.times(
            "bilico_accept_seconds",
            "From a file that was read whole to its receipt.",
            &self.sample.accept,
        )?;
        to.times(
            "bilico_delivery_seconds",
            "From the acceptance of a file to the acknowledgement of its server.",
            &self.sample.deliver,
        )?;
        to.gauge(
            "bilico_ready",
            "1 if files are taken and a server may get them.",
            u64::from(self.ready),
        )?;
        to.gauge("bilico_uptime_seconds", "Since the start.", status.uptime_s)?;
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
            "Servers that may get files; a full window is no reason against it.",
            eligible,
        )?;
        self.servers(&mut to)
    }
}

impl Balancer {
    fn servers(&self, to: &mut Families<'_>) -> Result<(), Error> {
        let mut named: Vec<&Server> = self.servers.iter().collect();
        named.sort_by(|one, other| one.report.name.cmp(&other.report.name));
        let (named, others) = named.split_at(named.len().min(MAX_SERVER_SERIES));
        // What is asked of each, and of the others together.
        let each = |of: &dyn Fn(&Server) -> Option<f64>| {
            let own = named
                .iter()
                .filter_map(|server| Some((server.report.name.clone(), of(server)?)));
            let rest = others
                .iter()
                .filter_map(|server| of(server))
                .reduce(|one, other| one + other);
            own.chain(rest.map(|sum| (OTHER.to_owned(), sum)))
                .collect::<Vec<_>>()
        };
        let flag = |is_set: bool| Some(f64::from(u8::from(is_set)));
        let count = |count: usize| Some(to_f64(count as u64));
        let gauges: [OfServer<'_>; 12] = [
            (
                "eligible",
                "1 if the server may get files; a full window is no reason against it.",
                &|server| flag(server.report.is_in_service()),
            ),
            (
                "drained",
                "1 if an operator wants it to get nothing new.",
                &|server| flag(server.report.drained),
            ),
            ("overloaded", "Its overload byte.", &|server| {
                flag(server.report.overloaded)
            }),
            ("weight", "Its weight.", &|server| {
                Some(f64::from(server.report.weight))
            }),
            (
                "share_wanted",
                "The share of files that it is to get, from 0 to 1.",
                &|server| Some(server.share_wanted),
            ),
            (
                "share_had",
                "The share of the last 60 seconds' files that it got.",
                &|server| server.share_had,
            ),
            (
                "in_flight",
                "Files sent to it and not acknowledged yet.",
                &|server| count(server.report.in_flight),
            ),
            ("in_flight_bytes", "Bytes of content of those.", &|server| {
                Some(to_f64(server.report.in_flight_bytes))
            }),
            (
                "memory_bytes",
                "The resident memory of its process.",
                &|server| server.report.memory.map(|memory| to_f64(memory.used)),
            ),
            (
                "memory_limit_bytes",
                "Above this it is overloaded.",
                &|server| server.report.memory.map(|memory| to_f64(memory.limit)),
            ),
            (
                "probe_seconds",
                "How long the last probe took.",
                &|server| server.report.probe_ms.map(|ms| ms / 1000.0),
            ),
            (
                "window_files",
                "The most files in flight to it.",
                &|server| count(server.report.window_files),
            ),
        ];
        for (name, help, of) in gauges {
            to.gauges(
                (&format!("bilico_server_{name}"), help),
                "server",
                each(of).into_iter(),
            )?;
        }
        let counters: [OfServer<'_>; 3] = [
            ("delivered", "Files that it stored.", &|server| {
                Some(to_f64(server.report.delivered))
            }),
            ("delivered_bytes", "Bytes of content of those.", &|server| {
                Some(to_f64(server.report.delivered_bytes))
            }),
            (
                "returned",
                "Files that it refused, or that came back because it failed.",
                &|server| Some(to_f64(server.report.returned)),
            ),
        ];
        for (name, help, of) in counters {
            to.counters(
                (&format!("bilico_server_{name}"), help),
                "server",
                each(of).into_iter(),
            )?;
        }
        Ok(())
    }
}

impl Collector for ServerGauge {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut to = Families(encoder);
        let (files, bytes) = self.stored();
        to.counter("bilico_files_stored", "Files stored.", files)?;
        to.counter("bilico_stored_bytes", "Bytes of content of those.", bytes)?;
        to.gauge(
            "bilico_overloaded",
            "The overload byte.",
            u64::from(self.is_overloaded()),
        )?;
        if let Some(memory) = self.memory() {
            to.gauge(
                "bilico_memory_bytes",
                "The resident memory that the overload monitor sees.",
                memory.used,
            )?;
            to.gauge(
                "bilico_memory_limit_bytes",
                "Above this the server is overloaded.",
                memory.limit,
            )?;
        }
        to.gauge(
            "bilico_connections",
            "Open connections of balancers.",
            self.connections(),
        )?;
        to.gauge(
            "bilico_ready",
            "1 if files can be stored.",
            u64::from(self.trouble().is_none()),
        )?;
        to.gauge(
            "bilico_uptime_seconds",
            "Since the start.",
            self.uptime().as_secs_f64(),
        )
    }
}

/// What every process tells.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut to = Families(encoder);
        let build = [(env!("CARGO_PKG_VERSION"), 1u64)];
        to.gauges(
            ("bilico_build_info", "The version of the program."),
            "version",
            build.into_iter(),
        )?;
        if let Some(lost) = crate::logging::lost_lines() {
            let help = "Lines that the log lost: its disk was too slow, full or failing.";
            to.counter("bilico_log_lines_lost", help, lost as u64)?;
        }
        let (Ok(pid), Ok(mut system)) = (sysinfo::get_current_pid(), System::new()) else {
            return Ok(());
        };
        let what = ProcessRefreshKind::nothing()
            .with_memory()
            .with_cpu()
            .without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
        let Some(process) = system.process(pid) else {
            return Ok(());
        };
        to.gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            process.memory(),
        )?;
        let cpu = [to_f64(process.accumulated_cpu_time()) / 1000.0];
        let mut family = to.0.encode_descriptor(
            "process_cpu_seconds",
            "Processor time, user and system.",
            None,
            MetricType::Counter,
        )?;
        cpu.iter()
            .try_for_each(|seconds| family.encode_counter::<NoLabelSet, _, u64>(seconds, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_buckets_and_stay_there() {
        let mut times = Histogram::<u64>::new_with_max(3_600_000_000, 2).unwrap();
        for micros in [0, 250, 251, 300_000_000, 3_600_000_000] {
            times.saturating_record(micros);
        }
        let (sum, count, buckets) = bucketed(&times);
        assert_eq!((count, buckets.len()), (5, BUCKETS.len() + 1));
        assert!((sum - 3900.0).abs() < 39.0, "{sum}");
        let counted: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(
            (&counted[..2], &counted[counted.len() - 2..]),
            (&[2, 1][..], &[1, 1][..]),
            "{counted:?}"
        );
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0));
        times.saturating_record(250);
        let (later, _, grown) = bucketed(&times);
        assert!(
            later > sum
                && grown
                    .iter()
                    .zip(&buckets)
                    .all(|(now, before)| now.1 >= before.1)
        );
    }

    #[test]
    fn the_older_format_names_a_family_like_its_samples() {
        let open = "# HELP a_files Files.\n# TYPE a_files counter\na_files_total 1\n# HELP b B.\n# TYPE b gauge\nb 2\n# EOF\n";
        let text = "# HELP a_files_total Files.\n# TYPE a_files_total counter\na_files_total 1\n# HELP b B.\n# TYPE b gauge\nb 2\n";
        assert_eq!(older(open), text);
    }
}
