//! The closed loop: so many exchanges at once, the next starts when one ends.  And the flood.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Holders, Kind, Link, Outcome, Plan, micros, now,
    packet::{self, Client},
    percentiles,
};

/// An exchange without an answer for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the open exchanges are looked through for those.
const SWEEP: Duration = Duration::from_millis(100);

struct Open {
    client: Client,
    since: Instant,
    last: Instant,
}

/// Runs exchanges until the time is up.
pub(super) fn run(plan: &Plan, link: &Link) -> anyhow::Result<Outcome> {
    let pxe = plan.kind != Kind::Dora;
    let begun = now();
    let end = begun + Duration::from_secs_f64(plan.seconds);
    let mut outcome = Outcome::default();
    let mut holders = Holders::default();
    let mut took = Vec::new();
    let mut open: BTreeMap<u32, Open> = BTreeMap::new();
    let (mut next, mut swept) = (0_u32, begun);
    loop {
        let time = now();
        if time >= end {
            break;
        }
        while open.len() < plan.window {
            let client = Client(next % plan.clients.max(1));
            link.send(&packet::discover(client, next, link.relay, pxe))?;
            open.insert(next, Open { client, since: time, last: time });
            next = next.wrapping_add(1);
        }
        if time.duration_since(swept) > SWEEP {
            swept = time;
            let before = open.len();
            open.retain(|_, exchange| time.duration_since(exchange.last) < PATIENCE);
            outcome.dropped += u64::try_from(before - open.len())?;
        }
        let Some(answer) = link.receive()? else { continue };
        let Some(exchange) = open.get_mut(&answer.xid).filter(|open| open.client == answer.client) else {
            continue;
        };
        let time = now();
        match answer.kind {
            2 if plan.kind != Kind::Offer => {
                exchange.last = time;
                link.send(&packet::request(answer.client, link.relay, &answer, pxe))?;
            }
            2 | 5 => {
                took.push(micros(exchange.since, time));
                open.remove(&answer.xid);
                outcome.completed += 1;
                if answer.kind == 5 {
                    holders.hold(answer.address, answer.client);
                }
            }
            6 => {
                open.remove(&answer.xid);
                outcome.refused += 1;
            }
            _ => {}
        }
    }
    outcome.seconds = now().duration_since(begun).as_secs_f64();
    outcome.twice = holders.twice;
    (outcome.p50_ms, outcome.p99_ms) = percentiles(took);
    Ok(outcome)
}

/// New clients' DISCOVERs one after the other for the plan's time, answers read and forgotten.
pub(super) fn flood(plan: &Plan, link: &Link) -> anyhow::Result<Outcome> {
    link.socket.set_nonblocking(true)?;
    let begun = now();
    let mut outcome = Outcome::default();
    for number in 0..plan.clients {
        link.send(&packet::discover(Client(number), number, link.relay, true))?;
        outcome.repeated += 1;
        while let Some(answer) = link.receive()? {
            outcome.completed += u64::from(answer.kind == 2);
        }
    }
    outcome.seconds = now().duration_since(begun).as_secs_f64();
    Ok(outcome)
}
