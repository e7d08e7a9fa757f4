//! Pairs wants with parts so that as many as possible fit (augmenting paths, after Kuhn).
//!
//! Taking the first part that fits would call a complete machine incomplete where one want is pickier than another.

/// For each of `wants`, the part it gets; `fits` says whether a part would do.  Earlier wants are served first where
/// not all can be.
pub(crate) fn pair(wants: usize, parts: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
    let mut owner: Vec<Option<usize>> = vec![None; parts];
    for want in 0..wants {
        let mut seen = vec![false; parts];
        serve(want, &fits, &mut owner, &mut seen);
    }
    let mut paired = vec![None; wants];
    for (part, want) in owner.iter().enumerate() {
        if let Some(slot) = want.and_then(|want| paired.get_mut(want)) {
            *slot = Some(part);
        }
    }
    paired
}

/// Gives `want` a part, moving others to parts that do for them too.  Walks a path at a time, without recursion, so
/// that hostile lists cannot exhaust the stack.
fn serve(
    want: usize,
    fits: &impl Fn(usize, usize) -> bool,
    owner: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    // Each entry: who asks, and the part through which the one before it was asked to move.
    let mut queue = vec![(want, None::<usize>)];
    let mut from: Vec<Option<(usize, Option<usize>)>> = vec![None; owner.len()];
    let mut next = 0;
    while let Some((asks, through)) = queue.get(next).copied() {
        next += 1;
        for part in 0..owner.len() {
            if seen.get(part).copied().unwrap_or(true) || !fits(asks, part) {
                continue;
            }
            if let (Some(seen), Some(from)) = (seen.get_mut(part), from.get_mut(part)) {
                (*seen, *from) = (true, Some((asks, through)));
            }
            match owner.get(part).copied().flatten() {
                Some(holder) => queue.push((holder, Some(part))),
                None => {
                    settle(part, &from, owner);
                    return true;
                }
            }
        }
    }
    false
}

/// Hands the parts along the path that ends at the free part `at`.
fn settle(at: usize, from: &[Option<(usize, Option<usize>)>], owner: &mut [Option<usize>]) {
    let mut part = Some(at);
    while let Some(at) = part {
        let Some((asks, through)) = from.get(at).copied().flatten() else { return };
        if let Some(owner) = owner.get_mut(at) {
            *owner = Some(asks);
        }
        part = through;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picky_want_gets_its_part() {
        // Want 0 takes anything, want 1 only part 0, want 2 only parts 0 and 1.
        let fits = |want: usize, part: usize| match want {
            0 => true,
            1 => part == 0,
            _ => part < 2,
        };
        assert_eq!(pair(3, 3, fits), [Some(2), Some(0), Some(1)]);
        assert_eq!(pair(3, 1, fits), [Some(0), None, None]);
        assert_eq!(pair(0, 3, fits), []);
        assert_eq!(pair(2, 0, fits), [None, None]);
    }

    proptest::proptest! {
        /// As many pairs as any assignment has, by trying all of them.
        #[test]
        fn as_many_as_possible(table in proptest::collection::vec(proptest::collection::vec(proptest::bool::ANY, 4), 4)) {
            let fits = |want: usize, part: usize| table[want][part];
            let paired = pair(4, 4, fits);
            for (want, part) in paired.iter().enumerate() {
                proptest::prop_assert!(part.is_none_or(|part| fits(want, part)));
            }
            fn best(want: usize, used: u32, fits: &dyn Fn(usize, usize) -> bool) -> usize {
                if want == 4 { return 0; }
                let skip = best(want + 1, used, fits);
                (0..4).filter(|part| used & (1 << part) == 0 && fits(want, *part))
                    .map(|part| 1 + best(want + 1, used | 1 << part, fits)).max().unwrap_or(0).max(skip)
            }
            proptest::prop_assert_eq!(paired.iter().flatten().count(), best(0, 0, &fits));
        }
    }
}
