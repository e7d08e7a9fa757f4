//! A signer in another machine, at the wire: a real HTTP server that answers as it is told, over TLS as well.

use std::sync::Arc;

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::{eip2718::Encodable2718 as _, eip2930::AccessList},
    primitives::{TxKind, U256, hex},
    signers::{SignerSync as _, local::PrivateKeySigner},
};
use appliance_model::{Address, Icnt};
use chain_signer::{Allowance, OperatorKey, RemoteSettings, SignError, Typed};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};

const URL: &str = "http://127.0.0.1:";

fn signer() -> PrivateKeySigner {
    PrivateKeySigner::from_slice(&[0x11; 32]).expect("a secret of the test")
}

fn account() -> Address {
    Address(signer().address().into_array())
}

fn asked() -> TxEip1559 {
    TxEip1559 {
        chain_id: 8453,
        nonce: 7,
        gas_limit: 300_000,
        max_fee_per_gas: 2_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call([0x22; 20].into()),
        value: U256::from(5),
        access_list: AccessList::default(),
        input: vec![1, 2, 3, 4, 5].into(),
    }
}

fn raw(transaction: TxEip1559, by: &PrivateKeySigner) -> Vec<u8> {
    let signature = by.sign_hash_sync(&transaction.signature_hash()).expect("a signature of the test");
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
}

/// One request's body, and the answer to it.
async fn serve_one(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &(u16, String)) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").and_then(|length| length.trim().parse::<usize>().ok())
        })?;
        if body.len() >= length {
            let (status, body_out) = answer;
            let said = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body_out}",
                body_out.len()
            );
            stream.write_all(said.as_bytes()).await.ok()?;
            stream.shutdown().await.ok()?;
            return serde_json::from_str(body).ok();
        }
    }
}

/// What the key says when the signer answers so, and what the signer was asked.
async fn answered(status: u16, answer: Value) -> (Result<Vec<u8>, SignError>, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let settings = RemoteSettings {
        url: format!("{URL}{port}/"),
        account: account(),
        authority_pem: None,
        identity_pem: None,
    };
    let key = OperatorKey::remote(settings).expect("settings of the test");
    let answer = (status, answer.to_string());
    let server = async {
        let (stream, _) = listener.accept().await.expect("a caller");
        serve_one(stream, &answer).await.expect("a question")
    };
    let (signed, question) = tokio::join!(key.sign(asked()), server);
    (signed.map(|signed| TxEnvelope::from(signed).encoded_2718()), question)
}

fn result(bytes: &[u8]) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "result": hex::encode_prefixed(bytes) })
}

#[tokio::test]
async fn the_question_is_whole_and_the_answer_is_what_was_asked() {
    let good = raw(asked(), &signer());
    let (signed, question) = answered(200, result(&good)).await;
    assert_eq!(signed.unwrap(), good);
    assert_eq!(question["method"], "eth_signTransaction");
    let expected = json!([{
        "from": format!("0x{}", account()), "to": hex::encode_prefixed([0x22; 20]), "chainId": "0x2105", "nonce": "0x7",
        "gas": "0x493e0", "maxFeePerGas": "0x1e8480", "maxPriorityFeePerGas": "0xf4240", "value": "0x5",
        "data": "0x0102030405",
    }]);
    assert_eq!(question["params"], expected);
    // Clef's shape.
    let wrapped = json!({ "id": 1, "result": { "raw": hex::encode_prefixed(&good), "tx": {} } });
    assert_eq!(answered(200, wrapped).await.0.unwrap(), good);
}

#[tokio::test]
async fn whatever_else_was_signed_is_refused_by_the_field_that_differs() {
    let changed = |change: fn(&mut TxEip1559)| {
        let mut transaction = asked();
        change(&mut transaction);
        raw(transaction, &signer())
    };
    let rows: [(Vec<u8>, &str); 11] = [
        (changed(|tx| tx.chain_id = 1), "another chain id"),
        (changed(|tx| tx.nonce = 8), "another nonce"),
        (changed(|tx| tx.to = TxKind::Call([0x23; 20].into())), "another recipient"),
        (changed(|tx| tx.to = TxKind::Create), "another recipient"),
        (changed(|tx| tx.value = U256::from(6)), "another value"),
        (changed(|tx| tx.input = vec![1, 2, 3, 4, 6].into()), "another data"),
        (changed(|tx| tx.gas_limit = 300_001), "another gas limit"),
        (changed(|tx| tx.max_fee_per_gas += 1), "another highest fee"),
        (changed(|tx| tx.max_priority_fee_per_gas += 1), "another tip"),
        ([raw(asked(), &signer()), vec![0]].concat(), "another end"),
        (vec![2, 1, 2, 3], "another form"),
    ];
    for (bytes, words) in rows {
        let said = answered(200, result(&bytes)).await.0.unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("was not used"), "{words}: {said}");
    }
    let stranger = PrivateKeySigner::from_slice(&[0x12; 32]).unwrap();
    let said = answered(200, result(&raw(asked(), &stranger))).await.0.unwrap_err();
    assert!(matches!(said, SignError::Stranger { .. }), "{said}");
}

#[tokio::test]
async fn a_signer_that_fails_is_waited_for_and_one_that_refuses_is_quoted() {
    let rows: [(u16, Value, bool, &str); 5] = [
        (503, json!("busy"), true, "does not answer"),
        (
            200,
            json!({ "error": { "code": -32000, "message": "no key\u{7} for this account" } }),
            false,
            "no key for this",
        ),
        (401, json!({}), false, "HTTP status 401"),
        (200, json!({ "result": 7 }), false, "no hex"),
        (200, json!({ "result": format!("0x{}", "00".repeat(600_000)) }), false, "longer than any"),
    ];
    for (status, answer, waits, words) in rows {
        let error = answered(status, answer).await.0.unwrap_err();
        assert_eq!(error.is_waitable(), waits, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let url = |url: &str| RemoteSettings {
        url: url.into(),
        account: account(),
        authority_pem: None,
        identity_pem: None,
    };
    for plain in ["http://signer.example/", "ftp://127.0.0.1/", "signer"] {
        assert!(OperatorKey::remote(url(plain)).is_err(), "{plain}");
    }
}

#[tokio::test]
async fn over_tls_only_the_named_authority_is_believed_and_we_show_a_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(params, &authority);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let ((server, server_key), (ours, our_key)) = (issue("127.0.0.1"), issue("appliance"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let answer = (200, result(&raw(asked(), &signer())).to_string());
    let identity = zeroize::Zeroizing::new([ours.pem(), our_key.serialize_pem()].concat().into_bytes());
    let settings = |identity, authority: Option<String>| RemoteSettings {
        url: url.clone(),
        account: account(),
        authority_pem: authority.map(String::into_bytes),
        identity_pem: identity,
    };
    let known = OperatorKey::remote(settings(Some(identity.clone()), Some(root.pem()))).unwrap();
    let unknown = OperatorKey::remote(settings(None, Some(root.pem()))).unwrap();
    let distrusting = OperatorKey::remote(settings(Some(identity), None)).unwrap();
    for (key, works) in [(known, true), (unknown, false), (distrusting, false)] {
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_one(stream, &answer).await;
            }
        };
        let (signed, ()) = tokio::join!(key.sign(asked()), server);
        match signed {
            Ok(_) => assert!(works),
            Err(error) => assert!(!works && error.is_waitable(), "{error}"),
        }
    }
}

#[tokio::test]
async fn typed_data_goes_as_wallets_show_it() {
    let domain = alloy::sol_types::eip712_domain! {
        name: "ICN Token", version: "1", chain_id: 8453, verifying_contract: [0x33; 20].into(),
    };
    let of = Allowance {
        token: Address([0x33; 20]),
        owner: account(),
        spender: Address([0x44; 20]),
        amount: Icnt(1_500_000_000_000_000_000),
        nonce: U256::from(3),
        deadline_unix: 1_900_000_000,
    };
    let typed = Typed::permit(domain, &of);
    let signature = signer().sign_hash_sync(&typed.hash().into()).unwrap().as_bytes();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = RemoteSettings {
        url: format!("{URL}{}", listener.local_addr().unwrap().port()),
        account: account(),
        authority_pem: None,
        identity_pem: None,
    };
    let key = OperatorKey::remote(settings).unwrap();
    let answer = (200, result(&signature).to_string());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve_one(stream, &answer).await.unwrap()
    };
    let (signed, question) = tokio::join!(key.sign_typed(&typed), server);
    assert_eq!(signed.unwrap(), signature);
    assert_eq!(question["method"], "eth_signTypedData");
    // What the signer reads out of the JSON is what we hashed.
    let read: alloy::dyn_abi::TypedData = serde_json::from_value(question["params"][1].clone()).unwrap();
    assert_eq!(read.eip712_signing_hash().unwrap().0, typed.hash());
    assert_eq!(typed.signer(&signature), Some(account()));
    assert!(typed.words[0].contains("take 1.5 ICNT"), "{:?}", typed.words);
}

/// Secrets of a test, which only their owner reads.
fn closed(dir: &std::path::Path, text: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let file = dir.join("credentials");
    std::fs::write(&file, text).expect("a file of the test");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    file
}

/// What a cloud's KMS answers to what it was asked, both halves of s in turn.
#[tokio::test]
async fn keys_in_clouds_sign_by_one_request() {
    use alloy::signers::k256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use chain_signer::{Cloud, KmsSettings};

    let aws = Cloud::Aws { key: "alias/operator".into(), region: "eu-central-1".into() };
    let name = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";
    let google = Cloud::Google { key: name.into() };
    let keys = r#"{"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"wJalr","SessionToken":"tok"}"#;
    let key = SigningKey::from_slice(&[0x11; 32]).unwrap();
    let low: Signature = key.sign_prehash(asked().signature_hash().as_slice()).unwrap();
    let low = low.normalize_s().unwrap_or(low);
    let high = Signature::from_scalars(*low.r(), -*low.s()).unwrap();
    for (cloud, credentials, field, signature) in [
        (aws.clone(), keys, "Signature", low),
        (aws, keys, "Signature", high),
        (google.clone(), "ya29.token\n", "signature", low),
        (google, "ya29.token\n", "signature", high),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = |account| KmsSettings {
            cloud: cloud.clone(),
            account,
            credentials_file: closed(dir.path(), credentials),
            endpoint: Some(format!("{URL}{}", listener.local_addr().unwrap().port())),
            authority_pem: None,
            clock: || appliance_model::Now(1_440_938_160_000),
        };
        let answer = (200, json!({ field: STANDARD.encode(signature.to_der()) }).to_string());
        let server = || async {
            let (stream, _) = listener.accept().await.unwrap();
            serve_one(stream, &answer).await.unwrap()
        };
        let kms = OperatorKey::kms(settings(account())).unwrap();
        let (signed, question) = tokio::join!(kms.sign(asked()), server());
        assert_eq!(TxEnvelope::from(signed.unwrap()).encoded_2718(), raw(asked(), &signer()));
        let digest = STANDARD.encode(asked().signature_hash());
        match &cloud {
            Cloud::Aws { .. } => assert_eq!(
                question,
                json!({ "KeyId": "alias/operator", "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256" })
            ),
            Cloud::Google { .. } => assert_eq!(question, json!({ "digest": { "sha256": digest } })),
        }
        // A key that is not of the account that the site file names signs nothing for us.
        let other = OperatorKey::kms(settings(Address([9; 20]))).unwrap();
        let (signed, _) = tokio::join!(other.sign(asked()), server());
        assert!(matches!(signed.unwrap_err(), SignError::Stranger { .. }));
        // Credentials are read anew each time, and waited for.
        std::fs::write(dir.path().join("credentials"), "\u{1}").unwrap();
        let error = kms.sign(asked()).await.unwrap_err();
        assert!(error.is_waitable() && matches!(error, SignError::Credentials { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_a_cloud_refuses_is_quoted() {
    use chain_signer::{Cloud, KmsSettings};
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = OperatorKey::kms(KmsSettings {
        cloud: Cloud::Aws { key: "k".into(), region: "eu-central-1".into() },
        account: account(),
        credentials_file: closed(dir.path(), r#"{"AccessKeyId":"AKID","SecretAccessKey":"wJalr"}"#),
        endpoint: Some(format!("{URL}{}", listener.local_addr().unwrap().port())),
        authority_pem: None,
        clock: || appliance_model::Now(0),
    })
    .unwrap();
    let answer = (400, json!({ "__type": "AccessDeniedException", "Message": "not yours" }).to_string());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve_one(stream, &answer).await
    };
    let (signed, _) = tokio::join!(key.sign(asked()), server);
    let said = signed.unwrap_err().to_string();
    assert!(said.contains("AccessDeniedException not yours") && !said.contains("wJalr"), "{said}");
}
