//! The figures of a server.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::Families;
use crate::server::ServerGauge;

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
