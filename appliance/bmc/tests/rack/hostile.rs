//! Answers that no controller should give, under everything that rests on lists: told or borne, never believed, never
//! followed for ever, and nothing is written on their ground.

use std::time::Duration;

use appliance_bmc::{Allowed, Duty, NewAccount, Password};
use hil_tests_rack::BmcAction;

use crate::bench::Bench;

/// Ample for what asks a few times and gives up.
const SECONDS_MAX: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_answers_are_told_and_nothing_is_written() {
    let areas = ["/AccountService", "/EventService", "/NetworkProtocol", "/SecureBoot", "/UpdateService"];
    for action in [
        BmcAction::NullMembers,
        BmcAction::WrongTypes,
        BmcAction::CyclicLinks,
        BmcAction::TruncateBody,
        BmcAction::NotJson,
        BmcAction::HugeBody(5 << 20),
        BmcAction::Redirect("https://127.0.0.9/redfish/v1".into()),
        BmcAction::Redirect("/redfish/v1/AccountService/Accounts".into()),
    ] {
        let bench = Bench::start("plain").await;
        let bmc = bench.client();
        bmc.power_state().await.unwrap();
        let before = bench.done("");
        for area in areas {
            bench.always(&format!("GET /redfish/v1{area}"), action.clone());
            bench.always(&format!("{area}/"), action.clone());
        }
        let all = async {
            let password = Password::new("Correct-horse-7");
            let new = NewAccount { user: "scalerforge", password: &password, duties: &[Duty::Operate] };
            let made = bmc.create_account(&Allowed::accounts(bench.serial()), &new).await;
            // Lists of null are empty lists: then one is made, and the list does not show it.
            assert!(made.is_err(), "{action:?}: {made:?}");
            let _ = bmc.accounts().await;
            let _ = bmc.subscriptions().await;
            let _ = bmc.https_certificates().await;
            let _ = bmc.secure_boot_keys().await;
            let _ = bmc.plan_update(&[]).await;
            if let Ok(mut stream) = bmc.event_stream(None).await {
                let _ = tokio::time::timeout(Duration::from_secs(1), stream.next()).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(SECONDS_MAX), all).await;
        assert!(ended.is_ok(), "{action:?} is followed for ever");
        let written = bench.done("") - before;
        assert!(written == 0 || (written == 1 && action == BmcAction::NullMembers), "{action:?}: {written}");
    }
}
