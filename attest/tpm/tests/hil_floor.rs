//! The rollback floor in a real software TPM: it grows, survives power cuts at any step, and nothing lowers it.

mod machine;

use attest_tpm::{TpmError, floor};
use machine::{Machine, text};

fn done(machine: &mut Machine, words: &[&str]) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let output = machine.tool(&words);
    assert!(output.status.success(), "{words:?}: {}", text(&output));
}

#[test]
fn the_floor_only_grows_and_survives_power_cuts() {
    let mut machine = Machine::new();
    {
        let mut tpm = machine.power_on();
        assert_eq!(floor::read(&mut tpm).unwrap(), None);
        assert_eq!(floor::raise(&mut tpm, 1).unwrap(), 1);
        assert_eq!(floor::raise(&mut tpm, 1).unwrap(), 1, "raising to where it is changes nothing");
    }
    machine.power_cut();
    let mut tpm = machine.power_on();
    assert_eq!(floor::read(&mut tpm).unwrap(), Some(1));
    assert_eq!(floor::raise(&mut tpm, 7).unwrap(), 7);
    assert_eq!(floor::raise(&mut tpm, 3).unwrap(), 7, "it is never lowered");
    let far = floor::raise(&mut tpm, 7 + floor::STEPS_MAX + 1).unwrap_err();
    assert!(far.to_string().contains("at most 256 above the floor, which is 7"), "{far}");
    assert_eq!(floor::read(&mut tpm).unwrap(), Some(7));
}

/// A TPM in which somebody has counted before gives the next counter the largest value so far.
#[test]
fn other_peoples_counters_do_not_raise_it() {
    let mut machine = Machine::new();
    let mut tpm = machine.power_on();
    assert_eq!(floor::raise(&mut tpm, 40).unwrap(), 40);
    drop(tpm);
    // Without its counter a base means nothing; without its base a counter neither.
    for (gone, again) in [(floor::COUNTER, 2), (floor::BASE, 3)] {
        done(&mut machine, &["nvundefine", "-C", "o", &format!("{gone:#x}")]);
        let mut tpm = machine.power_on();
        assert_eq!(floor::read(&mut tpm).unwrap(), None, "{gone:#x}");
        assert_eq!(floor::raise(&mut tpm, again).unwrap(), again);
        drop(tpm);
    }
    // Nobody moves what the counter began with.
    std::fs::write(machine.path("eight"), [0; 8]).unwrap();
    let eight = machine.path("eight").display().to_string();
    let words = ["nvwrite", "-C", "o", "-i", &eight, &format!("{:#x}", floor::BASE)].map(str::to_owned);
    let refused = machine.tool(&words);
    assert!(!refused.status.success() && text(&refused).contains("NV access locked"), "{}", text(&refused));
    let mut tpm = machine.power_on();
    assert_eq!(floor::read(&mut tpm).unwrap(), Some(3));
}

#[test]
fn a_place_that_is_taken_and_an_owner_with_a_password_are_said() {
    let mut machine = Machine::new();
    done(&mut machine, &["nvdefine", "-C", "o", "-s", "8", "0x1800a5f"]);
    let error = floor::read(&mut machine.power_on()).unwrap_err();
    assert!(matches!(&error, TpmError::Unexpected { asked, .. } if asked.contains("undefine it")), "{error}");
    machine.power_cut();
    done(&mut machine, &["nvundefine", "-C", "o", "0x1800a5f"]);
    done(&mut machine, &["changeauth", "-c", "o", "secret"]);
    let mut tpm = machine.power_on();
    assert_eq!(floor::read(&mut tpm).unwrap(), None);
    let error = floor::raise(&mut tpm, 1).unwrap_err();
    assert!(error.to_string().contains("clear the TPM in the firmware setup"), "{error}");
    // Asked first, it says so before anything is refused.
    let hierarchies = tpm.hierarchies().unwrap();
    assert!(hierarchies.owner_password && !hierarchies.endorsement_password, "{hierarchies:?}");
    assert!(hierarchies.in_the_way().unwrap().contains("tpm2_clear"));
}
