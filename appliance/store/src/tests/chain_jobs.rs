//! The sender's jobs: one of a name, one of a nonce.

use appliance_model::Address;

use super::open;
use crate::ChainJobRow;

fn job(id: &str, nonce: Option<u64>) -> ChainJobRow {
    ChainJobRow {
        id: id.into(),
        account: Address([7; 20]),
        nonce,
        open: true,
        record: format!("{id} {nonce:?}"),
    }
}

#[test]
fn a_name_is_one_job_and_a_nonce_is_one_open_job() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(store.add_chain_job(&job("a", None)).unwrap());
    assert!(!store.add_chain_job(&job("a", Some(9))).unwrap(), "asked for twice, there once");
    assert!(store.add_chain_job(&job("b", None)).unwrap());
    store.put_chain_job(&job("a", Some(3))).unwrap();
    let error = store.put_chain_job(&job("b", Some(3))).unwrap_err();
    assert!(error.to_string().contains("write a job of the sender"), "{error}");
    assert_eq!(store.chain_job("b").unwrap().as_deref(), Some("b None"), "as it was");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.open_chain_jobs(Address([7; 20])).unwrap(), ["a Some(3)", "b None"]);
    assert!(store.open_chain_jobs(Address([8; 20])).unwrap().is_empty());
    store.forget_chain_job("a").unwrap();
    assert!(store.chain_job("a").unwrap().is_some(), "what is open is not forgotten");
    // Over: its nonce is free for a chain that begins anew, and its name may go.
    store.put_chain_job(&ChainJobRow { open: false, ..job("a", Some(3)) }).unwrap();
    store.put_chain_job(&job("b", Some(3))).unwrap();
    store.forget_chain_job("a").unwrap();
    assert_eq!(store.chain_job("a").unwrap(), None);
}
