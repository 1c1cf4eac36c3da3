//! The lines of `./just bench-engine`. Each measures one figure of an engine and the limit of the machine in the same run: bare
//! publishes, a bare consumer, or the same engine without work. It must not judge whether Lagan is correct.

mod cluster;
mod configurations;
mod ends;
mod figure;
mod log;
mod manifests;
mod recovery;
mod rig;
mod start;
mod throughput;
mod waiting;
mod worker;

pub use figure::{Figure, json, table};

use anyhow::{Result, bail};

/// Share of the numbers of the table; 1 for a real measurement.
#[derive(Debug, Clone, Copy)]
pub struct Scale(f64);

impl Scale {
    pub fn new(share: f64) -> Result<Self> {
        if !(share > 0.0 && share <= 10.0) {
            bail!("--scale {share}: it must be more than 0 and at most 10");
        }
        Ok(Self(share))
    }

    #[must_use]
    pub fn is_full(self) -> bool {
        self.0 >= 1.0
    }

    /// Returns this share of a number, but at least `least`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a count")]
    fn of(self, number: u64, least: u64) -> u64 {
        ((number as f64 * self.0).round() as u64).max(least)
    }

    /// Returns this share of a time in seconds, but at least `least`.
    fn seconds(self, whole: u64, least: u64) -> std::time::Duration {
        std::time::Duration::from_secs(self.of(whole, least).min(whole.max(least)))
    }
}

/// Names of all lines, in the order of the table.
pub const LINES: [&str; 9] =
    ["start", "waiting", "urgent", "configurations", "slot", "sessions", "whole", "ends", "recovery"];

/// Measures one line.
pub async fn measure(line: &str, scale: Scale) -> Result<Vec<Figure>> {
    match line {
        "start" => start::measure(scale).await,
        "waiting" => waiting::idle(scale).await,
        "urgent" => waiting::urgent(scale).await,
        "configurations" => configurations::armed(scale).await,
        "slot" => configurations::due(scale).await,
        "sessions" => throughput::engine_alone(scale).await,
        "whole" => throughput::whole(scale).await,
        "ends" => ends::measure(scale).await,
        "recovery" => recovery::measure(scale).await,
        other => bail!("no line `{other}`; there are {}", LINES.join(", ")),
    }
}
