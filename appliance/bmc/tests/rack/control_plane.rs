//! Accounts, events and certificates of the controller itself.

use std::time::Duration;

use appliance_bmc::{
    AccountState, Allowed, BmcError, BootTarget, CertificateWish, Duty, EventStream, NewAccount, Password,
    PasswordError, Replaced, ResetKind, Subscribed,
};
use hil_tests_rack::BmcAction;
use x509_cert::{
    der::{Decode as _, pem::decode_vec},
    request::CertReq,
};

use crate::bench::Bench;

const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_made_changed_and_deleted_once() {
    for (maker, make, unmake) in
        [("dell", "PATCH", "PATCH"), ("hpe", "POST", "DELETE"), ("ami", "POST", "DELETE")]
    {
        let bench = Bench::start(maker).await;
        let (bmc, allowed) = (bench.client(), Allowed::accounts(bench.serial()));
        let password = Password::new("Correct-horse-7");
        let new = NewAccount { user: "scalerforge", password: &password, duties: &[Duty::Operate] };
        let line = |method: &str| format!("{method} {ACCOUNTS}");
        bench.fault(&line(make), BmcAction::Status(503));
        let busy = bmc.create_account(&allowed, &new).await;
        assert!(matches!(busy, Err(BmcError::Refused { status: 503, .. })), "{maker}: {busy:?}");
        bench.fault(&line(make), BmcAction::DropAnswer);
        let made = bmc.create_account(&allowed, &new).await.unwrap();
        assert_eq!(
            (made.state, made.account.role.as_deref()),
            (AccountState::Shown, Some("Operator")),
            "{maker}"
        );
        let again = bmc.create_account(&allowed, &new).await.unwrap();
        assert_eq!((again.state, bench.done(&line(make))), (AccountState::AlreadyThere, 1), "{maker}");

        // Its own password, with an answer lost: a login tells which one holds.
        let own = bench.client_of("scalerforge", "Correct-horse-7", bmc.pin());
        own.try_login().await.unwrap();
        bench.fault(&line("PATCH"), BmcAction::DropAnswer);
        let before = bench.done(&line("PATCH"));
        let lost = own.change_own_password(&Password::new("Another-horse-8")).await;
        assert!(matches!(lost, Err(PasswordError::Unsure(_))), "{maker}: {lost:?}");
        assert_eq!(bench.done(&line("PATCH")), before + 1, "{maker}");
        let old = bench.client_of("scalerforge", "Correct-horse-7", None).try_login().await;
        assert!(matches!(old, Err(BmcError::Login { .. })), "{maker}: {old:?}");
        bench.client_of("scalerforge", "Another-horse-8", None).try_login().await.unwrap();
        bmc.set_account_password(&allowed, "scalerforge", &password).await.unwrap();
        bench.client_of("scalerforge", "Correct-horse-7", None).try_login().await.unwrap();

        bmc.enable_account(&allowed, "scalerforge", false).await.unwrap();
        bmc.enable_account(&allowed, "scalerforge", true).await.unwrap();
        bench.fault(&line(unmake), BmcAction::DropAnswer);
        assert_eq!(
            bmc.delete_account(&allowed, "scalerforge").await.unwrap(),
            AccountState::Shown,
            "{maker}"
        );
        assert!(bmc.accounts().await.unwrap().of("scalerforge").is_none(), "{maker}");
    }
}

/// As many wrong passwords as the controller's rules leave room for lock nobody out; more do, and that is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_is_known_and_is_no_dead_end() {
    let bench = Bench::start("plain").await;
    let (bmc, allowed) = (bench.client(), Allowed::accounts(bench.serial()));
    let password = Password::new("Correct-horse-7");
    let new = NewAccount { user: "scalerforge", password: &password, duties: &[] };
    bmc.create_account(&allowed, &new).await.unwrap();
    let safe = bmc.accounts().await.unwrap().wrong_logins_safe().unwrap();
    assert_eq!(safe, 3);
    let wrong = async |times: u32| {
        for _ in 0..times {
            let client = bench.client_of("scalerforge", "wrong", None);
            assert!(matches!(client.try_login().await, Err(BmcError::Login { .. })));
            // Refused once, it is not asked again.
            assert!(matches!(client.try_login().await, Err(BmcError::Login { .. })));
        }
    };
    let right = async || bench.client_of("scalerforge", "Correct-horse-7", None).try_login().await;
    wrong(safe).await;
    right().await.unwrap();
    wrong(5).await;
    assert!(matches!(right().await, Err(BmcError::Login { .. })));
    assert_eq!(bmc.accounts().await.unwrap().of("scalerforge").unwrap().locked, Some(true));
    assert_eq!(bmc.unlock_account(&allowed, "scalerforge").await.unwrap(), AccountState::Shown);
    right().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_made_and_ended_once() {
    let (post, delete) =
        ("POST /redfish/v1/EventService/Subscriptions", "DELETE /redfish/v1/EventService/Sub");
    for maker in ["hpe", "ami"] {
        let bench = Bench::start(maker).await;
        let (bmc, allowed) = (bench.client(), Allowed::events(bench.serial()));
        bench.fault(post, BmcAction::Status(503));
        let destination = "https://127.0.0.1:9/events";
        let busy = bmc.subscribe(&allowed, destination, "site-1").await;
        assert!(matches!(busy, Err(BmcError::Refused { status: 503, .. })), "{maker}: {busy:?}");
        bench.fault(post, BmcAction::DropAnswer);
        let made = bmc.subscribe(&allowed, destination, "site-1").await.unwrap();
        let again = bmc.subscribe(&allowed, destination, "site-1").await.unwrap();
        assert_eq!(again, Subscribed { was_there: true, ..made.clone() });
        assert_eq!(bench.done(post), 1, "{maker}");
        bench.fault(delete, BmcAction::DropAnswer);
        assert_eq!(bmc.unsubscribe(&allowed, "site-1").await.unwrap(), [made.url]);
        assert_eq!((bmc.subscriptions().await.unwrap().len(), bench.done(delete)), (0, 1), "{maker}");
    }
}

async fn texts(stream: &mut EventStream, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
        texts.push(next.unwrap().unwrap().text.unwrap());
    }
    texts
}

/// The controller restarts itself: its stream ends, the session is gone, and what happened meanwhile is told, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_a_restart_of_the_controller() {
    let bench = Bench::start("plain").await;
    let bmc = bench.client();
    let mut stream = bmc.event_stream(None).await.unwrap();
    let listening = tokio::spawn(async move {
        let first = texts(&mut stream, 1).await;
        (stream, first)
    });
    // Nothing is told to who does not listen yet: switched until it is heard.
    while !listening.is_finished() {
        let kind = if bmc.power_state().await.unwrap() == appliance_bmc::PowerState::On {
            ResetKind::ForceOff
        } else {
            ResetKind::On
        };
        bmc.reset(kind).await.unwrap();
    }
    let (mut stream, first) = listening.await.unwrap();
    assert!(first[0].starts_with("Power was switched"), "{first:?}");
    bench.fault("GET /redfish/v1/EventService/SSE", BmcAction::Status(503));
    bmc.restart_controller(&Allowed::controller_restart(bench.serial())).await.unwrap();
    bmc.set_boot_once(BootTarget::Pxe).await.unwrap();
    loop {
        let text = texts(&mut stream, 1).await.remove(0);
        if text == "The boot settings were changed." {
            break;
        }
        assert!(text.starts_with("Power was switched"), "{text}");
    }
    assert_eq!((stream.connections(), stream.odd()), (2, 0));
    bmc.set_boot_once(BootTarget::Hdd).await.unwrap();
    assert_eq!(texts(&mut stream, 1).await, ["The boot settings were changed."]);
}

/// The key in a request, for which somebody else signs.
struct Requested(Vec<u8>);

impl rcgen::PublicKeyData for Requested {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn sign(request: &str) -> String {
    let (_, der) = decode_vec(request.as_bytes()).unwrap();
    let key = CertReq::from_der(&der).unwrap().info.public_key.subject_public_key.raw_bytes().to_vec();
    let issuer = rcgen::Issuer::new(
        rcgen::CertificateParams::new(vec!["site".into()]).unwrap(),
        rcgen::KeyPair::generate().unwrap(),
    );
    let mut parameters = rcgen::CertificateParams::new(vec!["bmc-1".into()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2049, 1, 1);
    parameters.signed_by(&Requested(key), &issuer).unwrap().pem()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_once_and_the_new_key_is_known_before() {
    for (maker, state) in [("plain", Replaced::Shown), ("dell", Replaced::AfterRestart)] {
        let bench = Bench::start(maker).await;
        let (bmc, allowed) = (bench.client(), Allowed::certificate(bench.serial()));
        let known = bmc.https_certificates().await.unwrap();
        let old = bmc.pin().unwrap();
        assert_eq!(known.listed[0].key, Some(old));
        assert!(known.replaceable && known.shown.is_some());
        let wish = CertificateWish {
            common_name: "bmc-1",
            alternative_names: &[],
            organization: "Site",
            unit: "Rack 1",
            city: "Town",
            state: "State",
            country: "DE",
        };
        let request = bmc.request_certificate(&allowed, &wish).await.unwrap();
        assert_ne!(request.key, old);
        assert_eq!(bmc.pin(), Some(old), "a request changes nothing");
        let pem = sign(&request.pem);
        let mistaken = bmc.replace_certificate(&allowed, &pem, old).await;
        assert!(matches!(mistaken, Err(BmcError::Unfit { .. })), "{mistaken:?}");
        let place = "CertificateService.ReplaceCertificate";
        bench.fault(place, BmcAction::Status(503));
        let busy = bmc.replace_certificate(&allowed, &pem, request.key).await;
        assert!(matches!(busy, Err(BmcError::Refused { status: 503, .. })), "{busy:?}");
        bench.fault(place, BmcAction::DropAnswer);
        assert_eq!(bmc.replace_certificate(&allowed, &pem, request.key).await.unwrap(), state, "{maker}");
        // We died before the new pin was written down; the old one and the expected one were.
        let later = bench.client_of(&bench.listed.user, &bench.listed.password, Some(old));
        later.expect_key(request.key);
        if state == Replaced::AfterRestart {
            let again = later.replace_certificate(&allowed, &pem, request.key).await.unwrap();
            assert_eq!((again, later.pin()), (Replaced::AfterRestart, Some(old)));
            later.restart_controller(&Allowed::controller_restart(bench.serial())).await.unwrap();
        }
        let fresh = bench.client_of(&bench.listed.user, &bench.listed.password, Some(old));
        assert!(matches!(fresh.power_state().await, Err(BmcError::PinChanged { .. })), "{maker}");
        let fresh = bench.client_of(&bench.listed.user, &bench.listed.password, Some(old));
        fresh.expect_key(request.key);
        let again = fresh.replace_certificate(&allowed, &pem, request.key).await.unwrap();
        assert_eq!((again, fresh.pin()), (Replaced::AlreadyThere, Some(request.key)), "{maker}");
        assert_eq!(bench.done(place), 1, "{maker}");
        let days = fresh.https_certificates().await.unwrap().days_left(appliance_model::Now(0)).unwrap();
        assert!(days > 365 * 70, "{days}");
    }
}
