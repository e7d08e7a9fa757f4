//! The simulated BMC's IPMI before its judges: ipmitool by cipher suites 3 and 17, FreeIPMI, serial over LAN.
//! The programs are Debian's; a missing one is a failure.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

mod judges;

use std::process::Command;

use hil_tests_rack::IpmiPolicy;
use hil_tests_rack::fleet::Listed;
use judges::{PASSWORD, config, must, run, start};

fn ipmitool(bmc: &Listed, suite: &str, user: &str, password: &str, line: &str) -> Command {
    let address = bmc.ipmi.unwrap();
    let mut command = Command::new("ipmitool");
    command.args(["-I", "lanplus", "-C", suite, "-H", &address.ip().to_string()]);
    command.args(["-p", &address.port().to_string(), "-U", user, "-P", password]).args(line.split(' '));
    command
}

/// What is said, and what the answer must hold.
const IPMITOOL: &[(&str, &str)] = &[
    ("mc info", "IPMI Version              : 2.0"),
    ("mc guid", "5ca1e4f0-0000-4000-8000-000000000001"),
    ("chassis status", "System Power         : off"),
    ("power on", "Up/On"),
    ("power status", "is on"),
    ("chassis bootdev pxe options=efiboot", "Set Boot Device to pxe"),
    ("chassis bootparam get 5", "Force PXE"),
    ("power cycle", "Cycle"),
    ("chassis bootparam get 5", "Boot Flag Invalid"),
    ("chassis bootdev cdrom options=persistent", "cdrom"),
    ("chassis bootparam get 5", "Options apply to all future boots"),
    ("chassis bootdev none", "none"),
    ("sel list", "Power Unit"),
    ("sel info", "Entries"),
    ("sel clear", "Clearing SEL"),
    ("sdr list", "Inlet Temp       | 23 degrees C      | ok"),
    ("sensor list", "CPU1 Temp"),
    ("fru print", "Product Serial        : LAB00001"),
    ("lan print 1", "RMCP+ Cipher Suites     : 3,17"),
    ("channel info 1", "802.3 LAN"),
    ("channel getciphers ipmi 1", "aes_cbc_128"),
    ("sol info 1", "Enabled                         : true"),
    ("user list 1", "admin"),
    ("user set name 3 bob", ""),
    ("user set password 3 bobspassword", "successful"),
    ("channel setaccess 1 3 privilege=3", "successful"),
    ("user enable 3", ""),
    ("session info active", "IPMIv2/RMCP+"),
    ("power off", "Down/Off"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipmitool_drives_it_by_both_suites() {
    for suite in ["3", "17"] {
        let (_fleet, bmc) = start(&config()).await;
        for (line, wanted) in IPMITOOL {
            let text = must(ipmitool(&bmc, suite, "admin", PASSWORD, line)).await;
            assert!(text.contains(wanted), "{line}: {text}");
        }
        // An operator may power, not administrate; a wrong password opens nothing.
        let operator =
            |line: &str| ipmitool(&bmc, suite, "bob", "bobspassword", &format!("-L OPERATOR {line}"));
        assert!(run(operator("power on")).await.0);
        assert!(!run(operator("user set name 4 eve")).await.0);
        assert!(!run(ipmitool(&bmc, suite, "admin", "guess", "power status")).await.0);
        println!("ipmitool -C {suite}: {} commands passed, 0 failed", IPMITOOL.len() + 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_forbids_is_not_spoken() {
    let mut config = config();
    for (policy, spoken, refused) in [
        (IpmiPolicy { suite_17: true, suite_3: false }, "17", "3"),
        (IpmiPolicy { suite_17: false, suite_3: true }, "3", "17"),
    ] {
        config.ipmi = Some((0, policy));
        let (_fleet, bmc) = start(&config).await;
        must(ipmitool(&bmc, spoken, "admin", PASSWORD, "power status")).await;
        assert!(!run(ipmitool(&bmc, refused, "admin", PASSWORD, "power status")).await.0, "{policy:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freeipmi_drives_it_by_both_suites() {
    let (_fleet, bmc) = start(&config()).await;
    let cache = tempfile::tempdir().unwrap();
    let rows = [
        ("ipmipower --stat", ": off"),
        ("ipmipower --on --wait-until-on", ": ok"),
        ("ipmipower --stat", ": on"),
        ("ipmipower --reset", ": ok"),
        ("bmc-info", "IPMI Version          : 2.0"),
        ("ipmi-sel", "Power Unit"),
        ("ipmi-sensors", "Inlet Temp"),
        ("ipmi-fru", "LAB00001"),
        ("ipmi-chassis --get-chassis-status", "System Power                        : on"),
        ("ipmipower --off --wait-until-off", ": ok"),
    ];
    for suite in ["3", "17"] {
        for (line, wanted) in rows {
            let mut words = line.split(' ');
            let mut command = Command::new(words.next().unwrap());
            // Debian puts these with root's programs.
            command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
            command.env("HOME", cache.path());
            command.args(["-D", "LAN_2_0", "-I", suite, "-h", &bmc.ipmi.unwrap().to_string()]);
            command.args(["-u", "admin", "-p", PASSWORD, "-l", "ADMIN"]).args(words);
            let text = must(command).await;
            assert!(text.contains(wanted), "{line}: {text}");
        }
        println!("FreeIPMI by suite {suite}: {} commands passed, 0 failed", rows.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_serial_console_comes_over_the_lan() {
    let (_fleet, bmc) = start(&config()).await;
    must(ipmitool(&bmc, "17", "admin", PASSWORD, "power on")).await;
    let sol = ipmitool(&bmc, "17", "admin", PASSWORD, "sol activate");
    let line: Vec<String> = std::iter::once(sol.get_program())
        .chain(sol.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    // `script` gives ipmitool the terminal that it wants; what is typed comes back, then ~. ends the session.
    let typed = "(sleep 2; printf 'hello-sol\\r'; sleep 2; printf '~.'; sleep 1)";
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{typed} | timeout 30 script -qec '{}' /dev/null", line.join(" "))]);
    let (_, text) = run(shell).await;
    assert!(text.contains("lab login:"), "{text}");
    assert!(text.contains("hello-sol"), "{text}");
}
