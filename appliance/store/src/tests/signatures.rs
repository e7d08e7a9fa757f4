//! The book of signatures: counted once whenever the process dies, refusals in one line, proposals once.

use appliance_model::{Address, Digest, Now};

use super::{NOW, open};
use crate::{Admitted, Books, NewSignature, ProposalRow, Signer, Store};

const US: Signer = Signer { account: Address([1; 20]), chain: 8453 };

fn new(slot: u64, spend: u64) -> NewSignature {
    NewSignature {
        slot: format!("nonce {slot}"),
        digest: Digest([u8::try_from(slot).unwrap_or(0); 32]),
        words: vec![format!("spend {spend}")],
        spend: spend.to_string(),
    }
}

fn sum(books: &Books) -> u64 {
    books.used.iter().filter_map(|spend| spend.parse::<u64>().ok()).sum()
}

/// Allows ten in all.
fn admit(store: &Store, slot: u64, spend: u64, now: Now) -> Result<u64, String> {
    let rule = |books: &Books| {
        let used = sum(books);
        if used + spend > 10 {
            return Err(format!("{used} of 10 are spent"));
        }
        Ok(Admitted { permission: None, spend: spend.to_string() })
    };
    store
        .admit_signature(US, &new(slot, spend), Now(NOW.0 - 100), &rule, now)
        .unwrap_or_else(|why| Err(why.to_string()))
}

#[test]
fn a_slot_counts_once_and_a_refusal_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let line = admit(&store, 1, 4, NOW).unwrap();
    // Died before it was signed, and came back: the same line, counted once.
    drop(store);
    let store = open(dir.path());
    assert_eq!(admit(&store, 1, 4, NOW), Ok(line));
    store.signature_made(line, NOW).unwrap();
    assert_eq!(store.spent(US, Now(NOW.0 - 100)).unwrap(), ["4"]);
    // Signed, and asked for again: another line, still counted once.
    assert_ne!(admit(&store, 1, 4, NOW), Ok(line));
    assert_eq!(store.spent(US, Now(NOW.0 - 100)).unwrap(), ["4"]);
    for _ in 0..3 {
        assert_eq!(admit(&store, 2, 7, NOW), Err("4 of 10 are spent".into()));
    }
    admit(&store, 3, 6, NOW).unwrap();
    let lines = store.signatures(100).unwrap();
    let told: Vec<_> =
        lines.iter().map(|line| (line.slot.as_str(), line.outcome.as_str(), line.times)).collect();
    assert_eq!(
        told,
        [
            ("nonce 3", "admitted", 1),
            ("nonce 2", "refused", 3),
            ("nonce 1", "admitted", 1),
            ("nonce 1", "signed", 2)
        ]
    );
    // Another account, and what is older, count nothing here.
    let other = Signer { account: Address([2; 20]), ..US };
    assert_eq!(store.spent(other, Now(0)).unwrap(), Vec::<String>::new());
    assert_eq!(store.spent(US, NOW).unwrap(), Vec::<String>::new());
}

#[test]
fn permissions_are_kept_with_what_was_shown_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = store.allow_spending(US, "SPEND 1", "ab", "ada", NOW).unwrap();
    let second = store.allow_spending(US, "SPEND 2", "cd", "ada", NOW).unwrap();
    assert!(store.revoke_spending(first, NOW).unwrap());
    assert!(!store.revoke_spending(first, NOW).unwrap());
    let rows = store.permissions(US).unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.id, row.revoked_at)).collect::<Vec<_>>(),
        [(first, Some(NOW)), (second, None)]
    );
    let seen = std::cell::RefCell::new(Vec::new());
    let rule = |books: &Books| {
        seen.borrow_mut().clone_from(&books.permissions);
        Ok(Admitted { permission: Some(second), spend: "1".into() })
    };
    store.admit_signature(US, &new(1, 1), Now(0), &rule, NOW).unwrap().unwrap();
    assert_eq!(*seen.borrow(), [(second, "SPEND 2".to_owned())]);
    assert_eq!(store.signatures(1).unwrap()[0].permission, Some(second));
}

#[test]
fn a_proposal_is_brought_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let row = |id| ProposalRow {
        id: Digest([id; 32]),
        slot: "nonce 1".into(),
        json: "{}".into(),
        call: Digest([9; 32]),
        raw: None,
        at: NOW,
    };
    store.propose(US, &row(1)).unwrap();
    store.propose(US, &row(2)).unwrap();
    assert_eq!(store.proposals(US).unwrap(), [row(2)], "one a slot");
    assert!(!store.bring(Digest([1; 32]), b"raw").unwrap());
    assert!(store.bring(Digest([2; 32]), b"raw").unwrap());
    assert!(!store.bring(Digest([2; 32]), b"other").unwrap());
    assert_eq!(store.proposal(US, "nonce 1").unwrap().unwrap().raw, Some(b"raw".to_vec()));
    assert_eq!(store.proposals(US).unwrap(), []);
}
