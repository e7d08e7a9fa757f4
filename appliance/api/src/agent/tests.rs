//! The agent's protocol, byte by byte.

use super::*;

/// The wire, byte by byte.  **If this fails, change your code, not this test**: images with these bytes are served.
#[test]
fn protocol_1() {
    let order = Order {
        id: 7,
        work: Work::Quote(QuoteOrder {
            purpose: "registration".into(),
            nonce: "a1".into(),
            node: NodeId([1; 32]),
            target: Some(Target { chain_id: 5, registry: Address([2; 20]), operator: Address([3; 20]) }),
            manifest: Some("{}".into()),
            previous: None,
            sequence: 1,
        }),
    };
    let [one, two, three] = ["01".repeat(32), "02".repeat(20), "03".repeat(20)];
    let wanted = format!(
        r#"{{"id":7,"work":{{"kind":"quote","purpose":"registration","nonce":"a1","node":"{one}","target":{{"chain_id":5,"registry":"{two}","operator":"{three}"}},"manifest":"{{}}","previous":null,"sequence":1}}}}"#
    );
    assert_eq!(serde_json::to_string(&order).unwrap(), wanted);
    let wait = Order { id: 0, work: Work::Wait };
    assert_eq!(serde_json::to_string(&wait).unwrap(), r#"{"id":0,"work":{"kind":"wait"}}"#);
    for bmc_account in [None, Some(BmcAccount { user: "u".into(), password: "p4ssword".into() })] {
        let inventory = Order { id: 1, work: Work::Inventory { bmc_account: bmc_account.clone() } };
        let account = bmc_account.map_or("", |_| r#","bmc_account":{"user":"u","password":"p4ssword"}"#);
        let wanted = format!(r#"{{"id":1,"work":{{"kind":"inventory"{account}}}}}"#);
        assert_eq!(serde_json::to_string(&inventory).unwrap(), wanted);
        assert!(!format!("{inventory:?}").contains("p4ssword"));
        assert!(serde_json::from_str::<Order>(&wanted).is_ok());
    }
    let hello = format!(
        r#"{{"protocol":1,"agent":"0.1.0","ticket":"{}","boot_url":null,"serial":"S1","uuid":null,"macs":["52:54:00:00:00:01"],"boot_nonce":"{one}"}}"#,
        "09".repeat(16)
    );
    let parsed: Hello = serde_json::from_str(&hello).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), hello);
    let told = hello.replace(r#","boot_url""#, r#","ticket_source":"dhcp","boot_url""#);
    let parsed: Hello = serde_json::from_str(&told).unwrap();
    assert_eq!(parsed.ticket_source, Some(TicketSource::Dhcp));
    assert_eq!(serde_json::to_string(&parsed).unwrap(), told);
    let report = format!(r#"{{"order":7,"outcome":{{"kind":"activated","answer":"{one}"}}}}"#);
    let parsed: Report = serde_json::from_str(&report).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), report);
}

/// Burn-in in stages, byte by byte.  **If this fails, change your code, not this test.**
#[test]
fn protocol_1_burn_in() {
    let zeros = "00".repeat(32);
    let order = format!(
        r#"{{"id":9,"work":{{"kind":"burn-in","course":{{"profile":"demo","profile_digest":"{zeros}","serial":"S1","stages":[{{"name":"cpu","seconds_max":9,"waves":[[{{"id":"cpu/cpu-compare","work":{{"kind":"cpu-compare"}},"seconds":4}}]]}}]}},"consents":[{{"serial":"D1","start":0,"bytes":4096}}],"profile":"version = 2","models":{{"drive D1":"M"}},"peers":[],"so_far":{{"lines":2,"sha256":"{zeros}"}}}}}}"#
    );
    let parsed: Order = serde_json::from_str(&order).unwrap();
    assert!(matches!(&parsed.work, Work::BurnIn(order) if order.so_far.lines == 2));
    assert_eq!(serde_json::to_string(&parsed).unwrap(), order);
    let report = r#"{"order":9,"outcome":{"kind":"burn-in-lines","from":2,"lines":"{}\n"}}"#;
    let parsed: Report = serde_json::from_str(report).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), report);
    let progress = r#"{"order":9,"permille":5,"note":"n","devices":[{"task":"t","device":"cpu","permille":7,"seconds_left":3}]}"#;
    let parsed: Progress = serde_json::from_str(progress).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), progress);
    let short = r#"{"order":9,"permille":5,"note":"n"}"#;
    let parsed: Progress = serde_json::from_str(short).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), short);
}

#[test]
fn a_session_does_not_print() {
    let json = format!(r#"{{"host":"h-0123456789ab","session":"{}"}}"#, "ab".repeat(32));
    let welcome: Welcome = serde_json::from_str(&json).unwrap();
    assert_eq!(format!("{welcome:?}"), "Welcome { host: h-0123456789ab, session: .. }");
}

#[test]
fn a_boot_url_holds_its_ticket() {
    let hex = "00112233445566778899aabbccddeeff";
    let ticket: Ticket = hex.parse().unwrap();
    for (url, expected) in [
        (format!("http://10.77.0.1:8080/boot/{hex}/discovery.efi"), Some(ticket)),
        (format!("http://10.77.0.1:8080/boot/{hex}"), Some(ticket)),
        (format!("http://10.77.0.1:8080/boot/{hex}0/discovery.efi"), None),
        (format!("http://10.77.0.1:8080/image/{hex}/discovery.efi"), None),
    ] {
        assert_eq!(ticket_in(&url), expected, "{url}");
    }
}
