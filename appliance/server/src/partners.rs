//! Partners for ports under test: hosts for each other, and the appliance for whom there is no other.
//!
//! Who plays whom is decided by the core (`firmware_checks_burn_in::tournament`).  Here a port's word about itself is
//! checked against its machine's inventory, each pair gets a token of its own, and the appliance plays where it must:
//! one match at a time, on a socket that is gone with it.  All of it is in memory; after a restart the agents ask again.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use appliance_api::agent::POLL_SECONDS_MAX;
use appliance_enrol::Stage;
use appliance_model::{
    Mac, Now, Seconds,
    burn_in::aid::{Match, Pairing, Role, Seek, Token, Uplink},
    inventory::{Inventory, Nic},
};
use appliance_store::{HostRow, Kind};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use firmware_checks_burn_in::tournament::{Game, Lane, Seat, Tournament};
use firmware_checks_workloads::{
    Watch,
    network::{Ear, Port, Way, play},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    agent_api::{Refused, authenticate},
    app::{App, now},
    site,
    told::told,
};

/// How often those who wait are looked at: some are served because they have waited long enough.
const LOOK: Duration = Duration::from_secs(1);
/// What a match may take, in seconds: the agent's own bound.
const SECONDS_MAX: u32 = 60;
/// A pairing that nobody fetched is worth nothing any more: the partner has given up.
const FETCH_SECONDS: Seconds = Seconds(15);
/// Places outside that are told, and how long a name may take.
const UPLINKS_MAX: usize = 16;
const RESOLVE_MAX: Duration = Duration::from_secs(2);
/// What the appliance's port is set to if nobody tells.
const MTU: u64 = 1500;

/// Everybody who waits.
#[derive(Debug, Default)]
pub(crate) struct Partners {
    room: Mutex<Room>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Room {
    tournament: Tournament,
    seeks: HashMap<Mac, (Seek, String)>,
    ready: HashMap<Mac, (Pairing, Now)>,
    /// The appliance plays.
    busy: bool,
}

impl Partners {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /agent/v1/partner`: waits for a partner, for a poll's time at most.
pub(crate) async fn partner(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(seek): Json<Seek>,
) -> Result<Json<Pairing>, Refused> {
    let host = authenticate(&app, &headers).await?;
    if seek.order != host.generation || !matches!(host.stage, Stage::BurningIn { .. }) {
        return Err(Refused(
            StatusCode::GONE,
            "this burn-in is not open any more; ask for the next order".into(),
        ));
    }
    let seat = seat(&app, &host, &seek).await?;
    let until = Instant::now() + Duration::from_secs(POLL_SECONDS_MAX);
    let words = format!("server {}, port {}", host.facts.serial, seek.port);
    loop {
        let changed = app.partners.changed.notified();
        if let Some(pairing) = ask(&app, &seat, &seek, &words)? {
            return Ok(Json(pairing));
        }
        let look = Instant::now() + LOOK;
        let _ = timeout_at(look.min(until), changed).await;
        if Instant::now() >= until {
            return Ok(Json(Pairing::Wait));
        }
    }
}

/// `POST /agent/v1/uplinks`: the site's places, with the addresses that their names have now.
pub(crate) async fn uplinks(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Vec<Uplink>>, Refused> {
    authenticate(&app, &headers).await?;
    let mut uplinks = Vec::new();
    for (name, at) in app.config.burn_in.latency.iter().take(UPLINKS_MAX) {
        let found = timeout_at(Instant::now() + RESOLVE_MAX, tokio::net::lookup_host(at)).await;
        let mut found: Vec<SocketAddr> = found.ok().and_then(Result::ok).into_iter().flatten().collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        uplinks.push(Uplink { name: name.clone(), at: found.first().copied() });
    }
    Ok(Json(uplinks))
}

/// Lets the tournament go on, and answers what it says of this port.
fn ask(app: &Arc<App>, seat: &Seat, seek: &Seek, words: &str) -> Result<Option<Pairing>, Refused> {
    let at = now();
    let mut room = app.partners.room();
    room.ready.retain(|_, (_, since)| at.since(*since).0 <= FETCH_SECONDS.0);
    if let Some((pairing, _)) = room.ready.remove(&seat.port) {
        return Ok(Some(pairing));
    }
    room.seeks.insert(seat.port, (seek.clone(), words.to_owned()));
    if !room.tournament.wait(seat.clone(), at) {
        let why = "more ports wait for partners than this appliance keeps; ask again later";
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, why.into()));
    }
    let house = !room.busy;
    for game in room.tournament.games(house, at) {
        match game {
            Game::Pair(one, other) => room.pair(&one, &other, at)?,
            Game::House(seat) => house_plays(app, &mut room, &seat, at),
            Game::Nobody(seat) => {
                let why =
                    "no other port of the site came in time, and the appliance was not in reach or busy";
                room.ready.insert(seat.port, (Pairing::Nobody { why: why.into() }, at));
            }
        }
    }
    let known = room.ready.remove(&seat.port).map(|(pairing, _)| pairing);
    drop(room);
    app.partners.changed.notify_waiters();
    Ok(known)
}

impl Room {
    /// Tells both; the second listens and the first dials, so that each socket is open before somebody comes.
    fn pair(&mut self, dials: &Seat, listens: &Seat, at: Now) -> Result<(), Refused> {
        let token = token()?;
        let (Some(one), Some(other)) = (self.seeks.remove(&dials.port), self.seeks.remove(&listens.port))
        else {
            return Ok(());
        };
        let seconds = dials.seconds.min(listens.seconds).clamp(1, SECONDS_MAX);
        let place = match (&dials.switch, &listens.switch) {
            (Some(a), Some(b)) if a == b => format!(" behind the same switch {a}"),
            (Some(_), Some(b)) => format!(" behind another switch {b}"),
            (None, _) | (_, None) => String::new(),
        };
        for (seat, role, (partner, words)) in [(dials, Role::Dial, &other), (listens, Role::Listen, &one)] {
            let game = Match {
                role,
                address: partner.at,
                token: token.clone(),
                seconds,
                partner: format!("{words}{place}"),
                partner_mbps: partner.link_mbps,
            };
            self.ready.insert(seat.port, (Pairing::Go(game), at));
        }
        Ok(())
    }
}

/// The appliance listens, and plays in a thread of its own.
fn house_plays(app: &Arc<App>, room: &mut Room, seat: &Seat, at: Now) {
    let Some((seek, _)) = room.seeks.remove(&seat.port) else { return };
    let (token, ear) = match (token(), open(app, seat.lane)) {
        (Ok(token), Ok(ear)) => (token, ear),
        (_, Err(why)) => {
            tracing::warn!(why, "the appliance cannot be anybody's partner");
            room.ready.insert(seat.port, (Pairing::Nobody { why }, at));
            return;
        }
        (Err(Refused(_, why)), Ok(_)) => {
            room.ready.insert(seat.port, (Pairing::Nobody { why }, at));
            return;
        }
    };
    let port = Port::having(Path::new("/"), ear.at().ip());
    let game = Match {
        role: Role::Dial,
        address: ear.at(),
        token: token.clone(),
        seconds: seat.seconds.clamp(1, SECONDS_MAX),
        partner: "the appliance".into(),
        partner_mbps: port.as_ref().and_then(Port::mbps),
    };
    let time = Duration::from_secs(game.seconds.into());
    room.ready.insert(seat.port, (Pairing::Go(game), at));
    room.busy = true;
    let app = Arc::clone(app);
    let host = seat.host.clone();
    // No thread of the runtime: its end would wait for the match's.
    let plays = move || {
        let stop = AtomicBool::new(false);
        let mtu = port.and_then(|port| port.mtu()).unwrap_or(MTU);
        let way = Way::Listen { ear: &ear, from: seek.at.ip() };
        if let Err(why) = play(way, &token, mtu, time, Watch::new(&stop, &|_| {})) {
            tracing::warn!(%host, port = %seek.port, why, "a match with the appliance came to nothing");
        }
        drop(ear);
        app.partners.room().busy = false;
        app.partners.changed.notify_waiters();
    };
    if let Err(error) = std::thread::Builder::new().name("match".into()).spawn(plays) {
        tracing::warn!(%error, "the appliance cannot be anybody's partner");
        room.busy = false;
    }
}

fn open(app: &App, lane: Lane) -> Result<Ear, String> {
    let own = match lane {
        Lane::Four => Some(app.config.agent).filter(SocketAddr::is_ipv4),
        Lane::Six => app.config.agent6,
        Lane::Local => None,
    };
    let own = own.filter(|at| !at.ip().is_unspecified());
    Ear::open(own.ok_or("the appliance has no address that this port could reach")?, None)
}

fn token() -> Result<Token, Refused> {
    site::random().map(Token).map_err(|error| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
}

/// A port's place in the tournament, by what its machine's inventory says of it.
async fn seat(app: &Arc<App>, host: &HostRow, seek: &Seek) -> Result<Seat, Refused> {
    let refused = |why: String| Refused(StatusCode::BAD_REQUEST, why);
    let id = host.id.clone();
    let stored = app.db(move |store| store.document(&id, Kind::Inventory)).await?;
    let inventory: Inventory =
        stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let nic = inventory.nics.iter().find(|nic| nic.mac == Some(seek.port)).ok_or_else(|| {
        refused(format!("server {} has no port {} in its inventory", host.facts.serial, seek.port))
    })?;
    let loopback_site = app.config.agent.ip().is_loopback();
    let lane = lane(seek.at, loopback_site)
        .ok_or_else(|| refused(format!("{} is no address that a partner can come to", seek.at)))?;
    Ok(Seat {
        host: host.id.clone(),
        port: seek.port,
        switch: switch(nic),
        mbps: seek.link_mbps,
        lane,
        seconds: seek.seconds.clamp(1, SECONDS_MAX),
    })
}

/// What the port is cabled to, by LLDP: bridges only, since a neighbour can be another server too.
fn switch(nic: &Nic) -> Option<String> {
    let bridge = nic.neighbours.iter().find(|one| one.capabilities.iter().any(|what| what == "bridge"));
    let neighbour = bridge.or_else(|| nic.neighbours.first())?;
    let named = neighbour.system_name.clone().unwrap_or_else(|| neighbour.chassis.clone());
    Some(told(&named, 64))
}

/// Who can come to an address.  Another machine is sent there, so it must be one of a machine of its own.
fn lane(at: SocketAddr, loopback_site: bool) -> Option<Lane> {
    let ip = at.ip().to_canonical();
    if at.port() == 0 || ip.is_unspecified() || ip.is_multicast() || (ip.is_loopback() && !loopback_site) {
        return None;
    }
    match ip {
        IpAddr::V4(four) if four.is_broadcast() => None,
        IpAddr::V4(four) if four.is_link_local() => Some(Lane::Local),
        IpAddr::V4(_) => Some(Lane::Four),
        IpAddr::V6(six) if six.is_unicast_link_local() => Some(Lane::Local),
        IpAddr::V6(_) => Some(Lane::Six),
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::{HostId, Serial, inventory::Neighbour};

    use super::*;

    #[test]
    fn lanes_and_addresses_that_nobody_is_sent_to() {
        for (at, lab, expected) in [
            ("10.0.0.7:4000", false, Some(Lane::Four)),
            ("[::ffff:10.0.0.7]:4000", false, Some(Lane::Four)),
            ("[fd77::7]:4000", false, Some(Lane::Six)),
            ("[fe80::7]:4000", false, Some(Lane::Local)),
            ("169.254.3.4:4000", false, Some(Lane::Local)),
            ("10.0.0.7:0", false, None),
            ("127.0.0.1:22", false, None),
            ("127.0.0.1:4000", true, Some(Lane::Four)),
            ("[::1]:22", false, None),
            ("0.0.0.0:4000", false, None),
            ("255.255.255.255:4000", false, None),
            ("224.0.0.1:4000", false, None),
            ("[ff02::1]:4000", false, None),
        ] {
            assert_eq!(lane(at.parse().unwrap(), lab), expected, "{at}");
        }
    }

    #[test]
    fn both_ends_are_told_of_each_other_and_get_one_token() {
        let port = |number: u8| Mac([2, 0, 0, 0, 0, number]);
        let seat = |number: u8| Seat {
            host: HostId::of_serial(&Serial::parse(&format!("S{number}")).unwrap()),
            port: port(number),
            switch: Some(format!("leaf-{}", number.div_ceil(2))),
            mbps: Some(1000 * u32::from(number)),
            lane: Lane::Four,
            seconds: 90,
        };
        let mut room = Room::default();
        for number in 1..=3 {
            let at = SocketAddr::from(([10, 0, 0, number], 4000 + u16::from(number)));
            let link_mbps = Some(1000 * u32::from(number));
            let seek = Seek { order: 1, port: port(number), at, link_mbps, seconds: 90 };
            room.seeks.insert(port(number), (seek, format!("server S{number}")));
        }
        room.pair(&seat(1), &seat(2), Now(0)).map_err(|_| "no randomness").unwrap();
        let game = |room: &mut Room, number: u8| match room.ready.remove(&port(number)) {
            Some((Pairing::Go(game), _)) => game,
            other => panic!("{number}: {other:?}"),
        };
        let (one, two) = (game(&mut room, 1), game(&mut room, 2));
        assert_eq!((one.role, two.role), (Role::Dial, Role::Listen));
        assert_eq!(one.address, "10.0.0.2:4002".parse().unwrap());
        assert_eq!(two.address, "10.0.0.1:4001".parse().unwrap());
        assert_eq!((one.partner_mbps, two.partner_mbps), (Some(2000), Some(1000)));
        assert_eq!(one.partner, "server S2 behind the same switch leaf-1");
        assert_eq!((one.seconds, two.seconds), (SECONDS_MAX, SECONDS_MAX));
        assert!(one.token == two.token && one.token != Token([0; 32]));
        // Whoever is not there any more is nobody's partner.
        room.pair(&seat(3), &seat(1), Now(0)).map_err(|_| "no randomness").unwrap();
        assert!(room.ready.is_empty());
    }

    #[test]
    fn a_switch_is_named_by_its_name_and_told_from_a_server() {
        let neighbour = |chassis: &str, name: Option<&str>, what: &[&str]| Neighbour {
            chassis: chassis.into(),
            system_name: name.map(Into::into),
            capabilities: what.iter().map(|what| (*what).to_owned()).collect(),
            ..Neighbour::default()
        };
        let nic = |neighbours| Nic { neighbours, ..Nic::default() };
        let server = neighbour("52:54:00:00:00:01", Some("host-7"), &["station"]);
        let leaf = neighbour("52:54:00:00:00:02", Some("leaf-1"), &["bridge", "router"]);
        assert_eq!(switch(&nic(vec![server, leaf.clone()])), Some("leaf-1".into()));
        assert_eq!(
            switch(&nic(vec![Neighbour { system_name: None, ..leaf }])),
            Some("52:54:00:00:00:02".into())
        );
        assert_eq!(switch(&nic(Vec::new())), None);
    }
}
