//! Figures of the process itself.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use super::families::Families;
use crate::admin::history::to_f64;

/// The figures that every role has.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut to = Families(encoder);
        let build = [([("version", env!("CARGO_PKG_VERSION"))], 1u64)];
        to.gauges(
            ("bilico_build_info", "The version of the program."),
            build.into_iter(),
        )?;
        if let Some(lost) = crate::logging::lost_lines() {
            let help = "Lines that the log lost because its disk was too slow, full or failing.";
            to.counter("bilico_log_lines_lost", help, lost as u64)?;
        }
        super::tls::encode(&mut to)?;
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
