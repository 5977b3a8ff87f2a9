//! Writes metric families: counters, gauges and histograms, alone or with a label.

use std::fmt::Error;

use hdrhistogram::Histogram;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use crate::admin::history::to_f64;

/// The most servers, or members, with series of their own; the others are summed up as one.
pub const MAX_SERVER_SERIES: usize = 1000;

/// The label of those beyond.
pub(super) const OTHER: &str = "other";

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

/// Writes families one after the other.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    /// A counter.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// A gauge.
    pub(super) fn gauge<V: EncodeGaugeValue + Copy>(
        &mut self,
        name: &str,
        help: &str,
        value: V,
    ) -> Result<(), Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// A gauge for each set of labels.
    pub(super) fn gauges<const N: usize, V: EncodeGaugeValue>(
        &mut self,
        of: (&str, &str),
        values: impl Iterator<Item = ([(&'static str, impl AsRef<str>); N], V)>,
    ) -> Result<(), Error> {
        self.family(MetricType::Gauge, of, values, |mut sample, value| {
            sample.encode_gauge(value)
        })
    }

    /// A counter for each set of labels.
    pub(super) fn counters<const N: usize, V: EncodeCounterValue>(
        &mut self,
        of: (&str, &str),
        values: impl Iterator<Item = ([(&'static str, impl AsRef<str>); N], V)>,
    ) -> Result<(), Error> {
        self.family(MetricType::Counter, of, values, |mut sample, value| {
            sample.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    fn family<const N: usize, V>(
        &mut self,
        kind: MetricType,
        (name, help): (&str, &str),
        values: impl Iterator<Item = ([(&'static str, impl AsRef<str>); N], V)>,
        encode: impl Fn(MetricEncoder<'_>, &V) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            let labels = labels.each_ref().map(|(name, of)| (*name, of.as_ref()));
            encode(family.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }

    /// A histogram in seconds of times in microseconds.
    pub(super) fn times(
        &mut self,
        name: &str,
        help: &str,
        times: &Histogram<u64>,
    ) -> Result<(), Error> {
        let (sum, count, buckets) = bucketed(times);
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// The sum in seconds, the count, and the number in each bucket. The steps of the histogram never
/// change, so a time stays in its bucket, and the sum and the buckets only grow.
fn bucketed(times: &Histogram<u64>) -> (f64, u64, Vec<(f64, u64)>) {
    let mut buckets: Vec<(f64, u64)> = BUCKETS.iter().map(|end| (to_f64(*end) / 1e6, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let mut sum = 0.0;
    let mut all = 0;
    for step in times.iter_recorded() {
        let value = step.value_iterated_to();
        let count = step.count_at_value();
        // By the beginning of the step: a bucket that ends within the step counts the times that
        // are as short as its end.
        let place = BUCKETS.partition_point(|end| *end < times.lowest_equivalent(value));
        if let Some((_, counted)) = buckets.get_mut(place) {
            *counted += count;
        }
        sum += to_f64(times.median_equivalent(value)) / 1e6 * to_f64(count);
        all += count;
    }
    (sum, all, buckets)
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
}
