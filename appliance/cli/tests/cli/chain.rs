//! `chain …`: keys and what they sign, as people meet them.

use std::os::unix::fs::PermissionsExt as _;

use crate::{path, refused, run, running::Appliance, site::Site, text};

fn closed(file: &std::path::Path, content: &str) {
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_key_is_made_shown_and_taken_over_without_ever_being_printed() {
    let dir = tempfile::tempdir().unwrap();
    let [secret, words, short, file] =
        ["operator.key", "passphrase", "short", "operator.json"].map(|name| dir.path().join(name));
    closed(&secret, &"11".repeat(32));
    closed(&words, "correct horse battery staple\n");
    closed(&short, "horse\n");
    let import = |passphrase| {
        run(&["chain", "key", "import", path(&secret), path(&file), "--passphrase-file", path(passphrase)])
    };
    refused(&import(&short), &["at least 12 characters", "this one has 5"]);
    let made = import(&words);
    let said = text(&made.stdout);
    // The account of this secret, by any Ethereum tool.
    assert!(said.contains("0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"), "{said} {}", text(&made.stderr));
    assert!(
        !said.contains(&"11".repeat(32)) && !text(&std::fs::read(&file).unwrap()).contains(&"11".repeat(32))
    );
    let shown = text(&run(&["chain", "key", "show", path(&file), "--json"]).stdout);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["address"], "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a");
    assert_eq!((&shown["opened"], &shown["weakness"]), (&false.into(), &serde_json::Value::Null));
    let again = import(&words);
    refused(&again, &["operator.json", "cannot be created"]);
    std::fs::set_permissions(&words, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = run(&["chain", "key", "show", path(&file), "--open", "--passphrase-file", path(&words)]);
    refused(&exposed, &["mode 0644 lets others read it", "chmod 600"]);
    // Without a terminal or a file there is nobody to ask.
    refused(&run(&["chain", "key", "new", path(&dir.path().join("new.json"))]), &["no terminal"]);
}

#[test]
fn what_a_commitment_comes_to_is_shown_without_an_appliance() {
    let dir = tempfile::tempdir().unwrap();
    let template = run(&["chain", "what-if", "--template"]);
    assert!(template.status.success());
    let file = dir.path().join("numbers.toml");
    std::fs::write(&file, &template.stdout).unwrap();
    let shown = text(&run(&["chain", "what-if", "--numbers", path(&file)]).stdout);
    for words in [
        "committed from 2027-01-01 to 2029-12-16, 1080 days",
        "the warranty             ENDS 2029-06-30, 169 days too early: as declared",
        "drive EXAMPLE1",
        "costs are paid",
        "can begin until 715 days after the registration",
        "1 days and 1 s",
    ] {
        assert!(shown.contains(words), "no `{words}` in: {shown}");
    }
    let arguments = ["chain", "what-if", "--json", "--numbers", path(&file)];
    let more = ["--price", "0.01", "--price", "0.02", "--commitment", "1080", "--commitment", "1440"];
    let json: serde_json::Value =
        serde_json::from_slice(&run(&[&arguments[..], &more[..]].concat()).stdout).unwrap();
    let days: Vec<_> =
        json["prices"].as_array().unwrap().iter().map(|row| row["break_even_days"].clone()).collect();
    assert_eq!(days.len(), 4);
    assert!(days[0].is_null() && days[1].is_u64(), "{days:?}");
    std::fs::write(&file, "[node]\ncapacity = -1\n").unwrap();
    refused(&run(&["chain", "what-if", "--numbers", path(&file)]), &["line 2", "--template"]);
}

#[test]
fn what_may_be_spent_is_typed_after_its_cost_was_shown() {
    let site = Site::new();
    // Any id but that of a development chain: a signature for it might be worth something.
    site.edit("chain_id = 777077", "chain_id = 777078");
    let appliance = Appliance::of(site);
    let spending = appliance.read(&["chain", "permit"]);
    assert_eq!((&spending["demanded"], &spending["permissions"]), (&true.into(), &serde_json::json!([])));
    let permit = |tokens: &str, say: &str| {
        run(&[
            "chain",
            "permit",
            "--tokens",
            tokens,
            "--gas",
            "0.5",
            "--nodes",
            "10",
            "--until",
            "2099-12-31",
            "--say",
            say,
            "--appliance",
            &appliance.url,
        ])
    };
    let words = "SPEND 500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2099-12-31";
    let mistyped = permit("500", "SPEND 500 ICNT");
    let shown = text(&mistyped.stdout);
    assert_eq!(mistyped.status.code(), Some(2));
    assert!(shown.contains("stake up to 500 ICNT") && shown.contains("gwei"), "{shown}");
    assert!(text(&mistyped.stderr).contains("nothing was allowed"));
    assert_eq!(appliance.read(&["chain", "permit"])["permissions"], serde_json::json!([]));
    refused(&permit("5_0", words), &["amounts are digits"]);
    refused(&permit("1.1.1", words), &["a permission is words such as", "Nothing was allowed"]);
    let allowed = permit("500", words);
    assert!(text(&allowed.stdout).contains("chain revoke 1"), "{}", text(&allowed.stderr));
    let spending = appliance.read(&["chain", "permit"]);
    assert_eq!(
        (&spending["permissions"][0]["words"], &spending["permissions"][0]["holds"]),
        (&words.into(), &true.into())
    );
    assert!(appliance.read(&["chain", "audit"]).is_array());
    let revoke = run(&["chain", "revoke", "1", "--appliance", &appliance.url]);
    assert!(revoke.status.success());
    assert_eq!(appliance.read(&["chain", "permit"])["permissions"][0]["holds"], false);
    refused(&run(&["chain", "revoke", "1", "--appliance", &appliance.url]), &["no permission 1"]);
    assert_eq!(appliance.read(&["chain", "export"]), serde_json::json!([]));
}

/// A development chain with the contracts on it, at this URL; and the registry.
async fn contracts(dir: &std::path::Path) -> (String, String) {
    let deployer = chain_client::OperatorKey::from_secret(&[0x22; 32]).unwrap();
    let genesis = appliance_server::site::genesis(chain_devnet::CHAIN_ID, Some(&deployer));
    let devnet = chain_devnet::Devnet::open(dir, &genesis).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(chain_devnet::serve(listener, devnet));
    let chain = chain_client::Chain::connect(&url, chain_devnet::CHAIN_ID).await.unwrap();
    let grant = appliance_model::Icnt::tokens(100).unwrap();
    let made = chain.deploy_reference(&deployer, deployer.address(), grant, 0).await.unwrap();
    (url, made.registry.to_string())
}

#[test]
fn a_registration_that_cannot_be_is_refused_with_what_would_mend_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (url, registry) = runtime.block_on(contracts(&dir.path().join("chain")));
    let file = dir.path().join("intent.json");
    let (zero, one) = ("0".repeat(64), format!("{}1", "0".repeat(63)));
    let operator = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a";
    let mut intent = serde_json::json!({
        "owner": operator, "region": "eu-west", "class": "lab", "name": "n".repeat(31), "hp_id": 1, "capacity": 2,
        "location": 215, "reservation_price": "1", "reward_share": 1000, "commitment": 93_312_000,
        "max_booking": 86_400, "collateral": "1", "node": zero, "ak_x": zero, "ak_y": zero,
        "statement_digest": zero, "unit_root": zero, "evidence_digest": zero, "quote": "00",
        "signature_r": one, "signature_s": one,
    });
    let ask = |intent: &serde_json::Value, more: &[&str]| {
        std::fs::write(&file, intent.to_string()).unwrap();
        let always = ["chain", "preflight", "--intent", path(&file), "--rpc", &url, "--registry", &registry];
        run(&[&always[..], &["--operator", operator], more].concat())
    };
    let said = ask(&intent, &["--chain-id", "777077"]);
    assert_eq!(said.status.code(), Some(1), "{}", text(&said.stderr));
    assert!(
        text(&said.stdout).contains("31 bytes; it must have 1 to 30 (InvalidName)"),
        "{}",
        text(&said.stdout)
    );
    intent["name"] = "n".into();
    let said = ask(&intent, &["--chain-id", "777077", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(json["refused"]["error"], "NotEnoughCollateral");
    intent["collateral"] = "6000000000000000000".into();
    let said = ask(&intent, &["--chain-id", "777077"]);
    assert!(text(&said.stdout).contains("send it 6 ICNT"), "{}", text(&said.stdout));
    refused(&ask(&intent, &["--chain-id", "8453"]), &["has id 777077", "says 8453"]);
}

#[test]
fn what_a_safe_signs_for_its_operator_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (url, registry) = runtime.block_on(contracts(&dir.path().join("chain")));
    // Who deployed has tokens; whether it is a Safe only the Safe's own application knows.
    let safe = chain_client::OperatorKey::from_secret(&[0x22; 32]).unwrap().address();
    let (safe, operator) = (format!("0x{safe}"), "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a");
    let file = dir.path().join("safe.json");
    let ask = |operator: &str, more: &[&str]| {
        let who = [
            "chain",
            "mandate",
            "--safe",
            &safe,
            "--nonce",
            "4",
            "--operator",
            operator,
            "--out",
            path(&file),
        ];
        let whom = ["--rpc", &url, "--chain-id", "777077", "--registry", &registry];
        let limits = ["--registrations", "25", "--retirements", "5"];
        run(&[&who[..], &whom, &limits, more].concat())
    };
    refused(&ask(&safe, &["--collateral-icnt", "500"]), &["is both"]);
    let more = ["--collateral-icnt", "500", "--deposit-icnt", "900000000"];
    refused(&ask(operator, &more), &["is to deposit 900000000 ICNT: send it"]);
    assert!(!file.exists());
    let said = ask(operator, &["--collateral-icnt", "500", "--deposit-icnt", "1000"]);
    let shown = text(&said.stdout);
    for words in [
        "take 1000 ICNT of token",
        "put 1000 ICNT into this account's deposit",
        "register 25 nodes with 500 ICNT and retire 5 nodes a day",
        "safeTxHash 0x",
        "(nonce 4)",
    ] {
        assert!(shown.contains(words), "no `{words}` in: {shown}{}", text(&said.stderr));
    }
    let made: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let calls = made["transactions"].as_array().unwrap();
    assert_eq!((calls.len(), made["chainId"].as_str()), (3, Some("777077")));
    assert!(calls[1]["to"] == calls[2]["to"] && calls[0]["to"] != calls[1]["to"], "{made}");
    refused(&ask(operator, &["--collateral-icnt", "500"]), &["cannot make", "safe.json"]);
    // A passport is staked on a node that is there.
    let (node, other) = ("07".repeat(32), dir.path().join("passport.json"));
    let who =
        ["chain", "passport", &node, "--number", "7", "--safe", &safe, "--nonce", "4", "--out", path(&other)];
    let whom = ["--rpc", &url, "--chain-id", "777077", "--registry", &registry];
    refused(&run(&[&who[..], &whom].concat()), &["the registry has no node 0707", "register it first"]);
    assert!(!other.exists());
}
