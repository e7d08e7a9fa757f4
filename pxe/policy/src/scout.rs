//! Who else answers on a LAN, and what we had better do there.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use appliance_model::{Now, Seconds};

use crate::{client::BootRequest, network::Serving};

/// How long a server counts as being there after it was last heard.  We ask every minute.
const RIVAL_HOLD: Seconds = Seconds(300);
/// How long `auto-proxy` leaves addresses alone after it started: the first answers to our question come in this time.
const CAUTION: Seconds = Seconds(3);
/// More servers, relays or VLANs than these are not kept apart.
const KEPT_MAX: usize = 32;

/// What an interface is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answers nobody, looks around and proposes a mode.
    Listen,
    /// Says what to boot beside another server that has the addresses.
    Proxy,
    /// `full` until another server is heard, then `proxy`.
    AutoProxy,
    /// Addresses and boot files.
    Full,
    /// Addresses and boot files for announced and reserved machines only.
    Reservation,
    /// Nothing, not even listening.
    Off,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 6] =
        [Self::Listen, Self::Proxy, Self::AutoProxy, Self::Full, Self::Reservation, Self::Off];

    /// As in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Proxy => "proxy",
            Self::AutoProxy => "auto-proxy",
            Self::Full => "full",
            Self::Reservation => "reservation",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Its identifier (option 54), or the address it sent from.
    pub address: Ipv4Addr,
    /// When it was first heard.
    pub first: Now,
    /// When it was last heard.
    pub last: Now,
    /// Whether it was seen to give addresses (a proxy does not).
    pub leases: bool,
    /// The class of its boot offers: `PXEClient` or `HTTPClient`.
    pub boots: Option<String>,
    /// The best evidence that it is there.
    pub evidence: Evidence,
    /// When it was last seen to give an address.
    leased: Option<Now>,
}

/// How another server became known, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// A client's request named it.  One packet with an invented sender does that, so it changes nothing here.
    Named,
    /// A reply of it to somebody else was overheard.
    Overheard,
    /// It answered our own question.
    Answered,
}

/// One thing heard of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its identifier.
    pub server: Ipv4Addr,
    /// Whether it gave an address.
    pub leases: bool,
    /// Option 60 of its reply.
    pub class: Option<String>,
    /// How it was heard.
    pub evidence: Evidence,
}

/// What is known of one LAN.
#[derive(Debug)]
pub struct Scout {
    since: Now,
    probes: u64,
    clients: u64,
    rivals: BTreeMap<Ipv4Addr, Rival>,
    relays: BTreeMap<Ipv4Addr, Now>,
    vlans: BTreeMap<u16, Now>,
}

/// What a person is told of a LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Since when we listen.
    pub since: Now,
    /// How often we asked for other servers.
    pub probes: u64,
    /// Requests of clients heard.
    pub requests: u64,
    /// Other servers, those heard lately.
    pub rivals: Vec<Rival>,
    /// Relays whose requests were heard.
    pub relays: Vec<Ipv4Addr>,
    /// VLANs whose tagged frames passed by.
    pub vlans: Vec<u16>,
    /// The mode we would choose.
    pub proposal: Mode,
    /// Why, in words.
    pub why: String,
}

impl Scout {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            since: now,
            probes: 0,
            clients: 0,
            rivals: BTreeMap::new(),
            relays: BTreeMap::new(),
            vlans: BTreeMap::new(),
        }
    }

    /// We asked.
    pub fn probed(&mut self) {
        self.probes = self.probes.saturating_add(1);
    }

    /// Another server was heard.  Says whether it was not there before.
    pub fn server(&mut self, heard: &Heard, now: Now) -> bool {
        let Heard { server, leases, ref class, evidence } = *heard;
        if !self.rivals.contains_key(&server) && self.rivals.len() >= KEPT_MAX {
            self.make_room(evidence, now);
            if self.rivals.len() >= KEPT_MAX {
                return false;
            }
        }
        let rival = self.rivals.entry(server).or_insert_with(|| Rival {
            address: server,
            first: now,
            last: Now(0),
            leases: false,
            boots: None,
            evidence,
            leased: None,
        });
        if evidence == Evidence::Named && rival.evidence > evidence {
            // Nobody keeps a server alive here that has gone, by naming it.
            return false;
        }
        let gives = leases && evidence > Evidence::Named;
        let news = now.since(rival.last) >= RIVAL_HOLD
            || (gives && !rival.leases)
            || (evidence > Evidence::Named && rival.evidence == Evidence::Named);
        rival.last = now;
        rival.leases |= gives;
        rival.evidence = rival.evidence.max(evidence);
        if gives {
            rival.leased = Some(now);
        }
        if class.is_some() {
            rival.boots.clone_from(class);
        }
        news
    }

    /// Servers that have gone make room, and those that are only named for one that was heard: invented names must not
    /// hide a real server.
    fn make_room(&mut self, evidence: Evidence, now: Now) {
        self.rivals.retain(|_, rival| now.since(rival.last) < RIVAL_HOLD);
        if evidence > Evidence::Named && self.rivals.len() >= KEPT_MAX {
            let named = self.rivals.values().find(|rival| rival.evidence == Evidence::Named);
            if let Some(server) = named.map(|rival| rival.address) {
                self.rivals.remove(&server);
            }
        }
    }

    /// A client's request was heard.
    pub fn request(&mut self, request: &BootRequest, now: Now) {
        self.clients = self.clients.saturating_add(1);
        if let Some(relay) = request.relay {
            keep(&mut self.relays, relay, now);
        }
    }

    /// A tagged frame passed by.
    pub fn vlan(&mut self, id: u16, now: Now) {
        keep(&mut self.vlans, id, now);
    }

    /// Whether `server` was lately heard to give addresses.
    #[must_use]
    pub fn gives(&self, server: Ipv4Addr, now: Now) -> bool {
        self.leasing(now).any(|rival| rival.address == server)
    }

    /// Servers that give addresses, heard lately.
    fn leasing(&self, now: Now) -> impl Iterator<Item = &Rival> {
        let lately = move |leased: Now| now.since(leased) < RIVAL_HOLD;
        self.rivals.values().filter(move |rival| rival.leased.is_some_and(lately))
    }

    /// What an interface in `mode` does now, and why.
    #[must_use]
    pub fn serving(&self, mode: Mode, now: Now) -> (Serving, String) {
        match mode {
            Mode::Listen => (Serving::Nothing, "it only listens".into()),
            Mode::Off => (Serving::Nothing, "it is switched off".into()),
            Mode::Proxy => (Serving::Boot, "addresses are another server's business".into()),
            Mode::Full => (Serving::All, "addresses and boot files".into()),
            Mode::Reservation => (Serving::Known, "announced and reserved machines only".into()),
            Mode::AutoProxy => match self.leasing(now).next() {
                Some(rival) => (
                    Serving::Boot,
                    format!("{} gives addresses here, so we only say what to boot", rival.address),
                ),
                None if now.since(self.since) < CAUTION => (
                    Serving::Boot,
                    "we just started and still ask whether anybody else gives addresses".into(),
                ),
                None => (Serving::All, "nobody else gives addresses here".into()),
            },
        }
    }

    /// What is known, and what we would do.
    #[must_use]
    pub fn survey(&self, now: Now) -> Survey {
        let (proposal, why) = self.propose(now);
        Survey {
            since: self.since,
            probes: self.probes,
            requests: self.clients,
            rivals: self
                .rivals
                .values()
                .filter(|rival| now.since(rival.last) < RIVAL_HOLD)
                .cloned()
                .collect(),
            relays: self.relays.keys().copied().collect(),
            vlans: self.vlans.keys().copied().collect(),
            proposal,
            why,
        }
    }

    fn propose(&self, now: Now) -> (Mode, String) {
        let leasing: Vec<&Rival> = self.leasing(now).collect();
        let mut more = String::new();
        if !self.vlans.is_empty() {
            let ids: Vec<String> = self.vlans.keys().map(u16::to_string).collect();
            more.push_str(&format!(
                "; tagged frames of VLAN {} pass by: to serve machines there, configure an interface for it",
                ids.join(", ")
            ));
        }
        if !self.relays.is_empty() {
            let relays: Vec<String> = self.relays.keys().map(Ipv4Addr::to_string).collect();
            more.push_str(&format!(
                "; requests come through the relay {}: name it in pxe.relays and give its link a [[pxe.networks]]",
                relays.join(", ")
            ));
        }
        let named: Vec<String> = self
            .rivals
            .values()
            .filter(|rival| rival.evidence == Evidence::Named && now.since(rival.last) < RIVAL_HOLD)
            .map(|rival| rival.address.to_string())
            .collect();
        if !named.is_empty() {
            more.push_str(&format!(
                "; machines named {} as their DHCP server, of which nothing was heard: an old name, a forged packet, or a \
                 server that answers only machines it knows; if one is real, write `proxy` yourself",
                named.join(", ")
            ));
        }
        let (mode, why) = match leasing.as_slice() {
            [] if self.probes == 0 => {
                (Mode::Listen, "nothing is known yet: our first question is not out".to_owned())
            }
            [] if now.since(self.since) < CAUTION => {
                (Mode::Listen, "we just started: answers to our first question may still come".to_owned())
            }
            [] => {
                let asked = self.probes;
                (
                    Mode::Full,
                    format!(
                        "nobody answered our {asked} questions for an address: `full` would be the only server here"
                    ),
                )
            }
            [one] => {
                let boots = one.boots.as_deref().map_or(String::new(), |class| {
                    format!(" (it also answers {class} requests: switch that off there, or machines boot its files)")
                });
                (
                    Mode::Proxy,
                    format!(
                        "{} gives addresses here{boots}: `proxy` leaves that to it and says what to boot",
                        one.address
                    ),
                )
            }
            several => {
                let names: Vec<String> = several.iter().map(|rival| rival.address.to_string()).collect();
                (
                    Mode::Proxy,
                    format!(
                        "{} give addresses here: make sure that they are meant to; `proxy` leaves addresses to them",
                        names.join(" and ")
                    ),
                )
            }
        };
        (mode, why + &more)
    }
}

fn keep<K: Ord + Copy>(seen: &mut BTreeMap<K, Now>, key: K, now: Now) {
    if seen.len() < KEPT_MAX || seen.contains_key(&key) {
        seen.insert(key, now);
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::Mac;

    use super::*;
    use crate::client::Kind;

    const RIVAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    fn at(seconds: u64) -> Now {
        Now(1_000_000).after(Seconds(seconds))
    }

    fn heard(leases: bool, class: Option<&str>) -> Heard {
        Heard { server: RIVAL, leases, class: class.map(str::to_owned), evidence: Evidence::Answered }
    }

    #[test]
    fn auto_proxy_steps_back_for_another_server_and_returns() {
        let mut scout = Scout::new(at(0));
        let serving = |scout: &Scout, seconds| scout.serving(Mode::AutoProxy, at(seconds)).0;
        assert_eq!(serving(&scout, 0), Serving::Boot, "not before the first answers could have come");
        assert_eq!(serving(&scout, 3), Serving::All);
        assert!(scout.server(&heard(false, Some("PXEClient")), at(4)));
        assert_eq!(serving(&scout, 5), Serving::All, "a proxy gives no addresses");
        assert!(scout.server(&heard(true, None), at(6)));
        assert!(!scout.server(&heard(true, None), at(7)));
        assert_eq!(serving(&scout, 8), Serving::Boot);
        assert!(scout.serving(Mode::AutoProxy, at(8)).1.contains("10.0.0.3 gives addresses"));
        assert_eq!(serving(&scout, 307), Serving::All, "it has gone");
        assert_eq!(scout.serving(Mode::Full, at(8)).0, Serving::All);
    }

    #[test]
    fn a_request_that_names_a_server_changes_nothing_until_that_server_is_heard() {
        let mut scout = Scout::new(at(0));
        scout.probed();
        let by = |evidence| Heard { evidence, ..heard(true, None) };
        let serving = |scout: &Scout, seconds| scout.serving(Mode::AutoProxy, at(seconds)).0;
        for seconds in 10..100 {
            scout.server(&by(Evidence::Named), at(seconds));
            assert_eq!(serving(&scout, seconds), Serving::All);
        }
        let survey = scout.survey(at(100));
        assert_eq!((survey.proposal, survey.rivals[0].leases), (Mode::Full, false));
        assert!(survey.why.contains("named 10.0.0.3") && survey.why.contains("forged"), "{}", survey.why);
        for evidence in [Evidence::Overheard, Evidence::Answered] {
            let mut scout = Scout::new(at(0));
            scout.server(&by(Evidence::Named), at(10));
            assert!(scout.server(&by(evidence), at(11)), "news: it is real");
            assert_eq!(serving(&scout, 11), Serving::Boot);
            for seconds in 12..311 {
                assert!(!scout.server(&by(Evidence::Named), at(seconds)));
            }
            assert_eq!(serving(&scout, 311), Serving::All, "naming it does not keep it alive");
        }
    }

    #[test]
    fn proposals_in_words() {
        let mut scout = Scout::new(at(0));
        assert_eq!(scout.survey(at(60)).proposal, Mode::Listen);
        scout.probed();
        assert_eq!(scout.survey(at(1)).proposal, Mode::Listen);
        let survey = scout.survey(at(60));
        assert_eq!((survey.proposal, survey.probes), (Mode::Full, 1));
        scout.server(&heard(true, Some("PXEClient")), at(61));
        scout.vlan(20, at(61));
        let relayed = BootRequest {
            relay: Some(Ipv4Addr::new(10, 9, 0, 1)),
            ..BootRequest::new(Kind::Discover, Mac([2; 6]))
        };
        scout.request(&relayed, at(61));
        let survey = scout.survey(at(62));
        assert_eq!((survey.proposal, survey.rivals.len(), survey.requests), (Mode::Proxy, 1, 1));
        for word in ["10.0.0.3 gives addresses", "PXEClient", "VLAN 20", "relay 10.9.0.1"] {
            assert!(survey.why.contains(word), "{word}: {}", survey.why);
        }
    }

    #[test]
    fn invented_servers_and_relays_do_not_grow_the_tables() {
        let mut scout = Scout::new(at(0));
        for n in 0..1000u32 {
            scout.server(&Heard { server: n.into(), ..heard(true, None) }, at(1));
            scout.vlan(u16::try_from(n).unwrap(), at(1));
        }
        assert_eq!((scout.rivals.len(), scout.vlans.len()), (KEPT_MAX, KEPT_MAX));
        assert!(scout.server(&heard(true, None), at(400)), "old ones make room");
        let named = |n: u32| Heard { server: n.into(), evidence: Evidence::Named, ..heard(true, None) };
        for n in 0..1000 {
            scout.server(&named(n), at(800));
        }
        assert_eq!(scout.rivals.len(), KEPT_MAX);
        assert!(scout.server(&heard(true, None), at(801)), "invented ones do not hide a real one");
        assert_eq!(scout.serving(Mode::AutoProxy, at(802)).0, Serving::Boot);
    }
}
