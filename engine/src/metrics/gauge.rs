//! A gauge as a value, and the text of a list of gauges.

use std::collections::BTreeMap;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gauge {
    pub name: String,
    pub help: &'static str,
    pub labels: Labels,
    pub value: f64,
}

/// Encodes gauges as OpenMetrics text, which a Pushgateway accepts too.
pub(super) fn text(gauges: Vec<Gauge>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Gauges(gauges)));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a String takes everything");
    text
}

#[derive(Debug)]
struct Gauges(Vec<Gauge>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // In the text a name stands once, with all gauges of that name.
        let mut by_name: BTreeMap<&str, Vec<&Gauge>> = BTreeMap::new();
        for gauge in &self.0 {
            by_name.entry(&gauge.name).or_default().push(gauge);
        }
        for (name, gauges) in by_name {
            let mut metric = encoder.encode_descriptor(name, gauges[0].help, None, MetricType::Gauge)?;
            for gauge in gauges {
                metric.encode_family(&gauge.labels)?.encode_gauge(&gauge.value)?;
            }
        }
        Ok(())
    }
}
