//! Looks for controllers: in address ranges, among leased addresses, by SSDP and multicast DNS, and by what agents tell
//! of the machine they are in.
//!
//! Whatever is found is asked for its service root, without a password, at the pace that the site file allows; nothing
//! is pinned or believed by that.  An account that belongs to it is placed there (`controllers/placing.rs`); one that is
//! missing is said, so that everything found is shown.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use appliance_bmc::announce::{self, ANSWER_BYTES_MAX};
use appliance_model::{Mac, inventory::BmcSeen};
use appliance_store::{ControllerRow, HostRow, Outcome, Sighting, Source, StoreError};
use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use crate::{
    app::{App, now},
    chain_of,
    config::Discovery,
    controllers::placing::{Index, Placing, place},
};

/// How often leases and accounts are looked at.
const TICK: Duration = Duration::from_secs(2);
/// Controllers asked at once.
const ASKED_AT_ONCE_MAX: usize = 64;
/// How long answers to a multicast are waited for: SSDP's are spread over three seconds.
const ANSWERS_WAIT: Duration = Duration::from_secs(5);
/// Answers to one multicast.
const ANSWERS_MAX: usize = 4096;
/// Found in one round and not yet written down.
const BATCH: usize = 64;
/// Bytes of the kernel's neighbour table that are looked at.
const NEIGHBOURS_BYTES_MAX: usize = 4 << 20;

const NO_PASSWORD: &str = "no password of it is known; import one with `scalerforge bmc import`";

const NO_REDFISH: &str =
    "its machine says that it is here, and no Redfish answers; is this LAN reachable from the appliance?";

/// Somewhere to look.
#[derive(Debug, Clone)]
struct Candidate {
    url: String,
    mac: Option<Mac>,
    source: Source,
    /// Whether silence is worth a line: most addresses of a range are nobody's.
    expected: bool,
}

/// Looks for as long as the appliance runs; places accounts also where nothing is looked for.
pub(crate) async fn run(app: Arc<App>) {
    let settle = settle(Arc::clone(&app));
    let Some(discovery) = app.config.discovery.clone() else { return settle.await };
    let discovery = Arc::new(discovery);
    let rounds = rounds(Arc::clone(&app), Arc::clone(&discovery));
    let leases = async {
        if discovery.dhcp {
            leases(Arc::clone(&app), Arc::clone(&discovery)).await;
        }
    };
    tokio::join!(settle, rounds, leases);
}

/// One round after the other over all ranges, with a multicast before each.
async fn rounds(app: Arc<App>, discovery: Arc<Discovery>) {
    let mut round = interval(Duration::from_secs(discovery.every_seconds));
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        let mut heard = Vec::new();
        for from in &discovery.multicast_from {
            heard.extend(listen(*from).await);
        }
        look(&app, &discovery, heard.into_iter()).await;
        let ports = discovery.ports.clone();
        let everywhere = discovery.spans.iter().flat_map(|span| span.addresses());
        let candidates = everywhere.flat_map(|ip| {
            let at = ports.iter().map(move |port| (ip, *port));
            at.collect::<Vec<_>>()
        });
        let candidate = |(ip, port)| Candidate {
            url: announce::url(ip, port),
            mac: None,
            source: Source::Range,
            expected: false,
        };
        look(&app, &discovery, candidates.map(candidate)).await;
    }
}

/// Leased addresses that are no known server's, each once a lease.
async fn leases(app: Arc<App>, discovery: Arc<Discovery>) {
    let mut asked: HashMap<Ipv4Addr, Mac> = HashMap::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let leased = app.pxe.leases();
        asked.retain(|address, mac| leased.iter().any(|one| one.address == *address && one.mac == *mac));
        let fresh: Vec<_> =
            leased.into_iter().filter(|lease| lease.bound && !asked.contains_key(&lease.address)).collect();
        if fresh.is_empty() {
            continue;
        }
        let Ok(hosts) = app.db(appliance_store::Store::hosts).await else { continue };
        let of_host = |mac: Mac| hosts.iter().any(|host| host.facts.macs.contains(&mac));
        let mut candidates = Vec::new();
        for lease in fresh {
            asked.insert(lease.address, lease.mac);
            let ports = discovery.ports.iter().filter(|_| !of_host(lease.mac));
            candidates.extend(ports.map(|port| Candidate {
                url: announce::url(lease.address.into(), *port),
                mac: Some(lease.mac),
                source: Source::Dhcp,
                expected: false,
            }));
        }
        look(&app, &discovery, candidates.into_iter()).await;
    }
}

/// Asks all of these who they are, so many a second and at once, and writes down who answered.
async fn look(app: &Arc<App>, discovery: &Discovery, candidates: impl Iterator<Item = Candidate>) {
    let pace = Duration::from_secs(1) / discovery.per_second_max.max(1);
    let (mut asking, mut found) = (JoinSet::new(), Vec::new());
    let mut next = Instant::now();
    for candidate in candidates {
        while asking.len() >= ASKED_AT_ONCE_MAX {
            found.extend(asking.join_next().await.and_then(Result::ok).flatten());
        }
        sleep_until(next).await;
        next = Instant::now() + pace;
        asking.spawn(meet(candidate));
        if found.len() >= BATCH {
            keep(app, std::mem::take(&mut found)).await;
        }
    }
    while let Some(met) = asking.join_next().await {
        found.extend(met.ok().flatten());
    }
    keep(app, found).await;
}

async fn meet(candidate: Candidate) -> Option<Sighting> {
    let Candidate { url, mac, source, expected } = candidate;
    match appliance_bmc::meet(&url).await {
        Ok(stranger) => Some(Sighting {
            mac,
            serial: None,
            key: stranger.key.map(|key| key.0),
            service: Some(stranger.service),
            source,
            url,
        }),
        Err(error) => {
            let error = chain_of(&error);
            if expected {
                tracing::info!(url, source = source.words(), error, "announced, and no Redfish service");
            } else {
                tracing::debug!(url, source = source.words(), error, "no Redfish service");
            }
            None
        }
    }
}

/// Writes down who was found; ports' addresses are the kernel's, where it has just spoken to them.
async fn keep(app: &Arc<App>, mut found: Vec<Sighting>) {
    if found.is_empty() {
        return;
    }
    let table = neighbours();
    for one in &mut found {
        let at = ip_of(&one.url).and_then(|ip| table.get(&ip));
        one.mac = one.mac.or(at.copied());
    }
    for one in &found {
        tracing::info!(
            url = one.url,
            service = one.service,
            source = one.source.words(),
            "a controller answers"
        );
    }
    match app.db(move |store| store.sighted(&found, now())).await {
        Ok(0) => app.bump(),
        Ok(left_out) => {
            tracing::error!(left_out, "more controllers than are kept; look for what answers everywhere")
        }
        Err(error) => {
            tracing::error!(error = chain_of(&error), "controllers that were found were not written down")
        }
    }
}

fn ip_of(url: &str) -> Option<IpAddr> {
    let place = url.strip_prefix("https://")?;
    let ip = place.parse::<SocketAddr>().map(|at| at.ip());
    ip.ok().or_else(|| place.trim_matches(['[', ']']).parse().ok())
}

/// The kernel's IPv4 neighbours.
fn neighbours() -> HashMap<IpAddr, Mac> {
    std::fs::read_to_string("/proc/net/arp").map(|text| arp(&text)).unwrap_or_default()
}

/// `ADDRESS TYPE FLAGS MAC MASK DEVICE` a line; flag 2 is an entry that is complete.
fn arp(text: &str) -> HashMap<IpAddr, Mac> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (ip, flags, mac) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let complete = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()? & 2 != 0;
        complete.then_some((ip.parse().ok()?, mac.parse().ok()?))
    };
    text.get(..text.len().min(NEIGHBOURS_BYTES_MAX)).unwrap_or_default().lines().filter_map(line).collect()
}

/// Asks the LAN of one of our addresses, by SSDP and multicast DNS.
async fn listen(from: Ipv4Addr) -> Vec<Candidate> {
    let socket = match ask(from).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%from, %error, "controllers cannot be asked for by multicast from this address");
            return Vec::new();
        }
    };
    let mut heard: HashMap<String, Source> = HashMap::new();
    let mut datagram = [0; ANSWER_BYTES_MAX];
    let until = Instant::now() + ANSWERS_WAIT;
    for _ in 0..ANSWERS_MAX {
        let Ok(received) = timeout_at(until, socket.recv_from(&mut datagram)).await else { break };
        let Ok((length, at)) = received else { continue };
        let answer = datagram.get(..length).unwrap_or_default();
        let told = announce::ssdp_answer(at.ip(), answer).map(|url| (url, Source::Ssdp));
        let told = told.or_else(|| Some((announce::mdns_answer(at.ip(), answer)?, Source::Mdns)));
        heard.extend(told);
    }
    let candidate = |(url, source)| Candidate { url, mac: None, source, expected: true };
    heard.into_iter().map(candidate).collect()
}

async fn ask(from: Ipv4Addr) -> std::io::Result<UdpSocket> {
    // Bound to the address, which also chooses the interface for what is sent to groups from it.
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.set_multicast_ttl_v4(1)?;
    socket.send_to(&announce::ssdp_question(), announce::SSDP).await?;
    socket.send_to(&announce::mdns_question(), announce::MDNS).await?;
    Ok(socket)
}

/// What an agent was told by the controller of its machine: written down, and asked like every other address.
pub(crate) async fn in_band(app: &Arc<App>, host: &HostRow, told: &BmcSeen) {
    let Some(address) = told.lan_address else { return };
    let source = Source::InBand;
    let candidate =
        Candidate { url: announce::url(address.into(), 443), mac: told.lan_mac, source, expected: true };
    let met = meet(candidate.clone()).await;
    let silent = met.is_none();
    let found = met.unwrap_or(Sighting {
        url: candidate.url.clone(),
        mac: told.lan_mac,
        serial: None,
        key: None,
        service: None,
        source,
    });
    keep(app, vec![Sighting { serial: Some(host.facts.serial.as_str().to_owned()), ..found }]).await;
    if silent {
        let outcome = (candidate.url, Outcome::Trouble(NO_REDFISH.into()));
        if let Err(error) = app.db(move |store| store.visited(&[outcome], now())).await {
            tracing::error!(
                error = chain_of(&error),
                "a controller that does not answer was not written down"
            );
        }
    }
}

/// Places accounts at what was found, whenever either changed.
async fn settle(app: Arc<App>) {
    let (mut said, mut changes) = (Said::new(), app.changes());
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        match app.db(appliance_store::Store::controllers).await {
            Ok(rows) => {
                if let Err(error) = place_all(&app, &rows, &mut said).await {
                    tracing::error!(error = chain_of(&error), "accounts were not placed; trying again");
                }
            }
            Err(error) => tracing::error!(error = chain_of(&error), "the controllers cannot be read"),
        }
        // Much changes on a busy site; places change seldom.
        tokio::time::sleep(TICK).await;
    }
}

/// What was last said of each address.
type Said = HashMap<String, Placing>;

async fn place_all(app: &Arc<App>, rows: &[ControllerRow], said: &mut Said) -> Result<(), StoreError> {
    let accounts = app.controllers.accounts();
    let index = Index::of(&accounts);
    let troubled: HashSet<&str> =
        rows.iter().filter(|row| row.trouble.is_some()).map(|row| row.url.as_str()).collect();
    let by_file: HashSet<&str> = app.config.bmcs.iter().map(|entry| entry.url.as_str()).collect();
    let (mut outcomes, mut now_said) = (Vec::new(), Said::new());
    for row in rows.iter().filter(|row| !by_file.contains(row.url.as_str())) {
        let placing = place(row, &index, |url| troubled.contains(url));
        let known = said.get(&row.url) == Some(&placing);
        now_said.insert(row.url.clone(), placing.clone());
        match placing {
            _ if known => {}
            Placing::Settled => {}
            Placing::Unknown => outcomes.push((row.url.clone(), Outcome::Trouble(NO_PASSWORD.into()))),
            Placing::Finding(why) => {
                tracing::warn!(bmc = row.url, why, "a finding about a controller");
                outcomes.push((row.url.clone(), Outcome::Trouble(why)));
            }
            Placing::Place(name) => {
                tracing::info!(bmc = row.url, account = name, "this account's controller was found here");
                let url = row.url.clone();
                app.db(move |store| store.place_account(&name, &url, now())).await?;
            }
        }
    }
    *said = now_said;
    if !outcomes.is_empty() {
        app.db(move |store| store.visited(&outcomes, now())).await?;
        app.bump();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_neighbours_count() {
        let text = "IP address       HW type     Flags       HW address            Mask     Device\n\
                    10.78.0.11       0x1         0x2         52:54:00:00:00:01     *        br0\n\
                    10.78.0.12       0x1         0x0         00:00:00:00:00:00     *        br0\n\
                    nonsense\n\u{fffd} 0x1 0x2 zz\n";
        let table = arp(text);
        assert_eq!(table.len(), 1);
        let ip = ip_of("https://10.78.0.11:8443").unwrap();
        assert_eq!(table[&ip], "52:54:00:00:00:01".parse().unwrap());
        assert_eq!(ip_of("https://[fd78::1]").unwrap().to_string(), "fd78::1");
        assert_eq!(ip_of("https://bmc.example"), None);
    }
}
