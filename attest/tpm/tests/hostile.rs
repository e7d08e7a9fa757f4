//! A TPM that lies, stalls or breaks off: this crate must answer with an error, and soon.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use attest_tpm::{Hierarchies, Tpm, TpmError, Transport};
use attest_wire::templates::Template;
use proptest::prelude::*;

/// Answers every command with the next of `answers`, over and over, and keeps what was sent.
#[derive(Debug, Clone)]
struct Script {
    answers: Vec<Result<Vec<u8>, io::ErrorKind>>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Transport for Script {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let mut sent = self.sent.lock().unwrap();
        let at = sent.len() % self.answers.len();
        sent.push(command.to_vec());
        self.answers[at].clone().map_err(io::Error::from)
    }

    fn pause(&mut self, time: Duration) {
        assert!(time <= Duration::from_secs(1));
    }
}

fn script(answers: Vec<Result<Vec<u8>, io::ErrorKind>>) -> (Tpm, Arc<Mutex<Vec<Vec<u8>>>>) {
    let script = Script { answers, sent: Arc::default() };
    let sent = Arc::clone(&script.sent);
    (Tpm::over(Box::new(script)), sent)
}

/// A response with this code and these parameters, its length right.
fn response(tag: u16, code: u32, parameters: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + parameters.len()).unwrap();
    [&tag.to_be_bytes(), &size.to_be_bytes()[..], &code.to_be_bytes(), parameters].concat()
}

#[test]
fn a_busy_tpm_is_asked_again_with_the_same_bytes() {
    let busy = |code| Ok(response(0x8001, code, &[]));
    let (mut tpm, sent) = script(vec![busy(0x922), busy(0x90a), busy(0x908), busy(0)]);
    tpm.startup().unwrap();
    let startup = vec![0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0];
    assert_eq!(*sent.lock().unwrap(), vec![startup; 4]);
}

#[test]
fn a_tpm_that_stays_busy_is_given_up() {
    let (mut tpm, sent) = script(vec![Ok(response(0x8001, 0x922, &[]))]);
    let error = tpm.startup().unwrap_err();
    assert!(matches!(error, TpmError::Busy { tries: 40, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "TPM2_Startup: the TPM answered TPM_RC_RETRY [0x922] to 40 tries; wait a minute and try again"
    );
    assert_eq!(sent.lock().unwrap().len(), 40);
}

#[test]
fn after_a_lost_answer_nothing_is_sent() {
    let (mut tpm, sent) = script(vec![Err(io::ErrorKind::TimedOut), Ok(response(0x8001, 0, &[]))]);
    assert!(matches!(tpm.startup(), Err(TpmError::Exchange { .. })));
    assert!(matches!(tpm.startup(), Err(TpmError::Broken { .. })));
    assert!(matches!(tpm.create_ak(), Err(TpmError::Broken { .. })));
    drop(tpm);
    assert_eq!(sent.lock().unwrap().len(), 1);
}

#[test]
fn refusals_come_with_advice() {
    for (code, text) in [
        (
            0x9a2,
            "TPM2_CreatePrimary: the TPM refused with TPM_RC_BAD_AUTH (session 1) [0x9a2]: a hierarchy has a \
                 password; clear the TPM in the firmware setup to start with an empty one",
        ),
        (
            0x185,
            "TPM2_CreatePrimary: the TPM refused with TPM_RC_HIERARCHY (handle 1) [0x185]: the hierarchy is \
                 disabled; enable it in the firmware setup",
        ),
        (0x2c4, "TPM2_CreatePrimary: the TPM refused with TPM_RC_VALUE (parameter 2) [0x2c4]"),
    ] {
        let (mut tpm, _) = script(vec![Ok(response(0x8001, code, &[]))]);
        assert_eq!(tpm.create_ak().unwrap_err().to_string(), text);
    }
    // No endorsement key: all reasons are kept.
    let (mut tpm, _) = script(vec![Ok(response(0x8001, 0x2c4, &[]))]);
    let (made, failed) = tpm.create_eks();
    assert_eq!((made.len(), failed.len()), (0, 3));
}

#[test]
fn a_tpm_that_somebody_used_says_so_before_it_refuses() {
    let answer = |permanent: u32, startup: u32| {
        let words = [6_u32, 2, 0x200, permanent, 0x201, startup].map(u32::to_be_bytes).concat();
        script(vec![Ok(response(0x8001, 0, &[&[1][..], &words].concat()))])
    };
    let (mut tpm, sent) = answer(0x400, 0x8000_000f);
    assert_eq!(tpm.hierarchies().unwrap(), Hierarchies::default());
    let asked = vec![0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 6, 0, 0, 2, 0, 0, 0, 0, 2];
    assert_eq!(*sent.lock().unwrap(), vec![asked]);
    let (mut tpm, _) = answer(0x203, 0x8000_0009);
    let all = Hierarchies {
        owner_password: true,
        endorsement_password: true,
        locked_out: true,
        owner_off: true,
        endorsement_off: true,
    };
    assert_eq!(tpm.hierarchies().unwrap(), all);
    // One that tells of something else says nothing of itself.
    let (mut tpm, _) = script(vec![Ok(response(0x8001, 0, &[0, 0, 0, 0, 6, 0, 0, 0, 0]))]);
    assert!(matches!(tpm.hierarchies(), Err(TpmError::Unexpected { .. })));
}

#[test]
fn a_key_that_is_not_ours_is_unloaded() {
    // The TPM "makes" the endorsement key where the attestation key was asked for.
    let public = Template::EkP256.public();
    let parameters = [
        &u16::try_from(public.len()).unwrap().to_be_bytes()[..],
        &public,
        &[0, 0, 0, 0, 0x80, 0x21, 0x40, 0, 0, 0x0b, 0, 0],
        &[0, 0x22, 0, 0x0b],
        &[0; 32],
    ]
    .concat();
    let size = u32::try_from(parameters.len()).unwrap().to_be_bytes();
    let body = [&[0x80, 0, 0, 1][..], &size, &parameters, &[0, 0, 0, 0, 0]].concat();
    let (mut tpm, sent) = script(vec![Ok(response(0x8002, 0, &body)), Ok(response(0x8001, 0, &[]))]);
    let error = tpm.create_ak().unwrap_err();
    assert!(
        matches!(&error, TpmError::Unexpected { answered, .. } if answered.contains("objectAttributes")),
        "{error}"
    );
    let flush = vec![0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65, 0x80, 0, 0, 1];
    assert_eq!(sent.lock().unwrap().last(), Some(&flush));
}

proptest! {
    /// Bounded work and no panic on any answers, well framed or not.
    #[test]
    fn any_answers_end_in_an_error_or_a_value(
        answers in prop::collection::vec(
            (prop::sample::select(vec![0x8001_u16, 0x8002]), any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)),
            1..6,
        ),
    ) {
        let answers = answers
            .into_iter()
            .map(|(tag, framed, bytes)| Ok(if framed { response(tag, 0, &bytes) } else { bytes }))
            .collect();
        let (mut tpm, sent) = script(answers);
        let _ = tpm.properties();
        let _ = tpm.hierarchies();
        let _ = tpm.read_certificates();
        let _ = tpm.create_eks();
        let _ = tpm.create_ak();
        let _ = tpm.pcr_read(&[0, 1, 2, 11]);
        prop_assert!(sent.lock().unwrap().len() < 10_000);
    }
}
