//! What an older version had signed and on its way when it was replaced: handed to the sender once, as it is, so that the
//! same bytes are sent again, are replaced where their offer is too low, and nothing is signed for the same a second time.

use std::sync::Arc;

use appliance_model::{Address, Digest, HostId, Now};
use appliance_store::{ChainJobRow, Purpose, Store, StoreError, StoredTransaction};
use chain_client::{Purpose as CallPurpose, SignedTransaction};
use chain_sender::{Attempt, Job, JobId, Signed, State, Urgency};

use crate::{
    app::{App, now},
    sending::{self, Errand},
};

/// Hands over what there is for this chain.  Run before the sender's first round; a second time it finds nothing.
pub(crate) async fn take_over(app: &Arc<App>, chain: u64) -> Result<(), StoreError> {
    let account = app.chain.operator().address();
    app.db(move |store| take(store, account, chain, now())).await
}

fn take(store: &Store, account: Address, chain: u64, now: Now) -> Result<(), StoreError> {
    for (host, purpose, old) in store.old_transactions(account)? {
        let hash = old.hash;
        let Some(row) = job(&host, purpose, &old, (account, chain), now) else {
            tracing::warn!(%host, ?purpose, %hash, "an older version's transaction is not for this chain and account; it is left as it is");
            continue;
        };
        if store.take_over_transaction(&host, purpose, &row)? {
            tracing::info!(%host, ?purpose, %hash, nonce = old.nonce, "an older version's transaction goes on");
        }
    }
    Ok(())
}

fn job(
    host: &HostId,
    purpose: Purpose,
    old: &StoredTransaction,
    (account, chain): (Address, u64),
    now: Now,
) -> Option<ChainJobRow> {
    let (errand, kind, urgency) = match purpose {
        Purpose::Approve => (Errand::Approve, CallPurpose::Approve, Urgency::Soon),
        Purpose::Passport => (Errand::Passport, CallPurpose::Approve, Urgency::Soon),
        Purpose::Register => (Errand::Register, CallPurpose::Register, Urgency::Soon),
        Purpose::Publish(sequence) => (Errand::Publish(sequence), CallPurpose::Publish, Urgency::Idle),
    };
    let opened = SignedTransaction::open(&old.raw, kind)?;
    let same = opened.chain_id == chain
        && opened.account == account
        && opened.transaction.nonce == old.nonce
        && Digest(opened.transaction.hash.0) == old.hash;
    if !same {
        return None;
    }
    let id: JobId = errand.id(host).ok()?;
    let attempts = vec![Attempt { transaction: opened.transaction, fees: opened.fees }];
    let signed = Signed { nonce: old.nonce, gas_limit: opened.gas_limit, attempts, since: now };
    let (call, state) = (opened.call, State::Sent(signed));
    let job = Job { id, account, call, needs: None, urgency, queued_at: now, reverts: 0, state };
    sending::row(&job).ok()
}

#[cfg(test)]
mod tests {
    use alloy::{
        consensus::{TxEip1559, TxEnvelope},
        eips::{Encodable2718 as _, eip2930::AccessList},
        primitives::{TxKind, U256},
    };
    use appliance_model::Serial;
    use chain_client::OperatorKey;

    use super::*;

    #[tokio::test]
    async fn signed_bytes_become_a_job_that_is_sent_and_nothing_else_does() {
        let key = OperatorKey::from_secret(&[0x11; 32]).unwrap();
        let transaction = TxEip1559 {
            chain_id: 8453,
            nonce: 7,
            gas_limit: 60_000,
            max_fee_per_gas: 9,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call([0x22; 20].into()),
            value: U256::ZERO,
            access_list: AccessList::default(),
            input: vec![1, 2, 3, 4].into(),
        };
        let envelope = TxEnvelope::from(key.sign(transaction).await.unwrap());
        let (raw, hash) = (envelope.encoded_2718(), Digest(envelope.tx_hash().0));
        let old = StoredTransaction { nonce: 7, hash, raw, done: false };
        let host = HostId::of_serial(&Serial::parse("S1").unwrap());
        let (account, at) = (key.address(), Now(5));
        let read = |old: &StoredTransaction, ours| job(&host, Purpose::Publish(3), old, ours, at);
        let row = read(&old, (account, 8453)).unwrap();
        assert_eq!(
            (row.id.as_str(), row.nonce, row.open),
            (&*format!("host {host} publish 3"), Some(7), true)
        );
        let job: Job = serde_json::from_str(&row.record).unwrap();
        let call = (job.call.to, job.call.input.as_slice(), job.call.purpose, job.urgency);
        assert_eq!(call, (Address([0x22; 20]), [1, 2, 3, 4].as_slice(), CallPurpose::Publish, Urgency::Idle));
        let signed = job.state.signed().unwrap();
        let newest = signed.newest().unwrap();
        assert_eq!((signed.gas_limit, newest.fees.max_fee_per_gas), (60_000, 9));
        assert_eq!((&newest.transaction.raw, newest.transaction.hash.0), (&old.raw, hash.0));
        // Another chain, another account, another nonce, other bytes.
        assert!(read(&old, (account, 1)).is_none() && read(&old, (Address([3; 20]), 8453)).is_none());
        let longer = [old.raw.as_slice(), &[0]].concat();
        for odd in [
            StoredTransaction { nonce: 8, ..old.clone() },
            StoredTransaction { hash: Digest([0; 32]), ..old.clone() },
            StoredTransaction { raw: longer, ..old.clone() },
            StoredTransaction { raw: old.raw[..20].to_vec(), ..old.clone() },
        ] {
            assert!(read(&odd, (account, 8453)).is_none(), "{odd:?}");
        }
    }
}
