//! Latencies in buckets: 16 to each power of two, so that a percentile is at most 1/16 too high.

const SUB: usize = 16;
const BUCKETS: usize = SUB * 40;

/// Counts of microseconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, longest: 0 }
    }

    pub(crate) fn add(&mut self, microseconds: u64) {
        self.longest = self.longest.max(microseconds);
        if let Some(count) = self.counts.get_mut(bucket(microseconds)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// The longest of all, as it was; 0 if there are none.
    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }

    /// The value below or at which so many ten-thousandths of all lie; 0 if there are none.
    pub(crate) fn percentile(&self, parts: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(parts)).div_ceil(10_000);
        let mut seen: u128 = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen >= rank {
                return top(index).min(self.longest);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    let power = 63 - (value | 1).leading_zeros();
    if power < 4 {
        return usize::try_from(value).unwrap_or(0);
    }
    // The four bits below the leading one say which sixteenth.
    let sub = usize::try_from((value >> (power - 4)) & 15).unwrap_or(0);
    (SUB * (power as usize - 3) + sub).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn top(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let (power, sub) = (index / SUB - 1, (index % SUB) as u64);
    ((SUB as u64 + sub + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..5000).chain([65_535, 65_536, 1_000_003, 1 << 39]) {
            let high = top(bucket(value));
            assert!(high >= value && high <= value + value / 16, "{value} in a bucket up to {high}");
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile(5000), 0);
        for value in 1..=1000 {
            histogram.add(value);
        }
        for (parts, expected) in [(5000, 500), (9900, 990), (9990, 999), (10_000, 1000), (10, 1)] {
            let found = histogram.percentile(parts);
            assert!((expected..=expected + expected / 16).contains(&found), "{parts}: {found}");
        }
        assert_eq!((histogram.longest(), histogram.percentile(10_000)), (1000, 1000));
    }
}
