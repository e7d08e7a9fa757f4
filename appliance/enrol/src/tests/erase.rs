//! A permission is used once, what has begun is finished, what has ended stays.

use appliance_model::{
    Now, Serial,
    erase::{Begun, Method, Said, Sample, Verification, Who},
    inventory::Bus,
};

use super::NOW;
use crate::{Erasing, Stage, erase_barred};

const LATER: Now = Now(2_000_000);

fn serial() -> Serial {
    Serial::parse("D1").unwrap_or_else(|| unreachable!())
}

fn begun(method: Method) -> Box<Begun> {
    let sample = |byte: u64| Sample { part: 0, byte, was: Some("ab".into()), planted: byte == 0 };
    Box::new(Begun {
        method,
        drive: Who { serial: serial(), model: None, firmware: None, bus: Bus::Nvme, bytes: 8192 },
        samples: vec![sample(0), sample(4096)],
    })
}

fn read(remained: u32) -> Said {
    Said::ReadBack(Verification {
        sample_bytes: 4096,
        samples: 2,
        zeros: 2,
        known: 2,
        planted: 1,
        remained,
        ..Verification::default()
    })
}

fn check(from: &Erasing, said: &Said, expected: Result<Option<&str>, &str>) -> Erasing {
    let found = from.take(said, NOW);
    match (&found, expected) {
        (Ok(to), Ok(name)) => assert_eq!(to.as_ref().map(Erasing::name), name, "{from:?} {said:?}"),
        (Err(why), Err(says)) => assert!(why.contains(says), "{why}"),
        (found, _) => panic!("{from:?} {said:?}: {found:?}"),
    }
    found.ok().flatten().unwrap_or_else(|| from.clone())
}

#[test]
fn the_way_of_an_erase() {
    let (begins, again) =
        (Said::Begins(begun(Method::NvmeFormat)), Said::Begins(begun(Method::NvmeSanitizeBlock)));
    let failed = Said::Failed { why: "it is gone".into() };
    let refused = Said::Refused { why: "it is mounted".into() };
    let going = Said::Going { permille: 1 };
    let asked = Erasing::Asked { until: LATER };
    check(&asked, &Said::Erased, Err("has not begun"));
    check(&asked, &read(0), Err("has not begun"));
    check(&asked, &refused, Ok(Some("refused")));
    check(&Erasing::Asked { until: Now(1) }, &begins, Err("permission has ended"));
    let under_way = check(&asked, &begins, Ok(Some("begun")));
    // Its answer was lost; then somebody else.
    check(&under_way, &begins, Ok(None));
    check(&under_way, &again, Err("has begun before"));
    check(&under_way, &going, Ok(None));
    check(&under_way, &failed, Ok(Some("failed")));
    let erased = check(&under_way, &Said::Erased, Ok(Some("erased")));
    check(&erased, &Said::Erased, Ok(None));
    check(&erased, &begins, Err("has begun before"));
    check(&under_way, &read(0), Ok(Some("proven")));
    let proven = check(&erased, &read(0), Ok(Some("proven")));
    let not = check(&erased, &read(1), Ok(Some("failed")));
    assert!(not.words().contains("1 of 2 places hold what they held before"), "{}", not.words());
    let other = Said::ReadBack(Verification {
        samples: 1,
        zeros: 1,
        known: 1,
        planted: 1,
        ..Verification::default()
    });
    assert!(check(&erased, &other, Ok(Some("failed"))).words().contains("other places"));
    for ended in [&proven, &not, &check(&asked, &refused, Ok(Some("refused")))] {
        assert!(ended.ended() && ended.order(&serial(), &[]).is_none() && ended.pass_time(LATER).is_none());
        check(ended, &begins, Err("has ended"));
        for said in [&going, &Said::Erased, &failed, &refused, &read(0)] {
            check(ended, said, Ok(None));
        }
    }
    let order = |erasing: &Erasing| {
        erasing.order(&serial(), &["LUKS".into()]).map(|drive| (drive.begun.is_some(), drive.erased))
    };
    assert_eq!(
        (order(&asked), order(&under_way), order(&erased)),
        (Some((false, false)), Some((true, false)), Some((true, true)))
    );
}

#[test]
fn a_permission_does_not_wait_for_ever() {
    let asked = Erasing::Asked { until: NOW };
    assert_eq!(asked.pass_time(NOW), None);
    assert_eq!(asked.pass_time(LATER).map(|to| to.name()), Some("refused"));
    let begun = Erasing::Begun { begun: begun(Method::NvmeFormat), at: NOW };
    assert_eq!(begun.pass_time(Now(u64::MAX)), None, "what has begun has to be finished");
}

#[test]
fn whose_data_it_may_be() {
    let quarantined = Stage::Quarantined { was: "x".into(), rule: "y".into(), why: "z".into() };
    assert_eq!(erase_barred(&quarantined), None);
    assert!(erase_barred(&Stage::Found).is_some());
    assert_eq!(erase_barred(&super::retired()), None);
}
