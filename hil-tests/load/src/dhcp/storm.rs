//! The power comes back: everybody starts within a second and repeats itself as RFC 2131 says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    Holders, Link, Outcome, Plan, micros, now,
    packet::{self, Answer, Client},
    percentiles,
};

/// Waits before the first, second and third repetition (RFC 2131, 4.1, without the random second); then as the last.
const WAITS: [u64; 4] = [4, 8, 16, 16];

struct Machine {
    started: Instant,
    /// What it has been offered.
    offer: Option<Answer>,
    repeats: usize,
    due: Instant,
}

/// Runs until all are bound or the time is up.
pub(super) fn run(plan: &Plan, link: &Link) -> anyhow::Result<Outcome> {
    let begun = now();
    let end = begun + Duration::from_secs_f64(plan.seconds);
    let apart = Duration::from_secs(1) / plan.clients.max(1);
    let mut outcome = Outcome::default();
    let mut holders = Holders::default();
    let (mut took, mut last) = (Vec::new(), begun);
    let mut open: BTreeMap<u32, Machine> = (0..plan.clients)
        .map(|number| {
            let started = begun + apart * number;
            (number, Machine { started, offer: None, repeats: 0, due: started })
        })
        .collect();
    let mut due: BTreeSet<(Instant, u32)> =
        open.iter().map(|(number, machine)| (machine.due, *number)).collect();
    while !open.is_empty() && now() < end {
        let time = now();
        while let Some((at, number)) = due.first().copied().filter(|(at, _)| *at <= time) {
            due.remove(&(at, number));
            let Some(machine) = open.get_mut(&number) else { continue };
            if at != machine.due {
                continue;
            }
            send(link, number, machine)?;
            if at != machine.started {
                outcome.repeated += 1;
            }
            let wait = WAITS.get(machine.repeats).copied().unwrap_or(16);
            machine.repeats += 1;
            machine.due = time + Duration::from_secs(wait);
            due.insert((machine.due, number));
        }
        let Some(answer) = link.receive()? else { continue };
        let Some(machine) = open.get_mut(&answer.xid).filter(|_| answer.client == Client(answer.xid)) else {
            continue;
        };
        let time = now();
        match answer.kind {
            2 if machine.offer.is_none() => {
                machine.offer = Some(answer);
                machine.repeats = 0;
                send(link, answer.xid, machine)?;
                machine.due = time + Duration::from_secs(WAITS[0]);
                due.insert((machine.due, answer.xid));
            }
            5 => {
                took.push(micros(machine.started, time));
                holders.hold(answer.address, answer.client);
                open.remove(&answer.xid);
                outcome.completed += 1;
                last = time;
            }
            6 => {
                outcome.refused += 1;
                machine.offer = None;
            }
            _ => {}
        }
    }
    outcome.dropped = u64::try_from(open.len())?;
    outcome.seconds = last.duration_since(begun).as_secs_f64();
    outcome.twice = holders.twice;
    (outcome.p50_ms, outcome.p99_ms) = percentiles(took);
    Ok(outcome)
}

fn send(link: &Link, number: u32, machine: &Machine) -> anyhow::Result<()> {
    let client = Client(number);
    let packet = match &machine.offer {
        Some(offer) => packet::request(client, link.relay, offer, true),
        None => packet::discover(client, number, link.relay, true),
    };
    Ok(link.send(&packet)?)
}
