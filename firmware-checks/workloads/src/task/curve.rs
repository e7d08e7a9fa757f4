//! Curves for plots: what was measured each second, thinned to what a plot can show.

use appliance_model::burn_in::staged::{Series, Unit};

use super::Findings;
use crate::drive::Measured;

/// Points of a curve (`Series`).
const POINTS_MAX: usize = 512;

/// What stands for several points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Their mean: rates.
    Mean,
    /// The highest: temperatures.
    Highest,
}

/// Puts neighbours together until [`POINTS_MAX`] are left; each group keeps the second of its first point.
pub(super) fn thin(points: Vec<(u32, u64)>, of: Of) -> Vec<(u32, u64)> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    if group == 1 {
        return points;
    }
    let one = |group: &[(u32, u64)]| {
        let values = group.iter().map(|(_, value)| *value);
        let value = match of {
            Of::Mean => values.sum::<u64>().checked_div(group.len() as u64)?,
            Of::Highest => values.max()?,
        };
        Some((group.first()?.0, value))
    };
    points.chunks(group).filter_map(one).collect()
}

impl Findings {
    /// Adds a curve of MiB a second over measurements that followed each other.
    pub(super) fn rates(&mut self, name: &str, all: &[&Measured]) {
        let bytes = all.iter().flat_map(|measured| &measured.series_bytes);
        let points: Vec<(u32, u64)> = (0..).zip(bytes.map(|bytes| bytes >> 20)).collect();
        if !points.is_empty() {
            let (device, points) = (self.device.clone(), thin(points, Of::Mean));
            self.series.push(Series { device, name: name.into(), unit: Unit::MebibytesPerSecond, points });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_days_are_a_few_hundred_points() {
        for (seconds, of, points, last) in [
            (3_u32, Of::Mean, 3, (2, 2)),
            (512, Of::Highest, 512, (511, 511)),
            (513, Of::Mean, 257, (512, 512)),
            (1024, Of::Highest, 512, (1022, 1023)),
            (259_200, Of::Mean, 512, (259_077, 259_138)),
        ] {
            let thinned = thin((0..seconds).map(|second| (second, second.into())).collect(), of);
            assert_eq!((thinned.len(), thinned.last().copied()), (points, Some(last)), "{seconds}");
        }
        assert_eq!(thin(Vec::new(), Of::Mean), []);
    }
}
