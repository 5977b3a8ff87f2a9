//! The words of the first systems' agents: JSON as Python writes it, MiB, GiB and percent.

use std::fmt::Write;
use std::time::Duration;

use crate::fleet_core::Facts;

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// The datagram of the first datagram system's agent. What is not known is left out, but for what was
/// always there: that is 0.
pub(super) fn datagram(facts: &Facts, since_last: Duration) -> String {
    let cores: Vec<String> = facts
        .cores
        .iter()
        .map(|core| percent(Some(*core)))
        .collect();
    let dropped = f64::from(facts.net_dropped.unwrap_or(0.0)) * since_last.as_secs_f64();
    let free = free(facts.memory_total, facts.memory_used);
    let mut text = String::new();
    let _ = write!(
        text,
        "{{\"cpu\": {{\"por_nucleo\": [{}], \"media\": {}}}, \
         \"memoria\": {{\"total_MB\": {}, \"usada_MB\": {}, \"livre_MB\": {}}}, \
         \"disco\": {{\"uso_total_GB\": {}, \"usado_GB\": {}, \"livre_GB\": {}, \
         \"taxa_leitura_MBps\": {}, \"taxa_escrita_MBps\": {}}}, \
         \"rede\": {{\"taxa_upload_MBps\": {}, \"taxa_download_MBps\": {}, \
         \"pacotes_perdidos\": {dropped:.0}}}}}",
        cores.join(", "),
        percent(facts.cpu),
        size(facts.memory_total, MIB),
        size(facts.memory_used, MIB),
        size(free, MIB),
        size(facts.disk_total, GIB),
        size(facts.disk_used, GIB),
        size(facts.disk_free, GIB),
        rate(facts.disk_read),
        rate(facts.disk_write),
        rate(facts.net_tx),
        rate(facts.net_rx),
    );
    text
}

/// What the first WebSocket system's agent tells of processor, memory and disk.
pub(super) fn crd(facts: &Facts) -> String {
    let free = free(facts.memory_total, facts.memory_used);
    format!(
        "{{\"cpu_usage\": {}, \"ram_available\": {}, \"ram_total\": {}, \"disk_available\": {}, \
         \"disk_total\": {}}}",
        percent(facts.cpu),
        size(free, GIB),
        size(facts.memory_total, GIB),
        size(facts.disk_free, GIB),
        size(facts.disk_total, GIB),
    )
}

fn free(total: Option<u64>, used: Option<u64>) -> Option<u64> {
    Some(total?.saturating_sub(used?))
}

fn percent(part: Option<f32>) -> String {
    format!("{:.1}", f64::from(part.unwrap_or(0.0)) * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "two decimals are told")]
fn size(bytes: Option<u64>, unit: f64) -> String {
    format!("{:.2}", bytes.unwrap_or(0) as f64 / unit)
}

fn rate(bytes: Option<f32>) -> String {
    format!("{:.2}", f64::from(bytes.unwrap_or(0.0)) / MIB)
}
