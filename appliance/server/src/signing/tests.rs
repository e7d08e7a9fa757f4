//! The book under `kill -9`: what is allowed is signed once, never more, wherever the process dies.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use alloy::{
    consensus::TxEip1559,
    eips::eip2930::AccessList,
    primitives::{TxKind, U256},
};
use chain_client::SignError;

use super::*;

const DIR: &str = "SIGNING_TEST_DIR";
const CHAIN: u64 = 8453;
/// Twelve approvals of one token each.
const WORDS: &str = "SPEND 12 ICNT 1 COIN 0 NODES A DAY UNTIL 9999-12-31";
const ALLOWED: usize = 12;

/// `approve(0x55…, 1 ICNT)`.
fn approval(nonce: u64, chain_id: u64) -> TxEip1559 {
    let amount = U256::from(1_000_000_000_000_000_000_u64).to_be_bytes::<32>();
    let input = [&[0x09, 0x5e, 0xa7, 0xb3][..], &[0; 12], &[0x55; 20], &amount].concat();
    TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 60_000,
        max_fee_per_gas: 1_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call([0x22; 20].into()),
        value: U256::ZERO,
        access_list: AccessList::default(),
        input: input.into(),
    }
}

fn key(dir: &Path) -> OperatorKey {
    let book = StoreBook::open(dir).unwrap_or_else(|error| unreachable!("{error}"));
    let key = OperatorKey::from_secret(&[0x11; 32]).unwrap_or_else(|error| unreachable!("{error}"));
    key.with_book(Arc::new(book))
}

fn denied(error: &SignError) -> String {
    crate::chain_of(error)
}

#[tokio::test]
#[ignore = "the other half of the test below: it starts it and kills it"]
async fn the_victim() {
    let dir = std::path::PathBuf::from(std::env::var_os(DIR).unwrap());
    let (key, sent) = (key(&dir), dir.join("sent"));
    loop {
        // What was sent is on disk before the next nonce is taken, as the sender has it.
        let nonce = std::fs::read_to_string(&sent).unwrap_or_default().lines().count();
        match key.sign(approval(u64::try_from(nonce).unwrap(), CHAIN)).await {
            Ok(_) => {}
            Err(error) => {
                assert!(denied(&error).contains("above the 12 ICNT a day"), "{}", denied(&error));
                println!("denied");
                return;
            }
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&sent).unwrap();
        writeln!(file, "{nonce}").unwrap();
        file.sync_all().unwrap();
        println!("sent {nonce}.");
    }
}

#[test]
fn what_is_allowed_is_signed_for_once_wherever_the_process_dies() {
    let dir = tempfile::tempdir().unwrap();
    let account = key(dir.path()).address();
    let store = Store::open(&dir.path().join("store.sqlite")).unwrap();
    store.allow_spending(signer(account, CHAIN), WORDS, "sheet", "ada", now()).unwrap();
    let mut ended = false;
    // Microseconds after a line was said: before, in and after the next count, signature and note.
    for round in 0_u64.. {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signing::tests::the_victim", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("sent") || line.contains("denied"));
        if said.is_some_and(|line| line.contains("denied")) {
            ended = child.wait().unwrap().success();
            break;
        }
        std::thread::sleep(Duration::from_micros(round * 709 % 6_000));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(ended);
    let sent = std::fs::read_to_string(dir.path().join("sent")).unwrap();
    assert_eq!(sent.lines().count(), ALLOWED, "all that is allowed, and no more");
    let spent = store.spent(signer(account, CHAIN), window(now())).unwrap();
    let sum = spent.iter().fold(Spend::NONE, |sum, spend| sum.plus(read_spend(spend).unwrap()));
    assert_eq!(sum.allowed.to_string(), "12 ICNT");
    let lines = store.signatures(1000).unwrap();
    for nonce in 0..ALLOWED {
        let slot = format!("nonce {nonce}");
        let signed = lines.iter().any(|line| line.slot == slot && line.outcome == "signed");
        assert!(signed, "{slot} was sent and its signature is not in the book");
    }
    let refused = lines.iter().filter(|line| line.outcome == "refused").count();
    assert_eq!(refused, 1, "{lines:?}");
}

#[tokio::test]
async fn development_chains_need_no_permission_and_every_signature_is_in_the_book() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(dir.path());
    key.sign(approval(0, chain_devnet::CHAIN_ID)).await.unwrap();
    let error = key.sign(approval(0, CHAIN)).await.unwrap_err();
    assert!(
        denied(&error).contains("nobody allowed this account to spend on chain 8453"),
        "{}",
        denied(&error)
    );
    assert!(error.is_waitable());
    let store = Store::open(&dir.path().join("store.sqlite")).unwrap();
    let lines = store.signatures(10).unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.signer.chain, line.outcome.as_str())).collect();
    assert_eq!(told, [(CHAIN, "refused"), (chain_devnet::CHAIN_ID, "signed")]);
    assert!(lines[1].words[0].contains("take 1 ICNT"), "{:?}", lines[1].words);
    // What nobody understands is signed on no chain that is worth anything, whatever is allowed.
    store.allow_spending(signer(key.address(), CHAIN), WORDS, "sheet", "ada", now()).unwrap();
    let odd = TxEip1559 { input: vec![1, 2, 3, 4].into(), ..approval(0, CHAIN) };
    assert!(denied(&key.sign(odd).await.unwrap_err()).contains("is not understood"));
    key.sign(approval(0, CHAIN)).await.unwrap();
}

#[tokio::test]
async fn a_key_elsewhere_gets_its_proposal_and_sends_what_came_back() {
    let dir = tempfile::tempdir().unwrap();
    let there = OperatorKey::from_secret(&[0x11; 32]).unwrap();
    let book = Arc::new(StoreBook::open(dir.path()).unwrap());
    let here = OperatorKey::elsewhere(there.address()).with_book(book);
    let asked = approval(3, CHAIN);
    for _ in 0..2 {
        let error = here.sign(asked.clone()).await.unwrap_err();
        assert!(error.is_waitable() && denied(&error).contains("chain export"), "{}", denied(&error));
    }
    let store = Store::open(&dir.path().join("store.sqlite")).unwrap();
    let rows = store.proposals(signer(there.address(), CHAIN)).unwrap();
    assert_eq!(rows.len(), 1);
    let proposal = Proposal::read(rows[0].json.as_bytes(), now().0 / 1000).unwrap();
    let signed = there.sign(proposal.transaction().unwrap()).await.unwrap();
    let mut raw = Vec::new();
    signed.eip2718_encode(&mut raw);
    let (spend, understood) = proposal.cost().unwrap();
    let ask = Ask {
        account: there.address(),
        chain_id: CHAIN,
        slot: rows[0].slot.clone(),
        digest: [0; 32],
        words: proposal.meaning,
        spend,
        understood,
    };
    assert!(brought_back(&store, &ask, rows[0].id, &raw).unwrap());
    // Fees have moved meanwhile; what was signed is what is sent.
    let dearer = TxEip1559 { max_fee_per_gas: 9_000_000, gas_limit: 61_000, ..asked.clone() };
    assert_eq!(here.sign(dearer).await.unwrap().tx(), &asked);
    // Another call in its place is another proposal.
    let other = TxEip1559 { to: TxKind::Call([0x23; 20].into()), ..asked };
    assert!(denied(&here.sign(other).await.unwrap_err()).contains("waits to be signed elsewhere"));
}
