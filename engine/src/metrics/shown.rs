//! Encodes the series for /metrics: names, help texts and labels. It must not keep anything.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;

use super::gauge::Labels;
use super::series::{Runs, Series, SeriesOwner};

pub(super) fn encode(
    series: &Series,
    (waiting, unreadable): (&BTreeMap<&'static str, u64>, u64),
    encoder: DescriptorEncoder<'_>,
    now: Timestamp,
) -> fmt::Result {
    let mut page = Page(encoder);
    page.runs("backup", "configuration", series.backups.iter())?;
    page.slots(series, now)?;
    page.runs("restore", "repository", series.restores.iter())?;
    page.repositories(series)?;
    page.waiting(waiting)?;
    let skew = series.clock_skew.map(|skew| (Labels::new(), Number::Gauge(skew.as_secs_f64())));
    let help = "How far the clock of this machine is ahead of the NATS server's";
    page.family("clock_skew_seconds", help, MetricType::Gauge, skew.into_iter())?;
    page.unreadable(unreadable)
}

enum Number<'a> {
    Gauge(f64),
    Counter(u64),
    Histogram(&'a Histogram),
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// Encodes one name with all its series; a name without series is left out.
    fn family<'n>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        numbers: impl Iterator<Item = (Labels, Number<'n>)>,
    ) -> fmt::Result {
        let mut numbers = numbers.peekable();
        if numbers.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, number) in numbers {
            let mut metric = metric.encode_family(&labels)?;
            match number {
                Number::Gauge(value) => metric.encode_gauge(&value)?,
                Number::Counter(value) => metric.encode_counter::<Labels, _, u64>(&value, None)?,
                Number::Histogram(histogram) => histogram.encode(metric)?,
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, count: u64) -> fmt::Result {
        let help = "Messages on subjects of sessions that are no facts; each is kept under lagan.dead and counted by one engine";
        self.family("unreadable_messages", help, MetricType::Counter, std::iter::once((vec![], Number::Counter(count))))
    }

    fn waiting(&mut self, waiting: &BTreeMap<&'static str, u64>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a number of sessions")]
        let number = |count: u64| Number::Gauge(count as f64);
        let counts = waiting.iter().map(|(reason, count)| (vec![("reason", (*reason).to_owned())], number(*count)));
        let help = "Sessions that are not planned yet, by what they wait for; the same in every engine";
        self.family("waiting_sessions", help, MetricType::Gauge, counts)
    }

    fn runs<'s>(
        &mut self,
        kind: &str,
        of: &'static str,
        runs: impl Iterator<Item = (&'s SeriesOwner, &'s Runs)> + Clone,
    ) -> fmt::Result {
        let each = || runs.clone().map(|(key, runs)| (labels(of, key), runs));
        let ended = each().flat_map(|(labels, runs)| {
            runs.ended.iter().map(move |(end, count)| {
                let mut labels = labels.clone();
                if of != "repository" {
                    labels.push(("repository", end.repository.clone()));
                }
                labels.extend([("result", end.result.to_owned()), ("code", end.code.to_owned())]);
                (labels, Number::Counter(*count))
            })
        });
        self.family(&format!("{kind}_sessions"), "Sessions that ended", MetricType::Counter, ended)?;
        let help = "From the first start to the end";
        let duration = each().map(|(labels, runs)| (labels, Number::Histogram(&runs.duration)));
        self.family(&format!("{kind}_session_duration_seconds"), help, MetricType::Histogram, duration)?;
        let help = "From the request to the start of the last attempt";
        let wait = each().map(|(labels, runs)| (labels, Number::Histogram(&runs.wait)));
        self.family(&format!("{kind}_session_wait_seconds"), help, MetricType::Histogram, wait)?;
        let success = each().filter_map(|(labels, runs)| Some((labels, seconds(runs.last.success?))));
        let name = format!("{kind}_last_success_timestamp_seconds");
        self.family(&name, "Unix time of the last success", MetricType::Gauge, success)?;
        let status = each().filter_map(|(labels, runs)| Some((labels, flag(runs.last.succeeded?))));
        let help = "1 if the last session that ran succeeded, 0 if it failed";
        self.family(&format!("{kind}_last_status"), help, MetricType::Gauge, status)?;
        let read = each().map(|(labels, runs)| (labels, Number::Counter(runs.read_bytes)));
        self.family(&format!("{kind}_read_bytes"), "Bytes of the streams", MetricType::Counter, read)?;
        if kind == "restore" {
            return Ok(());
        }
        let added = each().map(|(labels, runs)| (labels, Number::Counter(runs.added_bytes)));
        self.family("backup_added_bytes", "Bytes that were new to the repository", MetricType::Counter, added)?;
        let size = each().filter_map(|(labels, runs)| Some((labels, bytes(runs.snapshot_size_bytes?))));
        self.family("snapshot_size_bytes", "Size of the last snapshot's dump", MetricType::Gauge, size)
    }

    fn slots(&mut self, series: &Series, now: Timestamp) -> fmt::Result {
        let each = || series.schedules.iter().map(|(key, slots)| (labels("configuration", key), slots));
        let interval = each().filter_map(|(labels, slots)| Some((labels, float(slots.interval_seconds?))));
        let help = "The longest time between two slots of the schedule";
        self.family("backup_schedule_interval_seconds", help, MetricType::Gauge, interval)?;
        let overdue = each().filter_map(|(labels, slots)| {
            let since = now.as_second() - slots.due?.as_second();
            Some((labels, float(since.max(0))))
        });
        let help = "Time since the first slot that no success has answered";
        self.family("backup_overdue_seconds", help, MetricType::Gauge, overdue)
    }

    fn repositories(&mut self, series: &Series) -> fmt::Result {
        let each = || series.repositories.iter().map(|(key, status)| (labels("repository", key), status));
        let size = each().filter_map(|(labels, status)| Some((labels, bytes(status.total_size_bytes?))));
        self.family("repository_size_bytes", "Size of the repository", MetricType::Gauge, size)?;
        let snapshots = each().filter_map(|(labels, status)| Some((labels, float(status.snapshot_count?))));
        self.family("repository_snapshots", "Snapshots in the repository", MetricType::Gauge, snapshots)?;
        let integrity = each().filter_map(|(labels, status)| Some((labels, flag(status.integrity?))));
        let help = "1 if the last read-back found the repository sound";
        self.family("repository_integrity", help, MetricType::Gauge, integrity)?;
        let checked = each().filter_map(|(labels, status)| Some((labels, seconds(status.last_check_time?))));
        let help = "Unix time of the last read-back";
        self.family("repository_last_check_timestamp_seconds", help, MetricType::Gauge, checked)
    }
}

fn labels(of: &'static str, owner: &SeriesOwner) -> Labels {
    vec![("group", owner.group.clone()), ("namespace", owner.namespace.clone()), (of, owner.name.clone())]
}

fn flag<'a>(is: bool) -> Number<'a> {
    Number::Gauge(if is { 1.0 } else { 0.0 })
}

fn seconds<'a>(time: Timestamp) -> Number<'a> {
    float(time.as_second())
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows floats only")]
fn float<'a>(number: i64) -> Number<'a> {
    Number::Gauge(number as f64)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows floats only")]
fn bytes<'a>(number: u64) -> Number<'a> {
    Number::Gauge(number as f64)
}
