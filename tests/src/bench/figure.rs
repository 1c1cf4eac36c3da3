//! A figure with what it must be, what it should be, and the limit of the machine; as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json as object};

/// The direction in which a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
}

/// A measured figure.
#[derive(Debug, Clone)]
pub struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) better: Better,
    /// `None` for a figure that only explains another one.
    pub(super) wanted: Option<Bounds>,
    pub(super) limit: Option<Limit>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub must: f64,
    pub goal: f64,
}

/// The same figure of something that does nothing else, in the same run.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub what: &'static str,
    pub value: f64,
}

impl Figure {
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, better: Better::Lower, wanted: None, limit: None }
    }

    pub(super) fn wanted(self, must: f64, goal: f64) -> Self {
        Self { wanted: Some(Bounds { must, goal }), ..self }
    }

    pub(super) fn limit(self, what: &'static str, value: f64) -> Self {
        Self { limit: Some(Limit { what, value }), ..self }
    }

    pub(super) fn higher_is_better(self) -> Self {
        Self { better: Better::Higher, ..self }
    }

    /// Returns the word for what was reached. A figure within twice its limit is accepted too.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        let Some(Bounds { must, goal }) = self.wanted else { return "-" };
        let meets = |bound: f64| match self.better {
            Better::Lower => self.value <= bound,
            Better::Higher => self.value >= bound,
        };
        let near = |limit: &Limit| match self.better {
            Better::Lower => meets(limit.value * 2.0),
            Better::Higher => meets(limit.value / 2.0),
        };
        match () {
            () if meets(goal) => "goal",
            () if meets(must) => "must",
            () if self.limit.as_ref().is_some_and(near) => "limit",
            () => "MISSED",
        }
    }

    fn cells(&self) -> [String; 6] {
        let (must, goal) = self
            .wanted
            .map_or_else(|| ("-".to_owned(), "-".to_owned()), |wanted| (number(wanted.must), number(wanted.goal)));
        let limit = self
            .limit
            .as_ref()
            .map_or_else(|| "-".to_owned(), |limit| format!("{} ({})", number(limit.value), limit.what));
        let measured = format!("{} {}", number(self.value), self.unit);
        [self.name.clone(), measured, must, goal, limit, self.verdict().to_owned()]
    }

    fn json(&self) -> Value {
        object!({
            "figure": self.name, "value": self.value, "unit": self.unit,
            "must": self.wanted.map(|wanted| wanted.must), "goal": self.wanted.map(|wanted| wanted.goal),
            "limit": self.limit.as_ref().map(|limit| object!({"what": limit.what, "value": limit.value})),
            "verdict": self.verdict(),
        })
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Returns the figures as a table of Markdown.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let head = ["figure", "measured", "must", "goal", "limit of this run", "reached"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(figures.iter().map(Figure::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            let line: String = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect();
            text.push_str(&line);
            text.push_str("|\n");
        }
    }
    text
}

/// Returns the figures as a list of JSON.
#[must_use]
pub fn json(figures: &[Figure]) -> Value {
    figures.iter().map(Figure::json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_accepted_by_its_goal_its_must_or_twice_its_limit() {
        let time = |value| Figure::new("a", value, "s").wanted(30.0, 15.0).limit("bare", 20.0);
        assert_eq!([10.0, 20.0, 40.0, 41.0].map(|value| time(value).verdict()), ["goal", "must", "limit", "MISSED"]);
        let rate = |value| Figure::new("a", value, "/s").wanted(100.0, 200.0).limit("bare", 80.0).higher_is_better();
        assert_eq!([250.0, 100.0, 40.0, 39.0].map(|value| rate(value).verdict()), ["goal", "must", "limit", "MISSED"]);
        assert_eq!(Figure::new("a", 1.0, "s").verdict(), "-");
        let shown = table(&[time(10.0)]);
        assert!(shown.contains("| 10.0 s ") && shown.contains("20.0 (bare)") && shown.lines().count() == 3, "{shown}");
        assert_eq!(json(&[time(10.0)])[0]["verdict"], "goal");
    }
}
