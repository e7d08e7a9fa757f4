//! Keystore files: the published vectors open, ours is as strong as geth's, and hostile ones cost nothing.

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559},
    primitives::{TxKind, U256},
};
use chain_signer::{KeyError, Keystore, KeystoreError, OperatorKey, Passphrase};

/// "Web3 Secret Storage Definition", test vectors: both hold this secret under the passphrase `testpassword`.
const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

fn vector(kdf: &str) -> String {
    let (iv, ciphertext, mac, params) = if kdf == "scrypt" {
        (
            "83dbcc02d8ccb40e466191a123791e0e",
            "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
            r#""dklen":32,"n":262144,"r":1,"p":8,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19""#,
        )
    } else {
        (
            "6087dab2f9fdbbfaddc31a909735c1e6",
            "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
            r#""dklen":32,"c":262144,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd""#,
        )
    };
    format!(
        r#"{{"crypto":{{"cipher":"aes-128-ctr","cipherparams":{{"iv":"{iv}"}},"ciphertext":"{ciphertext}","kdf":"{kdf}","kdfparams":{{{params}}},"mac":"{mac}"}},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}}"#
    )
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::typed(text.to_owned()).expect("a passphrase of the test")
}

#[test]
fn the_published_vectors_open() {
    for (kdf, weak) in [("scrypt", false), ("pbkdf2", true)] {
        let keystore = Keystore::parse(vector(kdf).as_bytes()).unwrap();
        assert_eq!(hex::encode(*keystore.open(&passphrase("testpassword")).unwrap()), SECRET, "{kdf}");
        assert_eq!(keystore.weakness().is_some(), weak, "{kdf}");
        let wrong = keystore.open(&passphrase("testpasswore")).unwrap_err();
        assert!(matches!(wrong, KeystoreError::Passphrase), "{wrong}");
    }
}

#[test]
fn a_written_file_opens_and_costs_what_geths_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("operator.json");
    let passphrase = passphrase("correct horse battery\n");
    let made = OperatorKey::create_keystore(&file, Some(&[7; 32]), &passphrase).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    for said in ["\"n\": 262144", "\"r\": 8", "\"p\": 1", &made.address().to_string().to_lowercase()] {
        assert!(text.contains(said), "no {said} in {text}");
    }
    assert!(!text.contains(&hex::encode([7; 32])));
    assert_eq!(Keystore::parse(text.as_bytes()).unwrap().weakness(), None);
    assert_eq!(OperatorKey::open(&file, &passphrase).unwrap().address(), made.address());
    // Nothing is written over it, and a file that others can read is not read.
    assert!(OperatorKey::create_keystore(&file, None, &passphrase).is_err());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, open).unwrap();
    assert!(matches!(OperatorKey::keystore(&file).unwrap_err(), KeyError::Exposed { .. }));
}

#[test]
fn hostile_files_are_refused_before_anything_is_computed() {
    let good = vector("scrypt");
    let rows: [(String, &str); 9] = [
        (good.replace("262144", "1073741824"), "more work"),
        (good.replace("\"r\":1", "\"r\":4294967295"), "more work"),
        (good.replace("\"p\":8", "\"p\":2000000000"), "more work"),
        (good.replace("262144", "262143"), "parameters"),
        (good.replace("\"version\":3", "\"version\":1"), "version is 1"),
        (good.replace("aes-128-ctr", "aes-128-cbc"), "cipher"),
        (good.replace("d172bf", ""), "ciphertext"),
        (vector("pbkdf2").replace("262144", "4000000000"), "more work"),
        (format!("{good}{}", " ".repeat(9000)), "longer"),
    ];
    for (text, word) in rows {
        let error = Keystore::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(!error.contains("2103ac29"), "{error}");
    }
}

#[test]
fn a_light_file_is_named_by_how_much_cheaper_it_is() {
    // What many tools write: N = 8192.
    let light = vector("scrypt").replace("262144", "8192").replace("\"r\":1,\"p\":8", "\"r\":8,\"p\":1");
    let weakness = Keystore::parse(light.as_bytes()).unwrap().weakness().unwrap();
    assert!(weakness.contains("1/32"), "{weakness}");
}

#[tokio::test]
async fn a_signature_is_of_the_account_over_what_was_asked() {
    let key = OperatorKey::from_secret(&[1; 32]).unwrap();
    let transaction = TxEip1559 {
        chain_id: 5,
        nonce: 1,
        gas_limit: 21_000,
        max_fee_per_gas: 3,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call([2; 20].into()),
        value: U256::from(4),
        access_list: alloy::eips::eip2930::AccessList::default(),
        input: alloy::primitives::Bytes::new(),
    };
    let hash = transaction.signature_hash();
    let signed = key.sign(transaction).await.unwrap();
    let signer = signed.signature().recover_address_from_prehash(&hash).unwrap();
    assert_eq!(signer.0.0, key.address().0);
}
