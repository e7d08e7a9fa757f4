//! Every target holds for its first inputs, and for hundreds of changes of them: what a campaign does for hours, in
//! seconds.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use std::collections::BTreeMap;

use hil_tests_fuzz::{corpus, targets};

/// Changes of all seeds of a target together.
const CHANGES: usize = 500;

/// Numbers that are the same in each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end.max(1)
    }

    /// As libFuzzer changes inputs: bits, bytes, cuts, repeats, interesting numbers.
    fn change(&mut self, input: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            match self.below(6) {
                0 => input.truncate(at),
                1 => input.insert(at, u8::try_from(self.below(256)).unwrap()),
                2 => {
                    let end = (at + self.below(16)).min(input.len());
                    let piece = input[at.min(end)..end].to_vec();
                    input.splice(at..at, piece);
                }
                _ if input.is_empty() => {}
                3 => input[at] ^= 1 << self.below(8),
                4 => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                _ => {
                    input.remove(at);
                }
            }
        }
    }
}

#[test]
fn every_target_holds_for_its_seeds_and_changes_of_them() {
    let mut seeds: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    corpus::each(&mut |target, bytes| seeds.entry(target.into()).or_default().push(bytes.to_vec()));
    for (name, run) in targets::ALL {
        let mut dice = Dice(0x5eed);
        let own = seeds.remove(name).unwrap_or_else(|| vec![vec![0; 64]]);
        own.iter().for_each(|seed| run(seed));
        for _ in 0..CHANGES {
            let mut input = own[dice.below(own.len())].clone();
            // A large file has its beginning read most.
            input.truncate(64 << 10);
            dice.change(&mut input);
            run(&input);
        }
    }
    assert!(seeds.is_empty(), "seeds of no target: {:?}", seeds.keys());
}
