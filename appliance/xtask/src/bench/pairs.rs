//! Ours and a peer measured one after the other, many times: the ratio of each pair, and how far it can be trusted.
//!
//! What else the machine does changes both of a pair much the same, and one pair from the next a lot: so ratios are
//! taken within pairs, and their median counts.

use std::fmt;

use super::table::median;

/// Samples in the order they were taken.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    samples: Vec<(f64, f64)>,
}

/// Ours as a multiple of theirs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ratio {
    /// The median of all pairs.
    pub(super) median: f64,
    /// Where the true median lies in 19 of 20 measurements.
    low: f64,
    high: f64,
}

impl Pairs {
    pub(super) fn add(&mut self, ours: f64, theirs: f64) {
        self.samples.push((ours, theirs));
    }

    /// Median of ours.
    pub(super) fn ours(&self) -> f64 {
        median(&self.samples.iter().map(|pair| pair.0).collect::<Vec<_>>())
    }

    /// Median of theirs.
    pub(super) fn theirs(&self) -> f64 {
        median(&self.samples.iter().map(|pair| pair.1).collect::<Vec<_>>())
    }

    /// The middle ratio.  Its interval is the sign test's, which asks nothing of how samples are spread: from the
    /// ratio of rank n/2 - 0.98·√n to the one as far from the other end.
    pub(super) fn ratio(&self) -> Ratio {
        let mut ratios: Vec<f64> = self.samples.iter().map(|(ours, theirs)| ours / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        // 0.98² is 24/25; the integer root may be one too low, which widens the interval.
        let count = ratios.len();
        let rank = (count / 2).saturating_sub((count * 24 / 25).isqrt() + 1);
        let (low, high) = (ratios.get(rank), ratios.get(count.wrapping_sub(rank + 1)));
        Ratio {
            median: median(&ratios),
            low: low.copied().unwrap_or(f64::NAN),
            high: high.copied().unwrap_or(f64::NAN),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} [{:.2}, {:.2}]", self.median, self.low, self.high)
    }
}

/// Prints the last line of a bench: whether the bar holds, or what breaks it.
pub(super) fn verdict(bar: &str, broken: &[String]) {
    if broken.is_empty() {
        println!("bar: held: {bar}");
    } else {
        println!("bar: not held: {bar}; {}", broken.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_pairs() {
        let mut pairs = Pairs::default();
        assert!(pairs.ratio().median.is_nan());
        // A machine that becomes ten times slower half-way changes neither ratio nor interval.
        for turn in 0..25 {
            let speed = if turn < 12 { 100.0 } else { 10.0 };
            let ours = speed * (1.0 + f64::from(turn % 5) / 10.0);
            pairs.add(ours, speed);
        }
        assert_eq!(pairs.ratio().to_string(), "1.20 [1.10, 1.30]");
        assert_eq!((pairs.ours(), pairs.theirs()), (14.0, 10.0));
        let mut one = Pairs::default();
        one.add(3.0, 2.0);
        assert_eq!(one.ratio().to_string(), "1.50 [1.50, 1.50]");
    }
}
