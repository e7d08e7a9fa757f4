//! What a capture hides, and what it leaves.

use serde_json::json;

use super::*;

#[test]
fn what_is_private_is_gone_everywhere_and_the_rest_stays() {
    let mut redactor = Redactor::new([7; 32]);
    let mut account = json!({ "UserName": "colossus", "Password": "hunter22", "RoleId": "Administrator",
        "@odata.id": "/redfish/v1/AccountService/Accounts/colossus" });
    let mut system = json!({
        "SerialNumber": "S889914X3710910", "UUID": "64f913aa-8e7b-4d75-b3df-d8be0452706e", "AssetTag": "Rack 7 blue",
        "HostName": "bmc-S889914X3710910", "FirmwareVersion": "7.10.30.1", "MinPasswordLength": 8, "PasswordPolicy": "Strong",
        "Boot": [{ "DisplayName": "UEFI PXE IPv4 - 94:6D:AE:91:FB:22 - 946DAE91FB22" }],
        "IPv4Addresses": [{ "Address": "10.78.0.11", "SubnetMask": "255.255.255.0" }],
        "IPv6": "fe80::1234:5678:9abc:def0", "Message": "login of colossus from 10.78.0.11 at 12:34:56",
        "Licenses": ["{\"Node\":{\"LicenseName\":\"SFT-OOB-LIC\",\"LicenseID\":\"A1B2C3\"},\"Signature\":\"lq3oph\"}"],
        "Location": { "Placement": { "Rack": "DC4-17", "RackOffset": 4 } }, "Model": "SYS-821GE-TNHR" });
    let before = system.to_string();
    redactor.redact(&mut account);
    redactor.redact(&mut system);
    let after = format!("{account} {system}");
    for private in [
        "colossus",
        "hunter22",
        "S889914X3710910",
        "64f913aa",
        "94:6D:AE",
        "946DAE",
        "10.78.0.11",
        "fe80",
        "lq3oph",
        "A1B2C3",
        "DC4-17",
        "Rack 7 blue",
    ] {
        assert!(!after.contains(private), "{private} in {after}");
    }
    for kept in
        ["7.10.30.1", "255.255.255.0", "SFT-OOB-LIC", "SYS-821GE-TNHR", "Administrator", "12:34:56", "Strong"]
    {
        assert!(after.contains(kept), "{kept} in {after}");
    }
    let mut again: Value = serde_json::from_str(&before).unwrap();
    redactor.redact(&mut again);
    assert_eq!(again, system, "one text, one pseudonym");
    let serial = system["SerialNumber"].as_str().unwrap();
    assert_eq!(system["HostName"], redactor.text("bmc-S889914X3710910", true).as_str());
    assert!(serial.len() == 15 && serial.starts_with(|c: char| c.is_ascii_uppercase()), "{serial}");
    let name = system["Boot"][0]["DisplayName"].as_str().unwrap();
    let words: Vec<&str> = name.split(' ').collect();
    assert_eq!(words[4].replace(':', ""), words[6], "the same address, written in two ways: {name}");
    let mut other = Redactor::new([8; 32]);
    let mut elsewhere: Value = serde_json::from_str(&before).unwrap();
    other.redact(&mut elsewhere);
    assert_ne!(elsewhere["SerialNumber"], system["SerialNumber"], "by salt");
}

#[test]
fn odd_texts_do_no_harm() {
    let mut redactor = Redactor::new([0; 32]);
    for text in [
        "",
        "::",
        ":::::",
        "-----",
        "00:00:00:00:00:00",
        "0.0.0.0",
        "é94:6D:AE:91:FB:22é",
        "{\"a\":",
        "..",
        "a.b.c",
    ] {
        let mut value = json!({ "SerialNumber": text, "x": text, text: 1 });
        redactor.redact(&mut value);
    }
}
