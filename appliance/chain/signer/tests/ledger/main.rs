//! A Ledger at the wire: a pseudo-terminal that takes and gives reports as hidraw does, and an app behind it that reads
//! what it is asked with code of its own, shows it, and signs with a real key.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping there")]

mod device;
mod ethereum;
mod typed;

use alloy::{
    consensus::{TxEip1559, TxEnvelope},
    eips::{eip2718::Encodable2718 as _, eip2930::AccessList},
    primitives::{TxKind, U256, hex},
};
use appliance_model::{Address, Digest, Icnt, NodeId};
use chain_devnet::{CHAIN_ID, Devnet, Genesis};
use chain_signer::{Allowance, Consent, KeyPath, LedgerError, LedgerSettings, OperatorKey, SignError, Typed};

use crate::{device::Device, ethereum::Habits};

fn asked(data: usize) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce: 0,
        gas_limit: 2_000_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call([0x22; 20].into()),
        value: U256::from(5),
        access_list: AccessList::default(),
        input: (0..data).map(|index| u8::try_from(index % 253).unwrap()).collect::<Vec<u8>>().into(),
    }
}

fn settings(device: &Device) -> LedgerSettings {
    let path = KeyPath::default();
    LedgerSettings { account: device.account(&path), path, device: None, root: device.root().into() }
}

#[tokio::test]
async fn transactions_of_any_length_are_shown_and_signed() {
    let device = Device::plugged_in(Habits { blind: true, ..Habits::default() });
    let key = OperatorKey::ledger(settings(&device));
    // Chunks end in the path, in a head, in the data, and exactly at the end.
    for length in [0, 1, 150, 176, 177, 178, 179, 500, 40_000] {
        let signed = key.sign(asked(length)).await.unwrap();
        let signer = signed.signature().recover_address_from_prehash(&signed.signature_hash()).unwrap();
        assert_eq!(signer.0.0, key.address().0, "{length}");
        let shown = device.shown();
        assert_eq!(
            shown.last().unwrap(),
            &format!("to 0x{} 5 wei, {length} bytes of data, chain 777077", "22".repeat(20))
        );
    }
    // The app may be asked at another path, whose key is another's.
    let elsewhere: KeyPath = "m/44'/60'/1'/0/0".parse().unwrap();
    let other = LedgerSettings { path: elsewhere.clone(), ..settings(&device) };
    let said = OperatorKey::ledger(other.clone()).sign(asked(0)).await.unwrap_err();
    let text = std::error::Error::source(&said).unwrap().to_string();
    assert!(text.contains(&format!("at {elsewhere} is of 0x{}", device.account(&elsewhere))), "{text}");
    assert!(!said.is_waitable());
    assert_eq!(other.found(true).unwrap(), device.account(&elsewhere));
    assert_eq!(device.shown().last().unwrap(), &format!("account 0x{}", device.account(&elsewhere)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_takes_what_it_signed() {
    let device = Device::plugged_in(Habits::default());
    let key = OperatorKey::ledger(settings(&device));
    let dir = tempfile::tempdir().unwrap();
    let money = (key.address().0.into(), U256::from(10).pow(U256::from(18)));
    let devnet = Devnet::open(dir.path(), &Genesis { chain_id: CHAIN_ID, accounts: vec![money] }).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(chain_devnet::serve(listener, devnet));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = async |method: &str, params: serde_json::Value| {
        let question = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = client.post(&url).json(&question).send().await.unwrap();
        answer.json::<serde_json::Value>().await.unwrap()["result"].clone()
    };
    let raw = TxEnvelope::from(key.sign(asked(0)).await.unwrap()).encoded_2718();
    let hash = call("eth_sendRawTransaction", serde_json::json!([hex::encode_prefixed(raw)])).await;
    let receipt = call("eth_getTransactionReceipt", serde_json::json!([hash])).await;
    assert_eq!(
        (&receipt["status"], &receipt["from"]),
        (&"0x1".into(), &format!("0x{}", key.address()).into())
    );
    let there = format!("0x{}", "22".repeat(20));
    assert_eq!(call("eth_getBalance", serde_json::json!([there, "latest"])).await, "0x5");
    server.abort();
}

/// Everything that we have signed as typed data.
fn all_typed(owner: Address) -> Vec<Typed> {
    let domain = || {
        alloy::sol_types::eip712_domain! {
            name: "ICN Token", version: "1", chain_id: 8453, verifying_contract: [0x33; 20].into(),
        }
    };
    let of = Allowance {
        token: Address([0x33; 20]),
        owner,
        spender: Address([0x44; 20]),
        amount: Icnt(1_500_000_000_000_000_000),
        nonce: U256::ZERO,
        deadline_unix: 1_900_000_000,
    };
    // Permit2's domain has no version.
    let permit2 = alloy::sol_types::eip712_domain! {
        name: "Permit2", chain_id: 8453, verifying_contract: [0x55; 20].into(),
    };
    let consent = Consent {
        chain_id: 8453,
        registry: Address([6; 20]),
        node: NodeId([7; 32]),
        operator: Address([8; 20]),
        owner,
        unit_root: Digest([9; 32]),
        class: "storage-large".repeat(30),
        capacity: 0x1_0000,
        commitment_seconds: 93_312_000,
    };
    vec![
        Typed::permit(domain(), &of),
        Typed::permit2(permit2, &of),
        Typed::binding(8453, Address([6; 20]), NodeId([7; 32]), (&[1; 32], &[2; 32]), 1_900_000_000),
        Typed::consent(&consent),
    ]
}

#[tokio::test]
async fn typed_data_is_shown_field_by_field_or_goes_as_hashes() {
    for fields in [true, false] {
        let device = Device::plugged_in(Habits { blind: true, fields, ..Habits::default() });
        let key = OperatorKey::ledger(settings(&device));
        for typed in all_typed(key.address()) {
            let signature = key.sign_typed(&typed).await.unwrap();
            assert_eq!(typed.signer(&signature), Some(key.address()));
        }
        let shown = device.shown().join("\n");
        for words in
            ["spender: 0x4444", "value: 1500000000000000000", "nonce: 0", "name: Permit2", "capacity: 65536"]
        {
            assert_eq!(shown.contains(words), fields, "{words}: {shown}");
        }
        assert_eq!(shown.contains("hashes"), !fields, "{shown}");
    }
}

fn why(error: &SignError) -> &LedgerError {
    let SignError::Ledger { source, .. } = error else { panic!("{error}") };
    source
}

#[tokio::test]
async fn each_answer_has_its_words_and_says_whether_waiting_helps() {
    let says = |word| Habits { word: Some(word), ..Habits::default() };
    let rows = [
        (says(0x5515), 0, true, "type its PIN"),
        (says(0x6e00), 0, true, "Ethereum app is not open (it answers 6E00)"),
        (says(0x6511), 0, true, "open it"),
        (says(0x6f01), 0, false, "answers 6F01 while asked for its account"),
        (
            Habits { refuses: true, ..Habits::default() },
            0,
            false,
            "refused at the Ledger; nothing was signed",
        ),
        // Data that it cannot show, while its settings forbid that.
        (Habits::default(), 8, true, "switch on \"Blind signing\""),
        (Habits { unplugged_after: Some(2), ..Habits::default() }, 0, true, "could not be read"),
        (Habits { garbled: true, ..Habits::default() }, 0, false, "makes no sense"),
    ];
    for (habits, data, waits, words) in rows {
        let device = Device::plugged_in(habits);
        let error = OperatorKey::ledger(settings(&device)).sign(asked(data)).await.unwrap_err();
        let text = why(&error).to_string();
        assert!(text.contains(words) && error.is_waitable() == waits, "{words}: {text}");
    }
    // A device that signs something else is not believed.
    let device = Device::plugged_in(Habits { signs_other: true, ..Habits::default() });
    let key = OperatorKey::ledger(settings(&device));
    assert!(matches!(key.sign(asked(0)).await.unwrap_err(), SignError::Stranger { .. }));
    let error = key.sign_typed(&all_typed(key.address())[0]).await.unwrap_err();
    assert!(matches!(why(&error), LedgerError::BlindSigning), "{error:?}");
}

#[tokio::test]
async fn the_device_is_found_by_what_linux_says_of_it() {
    let device = Device::plugged_in(Habits::default());
    let key = OperatorKey::ledger(settings(&device));
    // Its FIDO interface, and somebody else's keyboard with the same page.
    device.also(1, "HID_ID=0003:00002C97:00005011", &[0x06, 0xd0, 0xf1]);
    device.also(2, "HID_ID=0003:0000046D:0000C31C", &[0x06, 0xa0, 0xff]);
    device.also(4, "HID_ID=nonsense", &[]);
    key.sign(asked(0)).await.unwrap();
    // Two programs never talk at once.
    let node = device.root().join("dev/hidraw0");
    let held = std::fs::OpenOptions::new().read(true).write(true).open(&node).unwrap();
    held.lock().unwrap();
    let error = key.sign(asked(0)).await.unwrap_err();
    assert!(matches!(why(&error), LedgerError::Busy { .. }) && error.is_waitable());
    drop(held);
    // A second one: the configuration says which.
    device.also(7, "HID_ID=0003:00002C97:00004011", &[0x06, 0xa0, 0xff, 0x09]);
    let error = key.sign(asked(0)).await.unwrap_err();
    assert!(why(&error).to_string().contains("hidraw0, ") && why(&error).to_string().contains("hidraw7"));
    let named = LedgerSettings { device: Some(node), ..settings(&device) };
    OperatorKey::ledger(named).sign(asked(0)).await.unwrap();
    let none = LedgerSettings { root: device.root().join("nowhere"), ..settings(&device) };
    let error = OperatorKey::ledger(none).sign(asked(0)).await.unwrap_err();
    assert!(matches!(why(&error), LedgerError::Absent) && error.is_waitable());
    // What is no device fails at the first question.
    let null = LedgerSettings { device: Some("/dev/null".into()), ..settings(&device) };
    assert!(matches!(null.found(false).unwrap_err(), LedgerError::Device { doing: "read", .. }));
}
