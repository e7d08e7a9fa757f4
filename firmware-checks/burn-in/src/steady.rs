//! Steady state as SNIA's Solid State Storage Performance Test Specification defines it (PTS 2.0.1, definition 2.1.24):
//! over the last five rounds, no two values are further apart than 20 % of their average, and the best straight line
//! through them rises or falls by no more than 10 % of it.
//!
//! All arithmetic is in integers, so that everybody comes to the same answer at the very edge.

use appliance_model::Permille;

/// Rounds that are looked at (PTS: the measurement window).
pub const ROUNDS: usize = 5;
/// Rounds after which PTS gives up.
pub const ROUNDS_MAX: usize = 25;
/// How far apart two values may be, in thousandths of the average.
pub const RANGE: Permille = Permille(200);
/// How far the best line may rise over the window, in thousandths of the average.
pub const SLOPE: Permille = Permille(100);

/// What a series of rounds amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steady {
    /// Whether the last five rounds are steady.  Travels with every figure taken from them.
    pub attained: bool,
    /// Average of the window, rounded down.
    pub average: u64,
    /// Largest minus smallest, in thousandths of the average, rounded up.
    pub range_permille: u64,
    /// Rise or fall of the best line over the window, in thousandths of the average, rounded up.
    pub slope_permille: u64,
}

/// Looks at the last [`ROUNDS`] of these rates.  Fewer are not steady, nor is a drive that did nothing.
#[must_use]
pub fn steady(rates: &[u64]) -> Steady {
    let window = rates.get(rates.len().saturating_sub(ROUNDS)..).unwrap_or_default();
    let count = window.len() as u128;
    let sum: u128 = window.iter().map(|rate| u128::from(*rate)).sum();
    if sum == 0 {
        return Steady { attained: false, average: 0, range_permille: 0, slope_permille: 0 };
    }
    let least = window.iter().min().copied().unwrap_or(0);
    let range = u128::from(window.iter().max().copied().unwrap_or(0) - least);
    let (rise, unit) = rise(window);
    // range / (sum / count) and (rise / unit) / (sum / count), as fractions.
    let range = (range * count, sum);
    let slope = (rise * count, unit * sum);
    let within = |(over, under): (u128, u128), most: Permille| over * 1000 <= under * u128::from(most.0);
    let thousandths = |(over, under): (u128, u128)| {
        (over * 1000)
            .checked_div(under)
            .map_or(0, |_| u64::try_from((over * 1000).div_ceil(under)).unwrap_or(u64::MAX))
    };
    Steady {
        attained: window.len() == ROUNDS && within(range, RANGE) && within(slope, SLOPE),
        average: u64::try_from(sum / count).unwrap_or(u64::MAX),
        range_permille: thousandths(range),
        slope_permille: thousandths(slope),
    }
}

/// How far the least-squares line through equally spaced values rises or falls from the first to the last, as a
/// fraction.  With places counted from their middle, doubled to stay whole: slope = 2·Σ d·y / Σ d².
fn rise(window: &[u64]) -> (u128, u128) {
    let steps = window.len().saturating_sub(1) as u128;
    let (mut above, mut below, mut squares) = (0_u128, 0_u128, 0_u128);
    for (place, rate) in (0_u128..).zip(window) {
        let distance = (2 * place).abs_diff(steps);
        let side = if 2 * place >= steps { &mut above } else { &mut below };
        *side += distance * u128::from(*rate);
        squares += distance * distance;
    }
    (2 * above.abs_diff(below) * steps, squares.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        for (rates, attained) in [
            (&[100, 100, 100, 100, 100][..], true),
            (&[100, 100, 100, 100], false),
            (&[0, 0, 0, 0, 0], false),
            // A range of exactly 20 % of the average of 100, without a slope.
            (&[90, 110, 100, 110, 90], true),
            (&[90, 111, 100, 110, 89], false),
            // A rise of exactly 10 %: 2.5 a round over four steps.
            (&[950, 975, 1000, 1025, 1050], true),
            (&[948, 975, 1000, 1025, 1052], false),
            (&[1050, 1025, 1000, 975, 950], true),
            // Only the last five count.
            (&[9, 9_999, 100, 100, 100, 100, 100], true),
            (&[u64::MAX; 5], true),
        ] {
            assert_eq!(steady(rates).attained, attained, "{rates:?}: {:?}", steady(rates));
        }
        let found = steady(&[90, 110, 100, 110, 90]);
        assert_eq!((found.average, found.range_permille, found.slope_permille), (100, 200, 0));
    }

    /// The textbook's normal equations in floating point, as anybody would write them down.
    fn by_the_book(rates: &[f64; 5]) -> (f64, f64) {
        let (n, places) = (5.0, [1.0, 2.0, 3.0, 4.0, 5.0]);
        let sum_y: f64 = rates.iter().sum();
        let sum_x: f64 = places.iter().sum();
        let sum_xy: f64 = places.iter().zip(rates).map(|(x, y)| x * y).sum();
        let sum_xx: f64 = places.iter().map(|x| x * x).sum();
        let slope = (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
        let intercept = (sum_y - slope * sum_x) / n;
        let line = |x: f64| intercept + slope * x;
        let max = rates.iter().copied().fold(f64::MIN, f64::max);
        let min = rates.iter().copied().fold(f64::MAX, f64::min);
        let average = sum_y / n;
        ((max - min) / average, (line(5.0) - line(1.0)).abs() / average)
    }

    #[test]
    fn a_thousand_random_series_are_judged_as_by_the_book() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut attained, mut edges) = (0, 0);
        for _ in 0..1000 {
            let (base, spread) = (1000 + random(500_000), 1 + random(400));
            let rates: [u64; 5] = std::array::from_fn(|_| base + base * random(spread) / 1000);
            #[expect(clippy::cast_precision_loss, reason = "rates below 2^20")]
            let (range, slope) = by_the_book(&rates.map(|rate| rate as f64));
            let found = steady(&rates);
            if (range - 0.2).abs() < 1e-9 || (slope - 0.1).abs() < 1e-9 {
                edges += 1;
                continue;
            }
            assert_eq!(found.attained, range <= 0.2 && slope <= 0.1, "{rates:?}: {range} {slope} {found:?}");
            #[expect(clippy::cast_precision_loss, reason = "thousandths")]
            let shown = [found.range_permille, found.slope_permille].map(|part| part as f64);
            for (shown, exact) in shown.into_iter().zip([range, slope]) {
                assert!(shown + 1e-6 >= exact * 1000.0 && shown < exact * 1000.0 + 1.0 + 1e-6, "{rates:?}");
            }
            attained += u32::from(found.attained);
        }
        assert!((200..800).contains(&attained) && edges < 10, "{attained} of 1000, {edges} at the edge");
    }
}
