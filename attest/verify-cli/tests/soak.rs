//! A bounded run of the campaigns; `cargo run --release -p attest-verify-cli --example soak -- MINUTES` goes on longer.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

mod campaign;
use campaign::{Count, Dice, Seeds, TARGETS, attempt};

#[test]
fn nothing_panics_and_nothing_altered_is_accepted() {
    let seeds = Seeds::load();
    for target in TARGETS {
        let (mut dice, mut count) = (Dice::new(1), Count::default());
        while count.tried < 4000 {
            attempt(target, &seeds, &mut dice, &mut count);
        }
        println!("{target:?}: {count:?}");
        assert!(count.read > 0 && count.read < count.tried, "{target:?}: {count:?}");
    }
}
