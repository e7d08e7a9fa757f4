//! Logs that our own machines wrote, with the PCR values their TPMs showed.

use attest_verify::secure_boot;
use attest_wire::eventlog::{Bank, EventLog, boot_url, loaded_images};

/// OVMF 2025.02 booting a UKI with systemd-stub from a disk: values read from `/sys/class/tpm/tpm0/pcr-sha256`.
const OVMF_UKI: [(u8, &str); 10] = [
    (0, "0101271704ccc2360ddbb08438d591c23fb8a0a9cb0cebc60cefea7868833f8e"),
    (1, "1d2a43a7f541fe7e751819f5c03f8fc6ec9d17ec88ffdc916bf805a6a0fc2656"),
    (2, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"),
    (3, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"),
    (4, "128d4142082c63556d8991dea111a9d0a6f8ca91df04faa9215568455868d97a"),
    (5, "a5ceb755d043f32431d63e39f5161464620a3437280494b5850dc1b47cc074e0"),
    (6, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"),
    (7, "b5710bf57d25623e4019027da116821fa99f5c81e9e38b87671cc574f9281439"),
    (9, "f5456757f45e3dc1bfd08427546ce7716acfbeff8df93473d489553bbdfca21e"),
    (11, "ad88e48f6b2e6cd35666a2131bc713129308c71b09ac8ceb5e6256f28d9aa1e8"),
];

#[test]
fn ovmf_with_a_uki_replays_to_what_its_tpm_showed() {
    let log = EventLog::parse(include_bytes!("data/ovmf-uki.bin")).unwrap();
    let replay = log.replay(Bank::Sha256).unwrap();
    for (pcr, value) in OVMF_UKI {
        assert_eq!(replay.value(pcr).map(hex::encode).as_deref(), Some(value), "PCR {pcr}");
    }
    for pcr in [8, 10, 12, 13, 14, 15] {
        assert_eq!(replay.value(pcr), None, "PCR {pcr}");
    }
    assert_eq!(secure_boot::odd_separators(&log), [0u32; 0]);
    assert_eq!(secure_boot::state(&log), Ok(Some(false)));
    // The UKI, then the kernel inside it; neither came from a URL.
    assert_eq!(loaded_images(&log).len(), 2);
    assert_eq!(boot_url(&log), None);
}
