//! What a hostile controller sends: handshakes in every state, sessions, records, logs, FRUs, consoles.

use std::future::Future;

use crate::ipmi::{ENTROPY_RANDOM, ENTROPY_SESSION, ENTROPY_TAG, PASSWORD, USER, answers};
use appliance_ipmi::{
    IpmiError, Level, Link, Login, Password, Suite,
    bytes::Reader,
    command::{boot::Flags, chassis::Chassis, device, fru, lan, sdr, sel, sensor, text, user},
    handshake::{Entropy, Handshake, Progress},
    live::Live,
    local,
    message::{Answer, Reply, Request},
    packet, sol, surface,
};

/// One input.
pub fn run(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 6 {
        0 | 1 => handshake(if mode % 6 == 0 { Suite::Seventeen } else { Suite::Three }, rest),
        2 => walk(rest),
        3 => decode(rest),
        4 => console(rest),
        _ => {
            let _ =
                (Reply::read(rest), packet::read(rest, 16), packet::read(rest, 12), packet::read(rest, 0));
            let _ = packet::read_outside(rest);
        }
    }
}

/// The first byte says how many good answers came before; the rest are datagrams, each behind its length.
fn handshake(suite: Suite, input: &[u8]) {
    let Some((state, rest)) = input.split_first() else { return };
    let login = Login::new(USER, Password::new(PASSWORD).unwrap(), Level::Operator).unwrap();
    let entropy = Entropy { session: ENTROPY_SESSION, tag: ENTROPY_TAG, random: ENTROPY_RANDOM };
    let (mut handshake, _) = Handshake::start(login, suite, entropy);
    for answer in answers(suite == Suite::Seventeen).into_iter().take(usize::from(state % 5)) {
        match handshake.receive(&answer).unwrap() {
            Progress::Send(_) => {}
            Progress::Done(live) => return session(*live, rest),
            Progress::Ignored => panic!("a good answer was passed over"),
        }
    }
    let mut reader = Reader::new(rest);
    while let Some(datagram) = reader.byte().and_then(|length| reader.take(length.into())) {
        match handshake.receive(datagram) {
            // Only who knows the password gets there: the good answer itself may be among the seeds.
            Ok(Progress::Done(live)) => assert_eq!(live.suite(), suite),
            Ok(Progress::Send(next)) => assert!(next.len() < 256),
            Ok(Progress::Ignored) => {}
            Err(refusal) => {
                let _ = refusal.to_string();
                return;
            }
        }
    }
}

fn session(mut live: Live, input: &[u8]) {
    let mut reader = Reader::new(input);
    while let Some(datagram) = reader.byte().and_then(|length| reader.take(length.into())) {
        let _ = live.open(datagram);
    }
    let _ = live.open(input);
}

/// A controller that answers from the input: code, length, data.
struct Script<'a>(Reader<'a>);

impl Link for Script<'_> {
    fn host(&self) -> &str {
        "fuzz"
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, IpmiError> {
        let answer = self.0.byte().and_then(|code| {
            let length = usize::from(self.0.byte()?);
            Some(Answer { code, data: self.0.take(length)?.to_vec() })
        });
        let what = request.what.to_owned();
        answer.ok_or_else(|| IpmiError::NoAnswer {
            host: "fuzz".into(),
            what,
            tries: 1,
            heard: String::new(),
        })
    }
}

fn walk(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    let mut link = Script(Reader::new(rest));
    match which % 8 {
        0 => done(sdr::read(&mut link)),
        1 => done(sel::read(&mut link, 64)),
        2 => done(fru::read(&mut link, 0)),
        3 => done(lan::read(&mut link, 1)),
        4 => done(user::list(&mut link, 1)),
        5 => done(surface::identity(&mut link)),
        6 => done(sel::clear(&mut link)),
        _ => {
            let password = Password::new("seventeen-bytes-1").unwrap();
            done(user::create(&mut link, 1, "scalerforge", &password, Level::Operator));
        }
    }
}

/// Every walk ends with the input.
fn done<T>(walk: impl Future<Output = Result<T, IpmiError>>) {
    if let Err(error) = local::now(walk) {
        let _ = error.to_string();
    }
}

fn decode(input: &[u8]) {
    for entry in input.chunks(16).filter_map(sel::Entry::read) {
        let _ = entry.words();
    }
    let _ = (sel::Info::read(input), device::Device::read(input), Chassis::read(input), Flags::read(input));
    let fru = fru::Fru::read(input);
    let _ = fru.serial();
    for code in 0..4 {
        assert!(text::decode(code, input).chars().all(|letter| !letter.is_control()));
        let _ = text::decode_fru(code, input);
    }
    if let Some(sdr::Record::Sensor(sensor)) = sdr::read_record(input) {
        assert!(sensor.name.len() <= 64);
        for raw in 0..=255 {
            if let Some(reading) = sensor::Reading::read(&sensor, &[raw, 0x40, raw, 0]) {
                let _ = reading.words(&sensor);
            }
        }
    }
}

fn console(input: &[u8]) {
    let mut reader = Reader::new(input);
    let Some(room) = reader.u16() else { return };
    let mut port = sol::Port::new(room);
    let typed = port.type_in(&input[..input.len().min(64)]);
    let mut sent = 0;
    while let Some(payload) = reader.byte().and_then(|length| reader.take(length.into())) {
        sent += usize::from(port.due().is_some());
        if let Some(packet) = sol::Packet::read(payload) {
            let (bytes, _) = port.receive(&packet);
            assert!(bytes.len() <= payload.len());
        }
    }
    assert!(sent <= typed + input.len());
}
