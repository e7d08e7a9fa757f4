//! The handshake against transcripts that another implementation made: Python's `hmac` and `openssl enc`, from the
//! specification's text.  If these fail, change the code, not the transcripts.
//!
//! Then the same transcripts bent: cut anywhere, any bit flipped, other algorithms, other codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use appliance_ipmi::{
    Level, Login, Password, Suite,
    command::device::Device,
    handshake::{Entropy, Handshake, Progress, Refusal, Step},
    live::{Live, Unfit},
    message::{Family, Reply, Request},
    packet::Kind,
};

struct Transcript(Vec<(String, Vec<u8>)>);

impl Transcript {
    fn of(suite: Suite) -> Self {
        let text = match suite {
            Suite::Seventeen => include_str!("data/suite17.txt"),
            Suite::Three => include_str!("data/suite3.txt"),
        };
        let line = |line: &str| {
            let (name, hex) = line.split_once(": ").unwrap();
            let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            (name.to_owned(), pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect())
        };
        Self(text.lines().map(line).collect())
    }

    fn get(&self, name: &str) -> &[u8] {
        &self.0.iter().find(|(known, _)| known == name).unwrap().1
    }
}

fn start(suite: Suite, password: &str) -> (Handshake, Vec<u8>) {
    let login = Login::new("operator", Password::new(password).unwrap(), Level::Operator).unwrap();
    let random = std::array::from_fn(|at| 0x30 + u8::try_from(at).unwrap());
    Handshake::start(login, suite, Entropy { session: 0xa0a1_a2a3, tag: 0x2a, random })
}

const PASSWORD: &str = "Pa55word!";
const ANSWERS: [&str; 4] = ["< capabilities", "< open", "< rakp2", "< rakp4"];
const QUESTIONS: [&str; 3] = ["> open", "> rakp1", "> rakp3"];

/// A handshake that took in the first answers.
fn after(suite: Suite, answers: usize) -> Handshake {
    let (transcript, mut handshake) = (Transcript::of(suite), start(suite, PASSWORD).0);
    for answer in ANSWERS.iter().take(answers) {
        assert!(matches!(handshake.receive(transcript.get(answer)), Ok(Progress::Send(_))));
    }
    handshake
}

fn live(suite: Suite) -> Live {
    match after(suite, 3).receive(Transcript::of(suite).get("< rakp4")) {
        Ok(Progress::Done(live)) => *live,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_datagram_is_as_in_the_transcript() {
    for suite in [Suite::Seventeen, Suite::Three] {
        let transcript = Transcript::of(suite);
        let (mut handshake, first) = start(suite, PASSWORD);
        assert_eq!(first, transcript.get("> capabilities"));
        for (answer, question) in ANSWERS.iter().zip(QUESTIONS) {
            match handshake.receive(transcript.get(answer)) {
                Ok(Progress::Send(next)) => assert_eq!(next, transcript.get(question), "{suite} {question}"),
                other => panic!("{suite} {answer}: {other:?}"),
            }
        }
        let mut live = live(suite);
        assert_eq!((live.suite(), live.id(), live.guid()[0]), (suite, 0x184, 0xc0));
        let request = Request::new("x", Family::App, 0x01, &[]);
        let iv = std::array::from_fn(|at| 0x50 + u8::try_from(at).unwrap());
        let sealed = live.seal(Kind::Message, &request.frame(1), iv).unwrap();
        assert_eq!(sealed, transcript.get("> get device id"), "{suite}");
        let (kind, payload) = live.open(transcript.get("< get device id")).unwrap();
        let reply = Reply::read(&payload).unwrap();
        assert!(kind == Kind::Message && reply.answers(&request, 1) && reply.answer.code == 0);
        assert_eq!(Device::read(&reply.answer.data).unwrap().firmware, "2.31");
        assert_eq!(live.open(transcript.get("< get device id")), Err(Unfit::Replay));
    }
}

#[test]
fn no_bent_answer_goes_further() {
    for suite in [Suite::Seventeen, Suite::Three] {
        let transcript = Transcript::of(suite);
        for (answers, name) in ANSWERS.iter().enumerate() {
            let good = transcript.get(name);
            for cut in 0..good.len() {
                let progress = after(suite, answers).receive(&good[..cut]);
                assert!(matches!(progress, Ok(Progress::Ignored) | Err(_)), "{suite} {name} {cut}");
            }
            for bit in 0..good.len() * 8 {
                let mut bent = good.to_vec();
                bent[bit / 8] ^= 1 << (bit % 8);
                let progress = after(suite, answers).receive(&bent);
                // What nobody authenticates and nobody reads may differ; a session must not come of it.
                assert!(
                    !matches!(progress, Ok(Progress::Done(_))) || reserved(name, bit / 8),
                    "{name} {bit}"
                );
            }
        }
        let mut session = live(suite);
        for bit in 32..transcript.get("< get device id").len() * 8 {
            let mut bent = transcript.get("< get device id").to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(session.open(&bent).is_err(), "{bit}");
        }
    }
}

/// Bytes of RAKP 4 that mean nothing: the reserved two, and the sequence number of a packet outside of a session.
fn reserved(name: &str, at: usize) -> bool {
    name == "< rakp4" && matches!(at, 10..=13 | 18 | 19)
}

#[test]
fn nothing_but_the_asked_suite_is_taken() {
    for suite in [Suite::Seventeen, Suite::Three] {
        let good = Transcript::of(suite).get("< open").to_vec();
        // Algorithms are the fifth of eight bytes, three times, behind header and ids.
        for (field, asked) in suite.algorithms().into_iter().enumerate() {
            for other in (0..=6).filter(|other| *other != asked) {
                let mut bent = good.clone();
                bent[16 + 12 + 8 * field + 4] = other;
                match after(suite, 1).receive(&bent) {
                    Err(error @ Refusal::OtherAlgorithms { got, .. }) => {
                        assert!(got[field] == other && !error.is_about_the_suite(), "{error}");
                    }
                    progress => panic!("{suite} {field} {other}: {progress:?}"),
                }
            }
        }
    }
}

#[test]
fn refusals_have_names() {
    let suite = Suite::Seventeen;
    let transcript = Transcript::of(suite);
    // The password is wrong on one side.
    let mut handshake = start(suite, "other").0;
    for name in &ANSWERS[..2] {
        handshake.receive(transcript.get(name)).unwrap();
    }
    assert_eq!(handshake.receive(transcript.get("< rakp2")).unwrap_err(), Refusal::Password);
    // RAKP 4 by who does not know the key.
    let mut bent = transcript.get("< rakp4").to_vec();
    *bent.last_mut().unwrap() ^= 1;
    assert_eq!(after(suite, 3).receive(&bent).unwrap_err(), Refusal::Key);
    // A status, in the long and in the short form; with each the suite is in question or not.
    for (status, about_the_suite) in [(0x01, false), (0x04, true), (0x0d, false), (0x11, true), (0xff, false)]
    {
        let mut long = transcript.get("< open").to_vec();
        long[17] = status;
        let mut short = long[..18].to_vec();
        short[14] = 2;
        for bytes in [long, short] {
            let refusal = after(suite, 1).receive(&bytes).unwrap_err();
            assert_eq!(refusal, Refusal::Status { step: Step::Open, suite, status });
            assert_eq!(refusal.is_about_the_suite(), about_the_suite);
        }
    }
    // A channel without IPMI 2.0: not a word of 1.5.
    let mut bent = transcript.get("< capabilities").to_vec();
    let at = bent.len() - 6;
    assert_eq!(bent[at], 0x02);
    bent[at] = 0x01;
    let last = bent.len() - 1;
    bent[last] += 1;
    assert_eq!(after(suite, 0).receive(&bent).unwrap_err(), Refusal::NoRmcpPlus);
    // Less privilege than asked for.
    let mut bent = transcript.get("< open").to_vec();
    bent[18] = 2;
    let refusal = after(suite, 1).receive(&bent).unwrap_err();
    assert_eq!(refusal, Refusal::Privilege { wanted: Level::Operator, got: 2 });
}

#[test]
fn what_comes_twice_or_out_of_turn_is_passed_over() {
    let transcript = Transcript::of(Suite::Three);
    for (answers, awaited) in ANSWERS.iter().enumerate().skip(1) {
        let mut handshake = after(Suite::Three, answers);
        for (number, name) in ANSWERS.iter().enumerate().filter(|(number, _)| *number != answers) {
            let progress = handshake.receive(transcript.get(name));
            assert!(matches!(progress, Ok(Progress::Ignored)), "{answers} {number}: {progress:?}");
        }
        let progress = handshake.receive(transcript.get(awaited));
        assert!(matches!(progress, Ok(Progress::Send(_) | Progress::Done(_))));
    }
}
