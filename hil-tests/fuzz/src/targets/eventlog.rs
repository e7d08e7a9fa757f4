//! Event logs: parsed, replayed in every bank with and without tries in vain, read for boot URL and Secure Boot.

use attest_verify::secure_boot;
use attest_wire::eventlog::{BOOT_ATTEMPTS_MAX, EventLog, boot_url, loaded_images};

/// One input.
pub fn run(input: &[u8]) {
    let Ok(log) = EventLog::parse(input) else { return };
    for bank in log.banks() {
        if let Ok(replay) = log.replay(*bank) {
            for pcr in 0..24 {
                let value = replay.value(pcr);
                assert!(value.is_none_or(|value| value.len() == bank.digest_bytes()));
            }
            if let Some(straight) = log.straight_boot(*bank) {
                assert!((1..=BOOT_ATTEMPTS_MAX).contains(&straight.in_vain));
                // Something was left out, so that it is another value.
                assert!(replay.value(4).is_some_and(|value| value != straight.pcr4));
            }
        }
    }
    for event in log.events() {
        for bank in log.banks() {
            assert_eq!(
                event.digest(*bank).map(<[u8]>::len),
                Some(bank.digest_bytes()).filter(|_| event.digest(*bank).is_some())
            );
            let _ = event.data_is_measured(*bank);
        }
    }
    let _ =
        (boot_url(&log), loaded_images(&log), secure_boot::odd_separators(&log), secure_boot::state(&log));
}
