//! Power, boot source and virtual media.

use appliance_bmc::{BmcError, BootTarget, PowerState, ResetKind};
use hil_tests_rack::BmcAction;

use crate::bench::{Bench, SYSTEM, serve};

/// A machine that went off a moment ago answers 409 (Dell); one answer is lost, and one request meets a busy controller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_is_switched_once() {
    let bench = Bench::start("dell").await;
    let bmc = bench.client();
    let reset = "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    bench.fault(reset, BmcAction::DropAnswer);
    bmc.reset(ResetKind::On).await.unwrap();
    assert_eq!((bmc.power_state().await.unwrap(), bench.done(reset)), (PowerState::On, 1));
    bench.fault(reset, BmcAction::Status(503));
    bmc.reset(ResetKind::ForceOff).await.unwrap();
    assert_eq!((bmc.power_state().await.unwrap(), bench.done(reset)), (PowerState::Off, 2));
    bmc.reset(ResetKind::On).await.unwrap();
    assert_eq!((bmc.power_state().await.unwrap(), bench.done(reset)), (PowerState::On, 3));
    // Whether a restart was done nobody can see: it is told, and not sent again.
    bench.fault(reset, BmcAction::DropAnswer);
    assert!(matches!(bmc.reset(ResetKind::Restart).await, Err(BmcError::NoAnswer { .. })));
    assert_eq!(bench.done(reset), 4);
    bmc.log_out().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_boot_source_is_set_once_and_shows() {
    for maker in ["supermicro", "ami", "hpe", "lenovo"] {
        let bench = Bench::start(maker).await;
        let bmc = bench.client();
        let patch = format!("PATCH {SYSTEM}");
        bench.fault(&patch, BmcAction::DropAnswer);
        let set = bmc.set_boot_once(BootTarget::Pxe).await.unwrap();
        assert_eq!((set.target.as_str(), set.enabled.as_str()), ("Pxe", "Once"), "{maker}");
        assert_eq!(bench.done(&patch), 1, "{maker}");
        bench.fault(&patch, BmcAction::Status(503));
        let busy = bmc.set_boot_once(BootTarget::UefiHttp).await;
        assert!(matches!(busy, Err(BmcError::Refused { status: 503, .. })), "{maker}: {busy:?}");
        assert_eq!(bmc.set_boot_once(BootTarget::UefiHttp).await.unwrap().target, "UefiHttp");
        assert_eq!(bench.done(&patch), 2, "{maker}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_medium_is_put_in_and_taken_out_once() {
    let image = serve("discovery.iso", vec![7; 4096]).await;
    // Who refuses the flags, who lists actions that are none, who has none.
    for (maker, insert, eject) in [
        ("supermicro", "VirtualMedia.InsertMedia", "VirtualMedia.EjectMedia"),
        ("hpe", "VirtualMedia.InsertMedia", "VirtualMedia.EjectMedia"),
        ("openbmc", "PATCH", "VirtualMedia.EjectMedia"),
        ("lenovo", "PATCH", "PATCH"),
    ] {
        let bench = Bench::start(maker).await;
        let bmc = bench.client();
        let line = |how: &str| if how == "PATCH" { "/VirtualMedia/".to_owned() } else { how.to_owned() };
        let before = bench.done("/VirtualMedia/");
        // The answer that says it is done.
        bench.fault(
            &if insert == "PATCH" { format!("PATCH {SYSTEM}/VirtualMedia") } else { line(insert) },
            {
                if maker == "supermicro" {
                    BmcAction::Delay(std::time::Duration::from_millis(1))
                } else {
                    BmcAction::DropAnswer
                }
            },
        );
        let inserted = bmc.insert_media(&image).await.unwrap();
        assert_eq!(bench.done("/VirtualMedia/"), before + 1, "{maker}");
        assert_eq!(bmc.insert_media(&image).await.unwrap(), inserted, "there already");
        assert_eq!(bench.done("/VirtualMedia/"), before + 1, "{maker}");
        let wanted = if maker == "supermicro" { BootTarget::UsbCd } else { BootTarget::Cd };
        assert_eq!(inserted.boot, wanted, "{maker}");
        bench.fault(
            &if eject == "PATCH" { format!("PATCH {SYSTEM}/VirtualMedia") } else { line(eject) },
            BmcAction::DropAnswer,
        );
        bmc.eject_media(&inserted.slot).await.unwrap();
        assert_eq!(bench.done("/VirtualMedia/"), before + 2, "{maker}");
    }
}
