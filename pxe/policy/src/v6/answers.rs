//! What the desk answers over IPv6 (RFC 8415, 18.3).

use std::net::Ipv6Addr;

use appliance_model::Mac;
use pxe_wire::dhcp6::{self, Duid, IaNa, ReplyKind, Request, Status};

use super::{Asks6, Give6, Ia6, Lease6, Leases6, Network6, Outcome6, Reply6, network::network_of};
use crate::{
    client::{BootRequest, Client, Kind},
    decide::{Answer, Boot, decide},
    desk::{Change, Desk, File},
    leases::LeaseState,
    network::Serving,
    recorder::{Quiet, Words},
};

/// Why one of our addresses is not confirmed.
const NOT_ITS_OWN: &str = "this address is not leased to it here";

impl Desk {
    /// Serves these links over IPv6.
    pub fn serve6(&mut self, networks: Vec<Network6>) {
        let with = |network: Network6| {
            let leases = Leases6::new(network.pool.clone());
            (network, leases)
        };
        self.v6.networks = networks.into_iter().map(with).collect();
    }

    /// Who we are in DHCPv6.  If nobody said so before, a DUID made of `fresh` (random bytes), which the journal has to
    /// keep: clients renew with the server they know, after a restart and a move, too.
    pub fn identify6(&mut self, fresh: [u8; 16]) -> (Duid, Option<Change>) {
        let news = self.v6.server.is_none();
        let server = *self.v6.server.get_or_insert_with(|| Duid::of_uuid(fresh));
        (server, news.then_some(Change::Server6(server)))
    }

    /// Who we are in DHCPv6, once that was settled.
    #[must_use]
    pub fn server6(&self) -> Option<Duid> {
        self.v6.server
    }

    /// All IPv6 leases.
    pub fn leases6(&self) -> impl Iterator<Item = Lease6> {
        self.v6.networks.iter().flat_map(|(_, leases)| leases.iter())
    }

    /// Who holds `address`.
    #[must_use]
    pub fn holder6(&self, address: Ipv6Addr) -> Option<Mac> {
        self.v6.networks.iter().find_map(|(_, leases)| leases.holder(address))
    }

    /// Whether an IPv6 address is reserved for `mac`.
    pub(crate) fn knows6(&self, mac: Mac) -> bool {
        self.v6.networks.iter().any(|(_, leases)| leases.reserved(mac).is_some())
    }

    /// The IPv6 part of the journal's snapshot.
    pub(crate) fn snapshot6(&self) -> impl Iterator<Item = Change> {
        let server = self.v6.server.into_iter().map(Change::Server6);
        let declined = self.v6.networks.iter().flat_map(|(_, leases)| leases.declined());
        let declined = declined.map(|(address, until)| Change::Declined6(address, until));
        server.chain(self.leases6().map(Change::Lease6)).chain(declined)
    }

    /// Applies a lease from the journal.
    pub(crate) fn put6(&mut self, lease: Lease6) {
        let place = self.v6.networks.iter_mut().find(|(_, leases)| leases.covers(lease.address));
        if let Some((_, leases)) = place {
            leases.put(lease);
        }
    }

    /// Applies a declined address from the journal.
    pub(crate) fn put_declined6(&mut self, address: Ipv6Addr, until: appliance_model::Now) {
        self.v6.networks.iter_mut().for_each(|(_, leases)| leases.put_declined(address, until));
    }

    /// Applies our identity from the journal: the first counts.
    pub(crate) fn put_server6(&mut self, server: Duid) {
        self.v6.server.get_or_insert(server);
    }

    /// Somebody has spoken for `mac`, or no longer does.
    pub(crate) fn recognise6(&mut self, mac: Mac, known: bool) {
        self.v6.networks.iter_mut().for_each(|(_, leases)| leases.recognise(mac, known));
    }

    /// Answers a DHCPv6 request.
    pub fn answer6(&mut self, asks: Asks6<'_>) -> Outcome6 {
        match asks.serving {
            Serving::Nothing => silence(Quiet::Listening, "this interface only listens"),
            Serving::Boot => self.beside6(asks),
            Serving::Known | Serving::All => self.alone6(asks),
        }
    }

    /// Beside another server: firmware takes the URL of an offer without an address (edk2's "proxy offer"), and only
    /// for HTTP boot.  Our agent takes the API's URL so, or asks for it alone.
    fn beside6(&mut self, asks: Asks6<'_>) -> Outcome6 {
        let kind = match (client(asks), asks.request.kind) {
            (Client::Http(_) | Client::Agent, dhcp6::Kind::Solicit) => ReplyKind::Advertise,
            (Client::Agent, dhcp6::Kind::InformationRequest) => ReplyKind::Reply,
            (Client::Http(_) | Client::Pxe(_) | Client::Ipxe(_) | Client::Agent | Client::Other, _) => {
                return silence(Quiet::Other, "IPv6 addresses are another server's business here");
            }
        };
        match self.decision(asks) {
            Answer::Silence { quiet, why } => silence(quiet, why),
            Answer::Offer { boot, api, why } => {
                let mut give = give(asks, None, kind, why);
                (give.only, give.api) = (false, api);
                self.complete6(asks, give, boot, Vec::new())
            }
        }
    }

    /// We have the addresses.
    fn alone6(&mut self, asks: Asks6<'_>) -> Outcome6 {
        let request = asks.request;
        let Some(network) = network_of(&self.v6.networks, request) else {
            return silence(Quiet::Other, "no pxe.v6 network is configured for the link it is on");
        };
        if request.server.is_some() && request.server != self.v6.server {
            self.forgo6(request, network, asks.now);
            return silence(Quiet::Other, "it talks to another DHCPv6 server");
        }
        if asks.serving == Serving::Known && !self.knows(asks.mac) {
            let why = "pxe.mode is `reservation`, and this machine is neither announced nor reserved";
            return silence(Quiet::Told, why);
        }
        if self.knows(asks.mac) {
            self.recognise6(asks.mac, true);
        }
        match request.kind {
            dhcp6::Kind::Confirm => self.confirm6(asks, network),
            dhcp6::Kind::Release | dhcp6::Kind::Decline => self.give_back6(asks, network),
            dhcp6::Kind::Solicit
            | dhcp6::Kind::Request
            | dhcp6::Kind::Renew
            | dhcp6::Kind::Rebind
            | dhcp6::Kind::InformationRequest => match self.decision(asks) {
                Answer::Silence { quiet, why } => silence(quiet, why),
                Answer::Offer { boot, api, why } => self.give6(asks, network, (boot, api, why)),
            },
        }
    }

    /// The same rules as in IPv4, asked in IPv4's words.
    fn decision(&self, asks: Asks6<'_>) -> Answer {
        decide(&in_v4_words(asks), self.stance(asks.mac), &self.site)
    }

    fn give6(
        &mut self,
        asks: Asks6<'_>,
        network: usize,
        (boot, api, why): (Option<Boot>, bool, &'static str),
    ) -> Outcome6 {
        let request = asks.request;
        let rapid = request.kind == dhcp6::Kind::Solicit && request.rapid_commit;
        let kind = match request.kind {
            dhcp6::Kind::Solicit if !rapid => ReplyKind::Advertise,
            dhcp6::Kind::Solicit
            | dhcp6::Kind::Request
            | dhcp6::Kind::Confirm
            | dhcp6::Kind::Renew
            | dhcp6::Kind::Rebind
            | dhcp6::Kind::Release
            | dhcp6::Kind::Decline
            | dhcp6::Kind::InformationRequest => ReplyKind::Reply,
        };
        let mut give = give(asks, Some(network), kind, why);
        (give.rapid, give.api) = (rapid, api);
        let mut changes = Vec::new();
        let asked = if request.kind == dhcp6::Kind::InformationRequest { &[][..] } else { &request.ias };
        for ia in asked {
            let answer = self.interface6(asks, network, ia, kind == ReplyKind::Reply, &mut changes);
            give.ias.push((ia.iaid, answer));
        }
        if request.kind == dhcp6::Kind::Solicit && give.address().is_none() {
            let refused = give.ias.into_iter().find_map(|(_, ia)| match ia {
                Ia6::Refused { why, .. } => Some(why),
                Ia6::Lease { .. } => None,
            });
            return match refused {
                Some(why) => silence(Quiet::NoAddress, why),
                None => silence(Quiet::Other, "it asks for no address (IA_NA), and we give nothing else"),
            };
        }
        self.complete6(asks, give, boot, changes)
    }

    /// One interface's addresses: offered, or bound.
    fn interface6(
        &mut self,
        asks: Asks6<'_>,
        network: usize,
        ia: &IaNa,
        bind: bool,
        changes: &mut Vec<Change>,
    ) -> Ia6 {
        let Asks6 { request, mac, now, .. } = asks;
        let refused = |status, why: String| Ia6::Refused { status, why };
        let (Some(duid), Some((place, leases))) = (request.client, self.v6.networks.get_mut(network)) else {
            return refused(Status::Failure, "no such client or network".into());
        };
        let renews = matches!(request.kind, dhcp6::Kind::Renew | dhcp6::Kind::Rebind);
        // Whoever renews what we do not know gets it back if it is free (we may have lost the journal), but no other.
        let known = leases.of(duid, ia.iaid);
        if renews && known.is_none() && !ia.addresses.iter().any(|address| leases.covers(*address)) {
            let why = format!("no address of {} is leased to it: ask for one", place.subnet);
            return refused(Status::NoBinding, why);
        }
        let held = match leases.offer((duid, ia.iaid), mac, &ia.addresses, now) {
            Ok(held) => held,
            Err(none) => return refused(Status::NoAddress, none.to_string()),
        };
        if bind && let Some(bound) = leases.confirm((duid, ia.iaid), mac, held.address, now) {
            changes.push(Change::Lease6(bound));
        }
        let gone = ia.addresses.iter().copied().filter(|address| *address != held.address).collect();
        // An offer names what may be had, an answer what no longer is.
        let gone = if bind { gone } else { Vec::new() };
        Ia6::Lease { address: held.address, valid: leases.lease_time(), gone }
    }

    /// Puts what to boot into the answer, under a ticket.
    fn complete6(
        &mut self,
        asks: Asks6<'_>,
        mut give: Give6,
        boot: Option<Boot>,
        mut changes: Vec<Change>,
    ) -> Outcome6 {
        let mac = asks.mac;
        if give.api {
            let told = self.tickets.for_agent(mac, asks.now);
            give.ticket = told.map(|(ticket, _)| ticket);
            changes.extend(told.filter(|(_, news)| *news).map(|(ticket, _)| Change::Told(ticket)));
        }
        let minted = match boot {
            None => None,
            Some(Boot::RefusedTftp) => Some(File::RefusedTftp),
            Some(boot @ (Boot::Http(_) | Boot::Https(_) | Boot::Tftp(_))) => {
                let known = self.knows(mac);
                let ticket = match self.tickets.mint(mac, known, asks.fresh, asks.now) {
                    Ok(issued) => issued.ticket,
                    Err(full) => return silence(Quiet::Other, full.to_string()),
                };
                if give.kind == ReplyKind::Reply {
                    changes.extend(self.tickets.confirm(mac).map(Change::Ticket));
                }
                match boot {
                    Boot::Http(name) => Some(File::Http(ticket, name)),
                    Boot::Https(name) => Some(File::Https(ticket, name)),
                    Boot::Tftp(name) => Some(File::Tftp(ticket, name)),
                    Boot::RefusedTftp => Some(File::RefusedTftp),
                }
            }
        };
        give.file = minted;
        Outcome6 { reply: Reply6::Give(give), changes }
    }

    /// RFC 8415, 18.3.3: whether the addresses still belong on the client's link.
    fn confirm6(&mut self, asks: Asks6<'_>, network: usize) -> Outcome6 {
        let mut addresses = asks.request.ias.iter().flat_map(|ia| &ia.addresses).peekable();
        let Some((place, _)) = self.v6.networks.get(network).filter(|_| addresses.peek().is_some()) else {
            return silence(Quiet::Other, "it asked to confirm addresses and named none");
        };
        let (status, why) = if addresses.all(|address| place.subnet.contains(*address)) {
            (Status::Success, "its addresses belong on its link")
        } else {
            (Status::NotOnLink, "an address does not belong on its link")
        };
        let mut give = give(asks, Some(network), ReplyKind::Reply, why);
        give.status = Some((status, why));
        Outcome6 { reply: Reply6::Give(give), changes: Vec::new() }
    }

    fn give_back6(&mut self, asks: Asks6<'_>, network: usize) -> Outcome6 {
        let Asks6 { request, now, .. } = asks;
        let declines = request.kind == dhcp6::Kind::Decline;
        let why = if declines {
            "it found an address in use: that address rests 10 minutes"
        } else {
            "it gave its addresses back"
        };
        let mut give = give(asks, Some(network), ReplyKind::Reply, why);
        give.status = Some((Status::Success, why));
        let mut changes = Vec::new();
        let (Some(duid), Some((_, leases))) = (request.client, self.v6.networks.get_mut(network)) else {
            return silence(Quiet::Other, "no such client or network");
        };
        for ia in &request.ias {
            for address in &ia.addresses {
                let key = (duid, ia.iaid);
                let change = if declines {
                    leases.decline(key, *address, now).map(|until| Change::Declined6(*address, until))
                } else {
                    leases.release(key, *address, now).map(Change::Lease6)
                };
                match change {
                    Some(change) => changes.push(change),
                    None => {
                        let refused = Ia6::Refused { status: Status::NoBinding, why: NOT_ITS_OWN.into() };
                        give.ias.push((ia.iaid, refused));
                    }
                }
            }
        }
        Outcome6 { reply: Reply6::Give(give), changes }
    }

    /// It took another server's offer: what we only offered is free again.
    fn forgo6(&mut self, request: &Request, network: usize, now: appliance_model::Now) {
        let (Some(duid), Some((_, leases))) = (request.client, self.v6.networks.get_mut(network)) else {
            return;
        };
        for ia in &request.ias {
            let offered = leases.of(duid, ia.iaid).filter(|lease| lease.state == LeaseState::Offered);
            if let Some(offered) = offered {
                leases.release((duid, ia.iaid), offered.address, now);
            }
        }
    }
}

/// The request as [`decide`] reads it.
fn in_v4_words(asks: Asks6<'_>) -> BootRequest {
    let request = asks.request;
    let kind = match request.kind {
        dhcp6::Kind::Solicit => Kind::Discover,
        dhcp6::Kind::Request | dhcp6::Kind::Confirm | dhcp6::Kind::Renew | dhcp6::Kind::Rebind => {
            Kind::Request
        }
        dhcp6::Kind::Release => Kind::Release,
        dhcp6::Kind::Decline => Kind::Decline,
        dhcp6::Kind::InformationRequest => Kind::Inform,
    };
    BootRequest {
        vendor_class: request.vendor_class.clone(),
        user_class: request.user_class.clone(),
        arch: request.arch,
        undi: request.nii,
        ..BootRequest::new(kind, asks.mac)
    }
}

fn client(asks: Asks6<'_>) -> Client {
    Client::of(&in_v4_words(asks))
}

fn give(asks: Asks6<'_>, network: Option<usize>, kind: ReplyKind, why: &'static str) -> Give6 {
    let client = client(asks);
    Give6 {
        kind,
        rapid: false,
        only: true,
        ias: Vec::new(),
        status: None,
        network,
        client,
        file: None,
        api: false,
        ticket: None,
        why,
    }
}

fn silence(quiet: Quiet, why: impl Into<Words>) -> Outcome6 {
    Outcome6 { reply: Reply6::Silence { quiet, why: why.into() }, changes: Vec::new() }
}
