//! What a scenario found out: figures beside their floors and targets, as a table for people or JSON for programs.

use serde::Serialize;

use super::sample::Rounds;

/// The result of a scenario.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) scenario: String,
    pub(super) rows: Vec<Row>,
    pub(super) machine: String,
    /// Programs that took part, as they call themselves.
    #[serde(skip)]
    pub(super) versions: Vec<String>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) metric: String,
    pub(super) unit: &'static str,
    pub(super) value: Option<f64>,
    pub(super) floor: Option<f64>,
    pub(super) ratio: Option<f64>,
    pub(super) target: Option<String>,
    pub(super) met: Option<bool>,
}

/// What a figure has to keep.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Exactly(f64),
    Below(f64),
    AtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// Not more than this above the floor.
    FloorPlus(f64),
}

impl Row {
    pub(super) fn new(metric: impl Into<String>, unit: &'static str, value: f64) -> Self {
        let value = Some(value).filter(|v| v.is_finite());
        Self { metric: metric.into(), unit, value, floor: None, ratio: None, target: None, met: None }
    }

    /// A quantile of a side, beside that of its floor.
    pub(super) fn quantile(metric: &str, quantile: f64, ours: &Rounds, floor: &Rounds) -> Self {
        let metric = format!("{metric}, p{:.0} of {}", quantile * 100.0, ours.len());
        let row = Self::new(metric, "ms", ours.millis(quantile));
        row.beside(floor.millis(quantile), ours.ratio(floor, quantile))
    }

    /// What was not measured is said, with the reason, and a target that stands on it is not met.
    pub(super) fn not_run(metric: &str, target: Option<&str>, reason: &str) -> Self {
        let target = target.map(str::to_owned);
        let met = target.as_ref().map(|_| false);
        Self { target, met, ..Self::new(format!("{metric}: not run ({reason})"), "", f64::NAN) }
    }

    pub(super) fn beside(self, floor: f64, ratio: f64) -> Self {
        let finite = |number: f64| Some(number).filter(|v| v.is_finite());
        Self { floor: finite(floor), ratio: finite(ratio), ..self }
    }

    /// Compared by plain division: for memory and CPU time, where rounds say nothing.
    pub(super) fn over(self, floor: f64) -> Self {
        let ratio = self.value.unwrap_or(f64::NAN) / floor;
        self.beside(floor, ratio)
    }

    /// Adds a target; all of a row must be kept.
    pub(super) fn target(mut self, target: Target) -> Self {
        let words = target.words(self.unit);
        self.target = Some(match self.target.take() {
            Some(others) => format!("{others} and {words}"),
            None => words,
        });
        self.met = Some(self.met.unwrap_or(true) && target.kept(&self));
        self
    }

    fn cells(&self) -> [String; 7] {
        let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
        let met = match self.met {
            None => "",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        [
            self.metric.clone(),
            self.unit.to_owned(),
            shown(self.value),
            shown(self.floor),
            shown(self.ratio),
            self.target.clone().unwrap_or_else(|| "–".to_owned()),
            met.to_owned(),
        ]
    }
}

impl Target {
    fn words(self, unit: &str) -> String {
        match self {
            Self::Exactly(value) => number(value),
            Self::Below(value) => format!("< {} {unit}", number(value)),
            Self::AtLeast(value) => format!("≥ {} {unit}", number(value)),
            Self::RatioAtMost(ratio) => format!("≤ {} × floor", number(ratio)),
            Self::RatioAtLeast(ratio) => format!("≥ {} × floor", number(ratio)),
            Self::FloorPlus(more) => format!("≤ floor + {} {unit}", number(more)),
        }
    }

    /// A figure that is missing keeps nothing.
    fn kept(self, row: &Row) -> bool {
        let (value, floor) = (row.value.unwrap_or(f64::NAN), row.floor.unwrap_or(f64::NAN));
        let ratio = row.ratio.unwrap_or(f64::NAN);
        match self {
            Self::Exactly(wanted) => (value - wanted).abs() < f64::EPSILON,
            Self::Below(limit) => value < limit,
            Self::AtLeast(limit) => value >= limit,
            Self::RatioAtMost(limit) => ratio <= limit,
            Self::RatioAtLeast(limit) => ratio >= limit,
            Self::FloorPlus(more) => value <= floor + more,
        }
    }
}

impl Report {
    /// Whether any target was missed.
    pub(super) fn missed(&self) -> bool {
        self.rows.iter().any(|row| row.met == Some(false))
    }

    /// The table, in columns that line up in a terminal and are Markdown as well.
    pub(super) fn markdown(&self) -> String {
        let header = ["metric", "unit", "BCS", "floor", "ratio", "target", "met"].map(str::to_owned);
        let rows: Vec<[String; 7]> =
            std::iter::once(header).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        let mut lines: Vec<String> = rows.iter().map(|row| line(row, &widths)).collect();
        let rule = widths.iter().enumerate().map(|(column, width)| match column {
            2..=4 => format!("{}:", "-".repeat(width + 1)),
            _ => "-".repeat(width + 2),
        });
        lines.insert(1, format!("|{}|", rule.collect::<Vec<_>>().join("|")));
        format!("### `{}`\n\n{}\n\n{}\n", self.scenario, lines.join("\n"), self.machine)
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
        2..=4 => format!(" {cell:>width$} "),
        _ => format!(" {cell:<width$} "),
    });
    format!("|{}|", padded.collect::<Vec<_>>().join("|"))
}

/// Three digits that say something.
fn number(value: f64) -> String {
    let places = match value.abs() {
        v if v.fract() == 0.0 && v < 1e6 => 0,
        v if v < 1.0 => 3,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_kept_or_missed_and_all_of_a_row_count() {
        let row = || Row::new("p50", "ms", 20.0).beside(10.0, 2.1);
        assert_eq!(row().target(Target::Below(100.0)).met, Some(true));
        let both = row().target(Target::RatioAtMost(2.0)).target(Target::Below(100.0));
        assert_eq!((both.met, both.target.as_deref()), (Some(false), Some("≤ 2 × floor and < 100 ms")));
        assert_eq!(row().target(Target::FloorPlus(5.0)).met, Some(false));
        assert_eq!(Row::new("lost", "", f64::NAN).target(Target::Exactly(0.0)).met, Some(false));
        assert_eq!(Row::not_run("x", Some("< 1"), "no time").met, Some(false));
    }

    #[test]
    fn the_table_is_markdown_and_json_has_the_promised_fields() {
        let rows = vec![Row::new("lost", "", 0.0).target(Target::Exactly(0.0))];
        let report = Report { scenario: "idle".into(), rows, machine: "m".into(), versions: Vec::new() };
        assert!(!report.missed());
        let table = report.markdown();
        assert!(table.contains("| lost   |      |   0 |     – |     – | 0      | yes |"), "{table}");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["rows"][0]["met"], true);
        assert!(json["rows"][0]["floor"].is_null() && json.get("versions").is_none());
    }
}
