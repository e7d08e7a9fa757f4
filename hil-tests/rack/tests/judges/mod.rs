//! What the judges' tests share: a BMC to judge, and how programs are run.

use std::process::{Command, Output};

use hil_tests_rack::fleet::{Fleet, FleetConfig, Listed, Places};
use hil_tests_rack::{IpmiPolicy, Quirks};

/// The password of every BMC here: twenty characters at most, as IPMI takes.
pub(crate) const PASSWORD: &str = "judges-2026-password";

/// One BMC on a free port of 127.0.0.2, which no tool takes for "this machine itself".
pub(crate) fn config() -> FleetConfig {
    FleetConfig {
        count: 1,
        places: Places::Ports(([127, 0, 0, 2], 0).into()),
        tree: None,
        quirks: Quirks::default(),
        plain: false,
        account: Some(("admin".to_owned(), PASSWORD.to_owned())),
        latency: None,
        dead_permille: 0,
        death: None,
        errors_permille: 0,
        ipmi: Some((0, IpmiPolicy::default())),
        faults: Vec::new(),
        on: false,
    }
}

/// Starts one BMC.
pub(crate) async fn start(config: &FleetConfig) -> (Fleet, Listed) {
    let fleet = Fleet::start(config).await.unwrap();
    let listed = fleet.listed()[0].clone();
    (fleet, listed)
}

/// Runs a program to its end without holding up the BMC.
pub(crate) async fn run(command: Command) -> (bool, String) {
    let output = tokio::task::spawn_blocking(move || {
        let mut command = command;
        let shown = format!("{command:?}");
        let output: Output = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
        output
    })
    .await
    .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs a program that must succeed.
pub(crate) async fn must(command: Command) -> String {
    let shown = format!("{command:?}");
    let (good, text) = run(command).await;
    assert!(good, "{shown}: {text}");
    text
}
