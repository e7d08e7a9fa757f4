//! A port against partners that the appliance names, match after match, until the time is over.
//!
//! What two ports measure together may be either's fault.  So a port is held to what it did with its best partner, and
//! with each partner to its worst match: a port that loses frames loses them with everybody.  All matches stand in the
//! coverage, with the partner's name.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, SocketAddrV6},
    thread,
    time::Duration,
};

use appliance_model::{
    Mac,
    burn_in::{
        aid::{Match, Pairing, Role, Seek},
        staged::{Series, Unit},
    },
};

use super::{Findings, Machine};
use crate::{
    Watch,
    aid::Aid,
    network::{Ear, Port, Seen, Way, distance, play},
    watch::Clock,
};

/// A match is a third of the task, so that there can be several partners, and at most a minute.
const PARTS: u64 = 3;
const SECONDS_MIN: u64 = 3;
const SECONDS_MAX: u64 = 60;
/// Beyond the task's own time, how long a first partner is waited for; the appliance says sooner that there is none.
const WAIT: Duration = Duration::from_secs(60);
/// Matches that came to nothing until no more are asked for.
const FAILURES_MAX: usize = 3;
/// After an appliance that did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// What a port is set to that does not tell.
const MTU: u64 = 1500;
/// Places whose distance is measured.
const UPLINKS_MAX: usize = 16;
/// Lines of coverage; a soak plays thousands of matches.
const LINES_MAX: usize = 64;
/// Points of a curve.
const POINTS_MAX: usize = 512;

pub(super) fn run(
    mac: Mac,
    time: Duration,
    machine: Machine<'_>,
    watch: Watch<'_>,
) -> Result<Findings, String> {
    let aid = machine.aid.ok_or("nobody is here to name a partner")?;
    let port = Port::find(machine.root, mac)?;
    let ear = Ear::open(port.address()?, Some(&port.name))?;
    let before = port.counted();
    let mut games = Games { mac, aid, port: &port, ear: &ear, played: Vec::new(), failed: Vec::new() };
    games.play(time, watch)?;
    let grown = port.counted().since(&before);
    let Games { played, failed, .. } = games;
    let mut found = Findings::of(format!("port {mac}"));
    found.matches(&played, port.mbps());
    found.add("port-errors-grown", grown.errors, Unit::Count);
    let device = found.device.clone();
    found.uplinks(aid, &ear, &port, watch);
    if !grown.words.is_empty() {
        found.coverage.push(format!("{device}: {}: {}", port.name, grown.words.join(", ")));
    }
    found.coverage.extend(failed.iter().map(|why| format!("{device}: a match that came to nothing: {why}")));
    Ok(found)
}

/// One match, and when it began, in seconds of the task.
struct Played {
    second: u32,
    of: Match,
    seen: Seen,
}

struct Games<'a> {
    mac: Mac,
    aid: &'a dyn Aid,
    port: &'a Port,
    ear: &'a Ear,
    played: Vec<Played>,
    failed: Vec<String>,
}

impl Games<'_> {
    /// Plays until the time is over; at least once, or why not.
    fn play(&mut self, time: Duration, watch: Watch<'_>) -> Result<(), String> {
        let clock = watch.start(time);
        let seconds = (time.as_secs() / PARTS).clamp(SECONDS_MIN, SECONDS_MAX);
        let seek = Seek {
            order: self.aid.order(),
            port: self.mac,
            at: unscoped(self.ear.at()),
            link_mbps: self.port.mbps(),
            seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
        };
        while !watch.stopped() && self.failed.len() < FAILURES_MAX {
            let left = time.saturating_sub(clock.elapsed());
            if left < Duration::from_secs(seconds) && !self.played.is_empty() || clock.elapsed() > time + WAIT
            {
                break;
            }
            match self.aid.partner(&seek) {
                Ok(Pairing::Wait) => {}
                Ok(Pairing::Go(of)) => self.one(of, &clock, watch),
                Ok(Pairing::Nobody { why }) => {
                    if self.played.is_empty() {
                        self.failed.push(why);
                    }
                    break;
                }
                Err(why) => {
                    self.failed.push(why);
                    thread::sleep(PAUSE);
                }
            }
            clock.tell();
        }
        if self.played.is_empty() {
            let why = self.failed.join("; ");
            return Err(if why.is_empty() { "no partner came in time".into() } else { why });
        }
        Ok(())
    }

    fn one(&mut self, of: Match, clock: &Clock<'_>, watch: Watch<'_>) {
        let second = u32::try_from(clock.elapsed().as_secs()).unwrap_or(u32::MAX);
        let interface = Some(self.port.name.as_str());
        let way = match of.role {
            Role::Listen => Way::Listen { ear: self.ear, from: of.address.ip() },
            Role::Dial => {
                let to = scoped(of.address, self.port.index());
                Way::Dial { from: self.ear.at(), to, interface }
            }
        };
        let time = Duration::from_secs(of.seconds.into());
        // The whole task's progress is told by its own clock, not by each match.
        match play(way, &of.token, self.port.mtu().unwrap_or(MTU), time, watch.silent()) {
            Ok(seen) => self.played.push(Played { second, of, seen }),
            Err(why) => self.failed.push(format!("{}: {why}", of.partner)),
        }
    }
}

/// The best over partners of the worst with each.
fn held_to(
    played: &[Played],
    worse: fn(u64, u64) -> u64,
    of: impl Fn(&Played) -> Option<u64>,
) -> Option<u64> {
    let mut partners: BTreeMap<&str, u64> = BTreeMap::new();
    for one in played {
        let Some(value) = of(one) else { continue };
        let held = partners.entry(one.of.partner.as_str()).or_insert(value);
        *held = worse(*held, value);
    }
    // The better of two is the one that is not the worse.
    partners.into_values().reduce(|one, other| if worse(one, other) == one { other } else { one })
}

impl Findings {
    fn matches(&mut self, played: &[Played], mbps: Option<u32>) {
        let most = |of: fn(&Played) -> Option<u64>| held_to(played, u64::max, of);
        let least = |of: fn(&Played) -> Option<u64>| held_to(played, u64::min, of);
        let rate = |one: &Played| one.seen.rate_in.min(one.seen.rate_out);
        let share = |one: &Played| {
            // A slow partner is no slow port; of what speed one is that does not tell, nobody knows.
            let slower = mbps?.min(one.of.partner_mbps?);
            (rate(one).saturating_mul(8)).checked_div(u64::from(slower).saturating_mul(1000))
        };
        self.add(
            "network-rate",
            least(|one| Some(one.seen.rate_in.min(one.seen.rate_out) >> 20)),
            Unit::MebibytesPerSecond,
        );
        self.add("network-share", held_to(played, u64::min, share), Unit::Permille);
        self.add("frames-lost", most(|one| one.seen.lost_permille()), Unit::Permille);
        self.add("frame-bytes", least(|one| one.seen.packet_bytes), Unit::Bytes);
        self.add("partner-latency", most(|one| one.seen.latency_p99), Unit::Microseconds);
        self.add("wrong-bytes", most(|one| Some(one.seen.wrong_bytes)), Unit::Count);
        let (first, last) = played.split_at(played.len().min(LINES_MAX));
        let device = self.device.clone();
        self.coverage.extend(first.iter().map(|one| format!("{device}: {}", words(one))));
        if !last.is_empty() {
            self.coverage.push(format!("{device}: {} more matches", last.len()));
        }
        let rates = |seen: &Seen| seen.curve_in.iter().map(|(at, bytes)| (*at, bytes >> 20)).collect();
        self.curve(played, "receive-rate", Unit::MebibytesPerSecond, rates);
        let rates = |seen: &Seen| seen.curve_out.iter().map(|(at, bytes)| (*at, bytes >> 20)).collect();
        self.curve(played, "send-rate", Unit::MebibytesPerSecond, rates);
        self.curve(played, "partner-latency", Unit::Microseconds, |seen| seen.curve_latency.clone());
    }

    /// How far the site's places are from this port.  No rule holds for them; one that is away is told.
    fn uplinks(&mut self, aid: &dyn Aid, ear: &Ear, port: &Port, watch: Watch<'_>) {
        let device = self.device.clone();
        let named = match aid.uplinks() {
            Ok(named) => named,
            Err(why) => return self.coverage.push(format!("{device}: uplinks: {why}")),
        };
        for uplink in named.into_iter().take(UPLINKS_MAX) {
            if watch.stopped() {
                return;
            }
            let at = uplink.at.filter(|at| at.is_ipv4() == ear.at().is_ipv4());
            let found = at.ok_or_else(|| "no address of it that this port could reach".to_owned());
            match found.and_then(|at| distance(ear.at(), at, Some(&port.name))) {
                Ok(micros) => {
                    self.add(&format!("uplink-latency-{}", uplink.name), micros, Unit::Microseconds)
                }
                Err(why) => self.coverage.push(format!("{device}: uplink {}: {why}", uplink.name)),
            }
        }
    }

    fn curve(&mut self, played: &[Played], name: &str, unit: Unit, of: impl Fn(&Seen) -> Vec<(u32, u64)>) {
        let late = |one: &Played| {
            let second = one.second;
            of(&one.seen).into_iter().map(move |(at, value)| (at.saturating_add(second), value))
        };
        let mut points: Vec<(u32, u64)> = played.iter().flat_map(late).collect();
        points.dedup_by_key(|(at, _)| *at);
        let every = points.len().div_ceil(POINTS_MAX).max(1);
        let points: Vec<(u32, u64)> = points.into_iter().step_by(every).collect();
        if !points.is_empty() {
            let device = self.device.clone();
            self.series.push(Series { device, name: name.into(), unit, points });
        }
    }
}

fn words(one: &Played) -> String {
    let Played { of, seen, .. } = one;
    let lost = |sent: u64, arrived: u64| format!("{} of {sent}", sent.saturating_sub(arrived));
    let time = |time: Option<u64>| time.map_or("unknown".into(), |time| format!("{time} us"));
    format!(
        "with {}: out {} MiB/s, in {} MiB/s, both at once {} MiB/s; lost {} datagrams out, {} in; answers after {} \
         (half), {} (99 of 100); packets up to {} bytes; {} s",
        of.partner,
        seen.rate_out >> 20,
        seen.rate_in >> 20,
        seen.rate_both >> 20,
        lost(seen.sent, seen.arrived),
        lost(seen.partner_sent, seen.received),
        time(seen.latency_p50),
        time(seen.latency_p99),
        seen.packet_bytes.unwrap_or(0),
        of.seconds,
    )
}

/// An address of this cable only, with our number of the port at its end.
fn scoped(address: SocketAddr, index: Option<u32>) -> SocketAddr {
    match address {
        SocketAddr::V6(six) if six.ip().is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(*six.ip(), six.port(), 0, index.unwrap_or(0)))
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// The number of a port means nothing on another machine.
fn unscoped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(six) => SocketAddr::V6(SocketAddrV6::new(*six.ip(), six.port(), 0, 0)),
        SocketAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::burn_in::aid::Token;

    use super::*;

    fn played(partner: &str, lost: u64, rate: u64) -> Played {
        let of = Match {
            role: Role::Dial,
            address: "10.0.0.2:1".parse().unwrap_or(SocketAddr::from(([10, 0, 0, 2], 1))),
            token: Token([0; 32]),
            seconds: 3,
            partner: partner.into(),
            partner_mbps: Some(10_000),
        };
        let rate = rate << 20;
        let seen = Seen {
            sent: 1000,
            arrived: 1000 - lost,
            partner_sent: 1000,
            received: 1000,
            rate_in: rate,
            rate_out: rate + 1,
            ..Seen::default()
        };
        Played { second: 0, of, seen }
    }

    #[test]
    fn a_port_is_held_to_its_best_partner_and_its_worst_match_with_it() {
        let value = |played: &[Played], name: &str| {
            let mut found = Findings::of("port 52:54:00:00:00:01");
            found.matches(played, Some(25_000));
            found.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
        };
        for (all, lost, rate) in [
            (vec![played("A", 40, 100)], 40, 100),
            (vec![played("A", 40, 100), played("B", 0, 1000)], 0, 1000),
            (vec![played("A", 40, 100), played("B", 2, 90)], 2, 100),
            // One clean match with the same partner clears nothing.
            (vec![played("A", 0, 1000), played("A", 40, 100)], 40, 100),
        ] {
            assert_eq!(value(&all, "frames-lost"), Some(lost));
            assert_eq!(value(&all, "network-rate"), Some(rate));
        }
        // Of the partner's 10 Gbit/s, not of the port's own 25.
        assert_eq!(value(&[played("A", 0, 1000)], "network-share"), Some(838));
        assert_eq!(value(&[played("A", 0, 1000)], "partner-latency"), None);
    }
}
