//! Writes families of metrics, each with its rows.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder},
    metrics::MetricType,
};

use crate::observe::Snapshot;

/// What a scrape is written to.
pub(super) struct Encoder<'a>(pub(super) DescriptorEncoder<'a>);

/// A row's labels.
type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

/// For what may have an exemplar and has none.
type Nothing = [(&'static str, &'static str); 0];

impl Encoder<'_> {
    /// A number that only grows; `_total` is added to its name.
    pub(super) fn counter<'a, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'a, N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, rows, |row, value| {
            row.encode_counter::<Nothing, V, f64>(&value, None)
        })
    }

    /// A number that comes and goes.
    pub(super) fn gauge<'a, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'a, N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, rows, |row, value| {
            row.encode_gauge(&value)
        })
    }

    /// How often something was how large.
    pub(super) fn histogram<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'a, N>, Snapshot)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, rows, |row, seen| {
            row.encode_histogram::<Nothing>(seen.sum, seen.count, &seen.buckets, None)
        })
    }

    fn family<'a, const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl IntoIterator<Item = (Labels<'a, N>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        // A family without rows would be one that nobody can make sense of.
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows {
            if N == 0 {
                write(&mut family, value)?;
            } else {
                write(&mut family.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}
