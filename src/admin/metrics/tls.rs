//! The figures of TLS, which a role has where it is on.

use std::fmt::Error;

use super::families::Families;
use crate::transport::tls::Gauge;

/// Adds them, if there are any.
pub(super) fn encode(to: &mut Families<'_>) -> Result<(), Error> {
    let gauges = Gauge::all();
    if gauges.is_empty() {
        return Ok(());
    }
    let mut sums = [0; 3];
    for counts in gauges.iter().map(|gauge| gauge.counts()) {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    to.counters(
        (
            "bilico_tls_handshakes",
            "Connections to a port with TLS: secured, failed, or begun in plain text.",
        ),
        ["done", "failed", "plain"]
            .into_iter()
            .zip(sums)
            .map(|(result, sum)| ([("result", result)], sum)),
    )?;
    let left = gauges
        .iter()
        .filter_map(|gauge| Some((gauge.leg(), gauge.expires_in()?)));
    to.gauges(
        (
            "bilico_certificate_expiry_seconds",
            "Time until the certificate in use expires.",
        ),
        left.map(|(leg, left)| ([("leg", leg)], left)),
    )
}
