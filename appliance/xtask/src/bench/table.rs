//! Samples of servers, and what they say of ours against the others.

use std::collections::BTreeMap;

use serde::Serialize;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    /// Rates.
    More,
    /// Costs.
    Less,
}

/// One figure of one server in one run.
#[derive(Debug, Clone, Serialize)]
struct Row {
    figure: String,
    unit: &'static str,
    better: Better,
    samples: BTreeMap<String, Vec<f64>>,
}

/// All figures, in the order they came.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// The server that others are compared with.
pub(crate) const OURS: &str = "scalerforge";

impl Table {
    /// Adds a sample.
    pub(crate) fn add(
        &mut self,
        figure: &str,
        unit: &'static str,
        better: Better,
        server: &str,
        sample: f64,
    ) {
        let place = self.rows.iter().position(|row| row.figure == figure).unwrap_or_else(|| {
            self.rows.push(Row { figure: figure.to_owned(), unit, better, samples: BTreeMap::new() });
            self.rows.len() - 1
        });
        if let Some(row) = self.rows.get_mut(place) {
            row.samples.entry(server.to_owned()).or_default().push(sample);
        }
    }

    /// All samples, as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Median and range of each server, and ours as a ratio of each other's.
    pub(crate) fn print(&self) {
        for row in &self.rows {
            let way = if row.better == Better::More { "more is better" } else { "less is better" };
            println!("\n{} [{}], {way}", row.figure, row.unit);
            let ours = row.samples.get(OURS).map(|samples| median(samples));
            for (server, samples) in &row.samples {
                let (low, high) = range(samples);
                let ratio = ours
                    .filter(|_| server != OURS)
                    .map_or(String::new(), |ours| format!("  ours is {:.2}x", ours / median(samples)));
                println!("  {server:<14} {:>12.2}  [{low:.2}, {high:.2}]{ratio}", median(samples));
            }
        }
    }
}

/// The middle one; with an even count, the middle of the two.
pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (0, Some(low), Some(high)) => f64::midpoint(*low, *high),
        (_, _, Some(one)) => *one,
        (_, _, None) => f64::NAN,
    }
}

fn range(samples: &[f64]) -> (f64, f64) {
    samples
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), sample| (low.min(*sample), high.max(*sample)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(range(&[2.0, 9.0, 1.0]), (1.0, 9.0));
    }

    #[test]
    fn figures_keep_their_order() {
        let mut table = Table::default();
        table.add("b", "s", Better::Less, OURS, 1.0);
        table.add("a", "s", Better::Less, OURS, 1.0);
        table.add("b", "s", Better::Less, OURS, 2.0);
        let names: Vec<_> =
            table.rows.iter().map(|row| (row.figure.as_str(), row.samples[OURS].len())).collect();
        assert_eq!(names, [("b", 2), ("a", 1)]);
    }
}
