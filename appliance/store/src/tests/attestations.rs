//! Attestors' words: one of each, as long as they are good, and no more than there is room for.

use appliance_model::{Address, Now};

use super::{NOW, one_host};
use crate::AttestationRow;

fn row(attestor: u8, seconds: u64, at: Now) -> AttestationRow {
    let valid_until = NOW.0 / 1000 + seconds;
    AttestationRow { attestor: Address([attestor; 20]), valid_until, signature: vec![attestor; 65], at }
}

#[test]
fn each_attestor_has_one_word_and_old_ones_make_room() {
    let (_dir, store, host) = one_host();
    let (first, second) = (row(1, 100, NOW), row(2, 500, Now(NOW.0 + 1)));
    assert!(store.keep_attestation(&host, &first, 2).unwrap());
    assert!(store.keep_attestation(&host, &second, 2).unwrap());
    assert_eq!(store.attestations(&host).unwrap(), [first, second.clone()]);
    assert!(!store.keep_attestation(&host, &row(3, 500, Now(NOW.0 + 2)), 2).unwrap());
    // Its own word again, for longer.
    let longer = row(1, 900, Now(NOW.0 + 3));
    assert!(store.keep_attestation(&host, &longer, 2).unwrap());
    assert_eq!(store.attestations(&host).unwrap(), [second, longer.clone()]);
    // What is over makes room.
    let later = row(3, 2_000, Now(NOW.0 + 600_000));
    assert!(store.keep_attestation(&host, &later, 2).unwrap());
    assert_eq!(store.attestations(&host).unwrap(), [longer, later]);
}
