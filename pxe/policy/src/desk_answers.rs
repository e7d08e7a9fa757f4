//! What the desk answers, door by door.

use std::net::Ipv4Addr;

use super::{
    Answer, Asks, Boot, BootRequest, Change, Client, Desk, File, Give, GiveKind, Kind, Lease, LeaseState,
    Outcome, Quiet, Reply, Serving, decide, network_of, silence,
};

impl Desk {
    /// Port 4011: what to boot, for a client that has its address from elsewhere.
    pub(super) fn boot_server(&mut self, asks: Asks<'_>) -> Outcome {
        match asks.request.kind {
            Kind::Request | Kind::Inform | Kind::Discover => self.without_address(asks, GiveKind::Ack),
            Kind::Decline | Kind::Release => {
                silence(Quiet::Other, "port 4011 has no addresses to give back", None)
            }
        }
    }

    /// Beside another server: only those who want to boot, and our agents, hear us.
    pub(super) fn proxy(&mut self, asks: Asks<'_>) -> Outcome {
        let request = asks.request;
        let boots = match Client::of(request) {
            Client::Http(_) | Client::Pxe(_) | Client::Ipxe(_) | Client::Agent => true,
            Client::Other => false,
        };
        match request.kind {
            Kind::Discover if boots => self.without_address(asks, GiveKind::Offer),
            Kind::Inform if boots => self.without_address(asks, GiveKind::Ack),
            Kind::Discover | Kind::Inform => silence(
                Quiet::Other,
                "addresses are another server's business here; it did not ask to boot",
                None,
            ),
            Kind::Request => match request.server.filter(|server| !self.ours(request, *server)) {
                Some(other) => silence(
                    Quiet::OtherServer(other),
                    "it takes its address from another server, as it should",
                    None,
                ),
                None => silence(Quiet::Other, "addresses are another server's business here", None),
            },
            Kind::Decline | Kind::Release => {
                silence(Quiet::Other, "addresses are another server's business here", None)
            }
        }
    }

    fn without_address(&mut self, asks: Asks<'_>, kind: GiveKind) -> Outcome {
        match decide(asks.request, self.stance(asks.request.mac), &self.site) {
            Answer::Silence { quiet, why } => silence(quiet, why, None),
            // An offer of nothing would only be in the way of the other server's.
            Answer::Offer { boot: None, api: false, why } => silence(Quiet::Other, why, None),
            Answer::Offer { boot, api, why } => {
                let server = asks.interface.address;
                let client = Client::of(asks.request);
                let give = Give {
                    kind,
                    server,
                    lease: None,
                    network: None,
                    client,
                    file: None,
                    api,
                    ticket: None,
                    why,
                };
                self.complete(asks, give, boot, Vec::new())
            }
        }
    }

    /// We have the addresses.
    pub(super) fn serve(&mut self, asks: Asks<'_>) -> Outcome {
        let Asks { request, interface, door, now, .. } = asks;
        let networks = self.networks.iter().map(|(network, _)| network);
        let Some(network) = network_of(networks, interface.address, door.interface, request) else {
            return silence(Quiet::Other, "no pxe network is configured for the link it is on", None);
        };
        match request.kind {
            Kind::Release => {
                let released = request
                    .current
                    .and_then(|address| self.networks.get_mut(network)?.1.release(request.mac, address, now));
                let why = "it gave its address back: nothing to answer";
                silence(Quiet::Other, why, released.map(Change::Lease))
            }
            Kind::Decline => {
                let gone = request.requested.and_then(|address| {
                    let until = self.networks.get_mut(network)?.1.decline(request.mac, address, now)?;
                    Some([Change::Gone(request.mac), Change::Declined(address, until)])
                });
                let why = "it found its address in use: that address rests 10 minutes";
                silence(Quiet::Other, why, gone.into_iter().flatten())
            }
            Kind::Discover | Kind::Request | Kind::Inform => {
                if interface.serving == Serving::Known && !self.knows(request.mac) {
                    let why = "pxe.mode is `reservation`, and this machine is neither announced nor reserved";
                    return silence(Quiet::Told, why, None);
                }
                match decide(request, self.stance(request.mac), &self.site) {
                    Answer::Silence { quiet, why } => silence(quiet, why, None),
                    Answer::Offer { boot, api, why } => self.give(asks, network, (boot, api, why)),
                }
            }
        }
    }

    fn give(
        &mut self,
        asks: Asks<'_>,
        network: usize,
        (boot, api, why): (Option<Boot>, bool, &'static str),
    ) -> Outcome {
        let request = asks.request;
        let mut changes = Vec::new();
        // RFC 5107: where the relay wants renewals to pass through it, it names itself as the server.
        let server = request.relay_info.as_ref().and_then(|info| info.server_override);
        let server = server.unwrap_or(asks.interface.address);
        let (kind, lease) = match request.kind {
            Kind::Inform => (GiveKind::Ack, None),
            Kind::Discover => match self.offer(asks, network, request.requested) {
                Ok(lease) => (GiveKind::Offer, Some(lease)),
                Err(reply) => return Outcome { reply, changes },
            },
            Kind::Request => match self.confirm(asks, network, server, &mut changes) {
                Ok(lease) => (GiveKind::Ack, Some(lease)),
                Err(reply) => return Outcome { reply, changes },
            },
            Kind::Decline | Kind::Release => return silence(Quiet::Other, "nothing to answer", None),
        };
        let time = self.networks.get(network).map(|(_, leases)| leases.lease_time());
        let lease = lease.zip(time).map(|(lease, time)| (lease.address, time));
        let client = Client::of(request);
        let network = Some(network);
        let give = Give { kind, server, lease, network, client, file: None, api, ticket: None, why };
        self.complete(asks, give, boot, changes)
    }

    /// Puts what to boot into the answer, under a ticket.
    fn complete(
        &mut self,
        asks: Asks<'_>,
        mut give: Give,
        boot: Option<Boot>,
        mut changes: Vec<Change>,
    ) -> Outcome {
        let mac = asks.request.mac;
        if give.api {
            let told = self.tickets.for_agent(mac, asks.now);
            give.ticket = told.map(|(ticket, _)| ticket);
            changes.extend(told.filter(|(_, news)| *news).map(|(ticket, _)| Change::Told(ticket)));
        }
        let ticket = match boot {
            None | Some(Boot::RefusedTftp) => None,
            Some(Boot::Http(_) | Boot::Https(_) | Boot::Tftp(_)) => {
                let known = self.knows(mac);
                match self.tickets.mint(mac, known, asks.fresh, asks.now) {
                    Ok(issued) => Some(issued.ticket),
                    Err(full) => {
                        let reply = Reply::Silence { quiet: Quiet::Other, why: full.to_string().into() };
                        return Outcome { reply, changes };
                    }
                }
            }
        };
        give.file = match (boot, ticket) {
            (Some(Boot::Http(name)), Some(ticket)) => Some(File::Http(ticket, name)),
            (Some(Boot::Https(name)), Some(ticket)) => Some(File::Https(ticket, name)),
            (Some(Boot::Tftp(name)), Some(ticket)) => Some(File::Tftp(ticket, name)),
            (Some(Boot::RefusedTftp), _) => Some(File::RefusedTftp),
            (None | Some(Boot::Http(_) | Boot::Https(_) | Boot::Tftp(_)), _) => None,
        };
        if give.kind == GiveKind::Ack && ticket.is_some() {
            changes.extend(self.tickets.confirm(mac).map(Change::Ticket));
        }
        Outcome { reply: Reply::Give(give), changes }
    }

    fn offer(&mut self, asks: Asks<'_>, network: usize, wanted: Option<Ipv4Addr>) -> Result<Lease, Reply> {
        let no_address = |why: String| Reply::Silence { quiet: Quiet::NoAddress, why: why.into() };
        let (_, leases) =
            self.networks.get_mut(network).ok_or_else(|| no_address("no such network".into()))?;
        let (lease, _, loser) =
            leases.offer(asks.request.mac, wanted, asks.now).map_err(|none| no_address(none.to_string()))?;
        // Not journaled: when the address is confirmed to its new holder, that record takes it from the old one.
        loser.into_iter().for_each(|mac| self.tickets.forget(mac));
        Ok(lease)
    }

    /// RFC 2131, 4.3.2: a REQUEST selects an offer, checks an old address after a restart, or renews.
    fn confirm(
        &mut self,
        asks: Asks<'_>,
        network: usize,
        server: Ipv4Addr,
        changes: &mut Vec<Change>,
    ) -> Result<Lease, Reply> {
        let Asks { request, now, .. } = asks;
        let refuse = |why| Err(Reply::Refuse { server, why });
        let held = self.networks.get(network).and_then(|(_, leases)| leases.of(request.mac));
        if let Some(other) = request.server.filter(|other| !self.ours(request, *other)) {
            if let Some(held) = held.filter(|lease| lease.state == LeaseState::Offered)
                && let Some((_, leases)) = self.networks.get_mut(network)
            {
                leases.release(request.mac, held.address, now);
            }
            let why = "it took another DHCP server's offer".into();
            return Err(Reply::Silence { quiet: Quiet::OtherServer(other), why });
        }
        let Some(address) = request.current.or(request.requested) else {
            return refuse("it asked to confirm an address and named none");
        };
        // We are the only server of this LAN, so a client whose lease we do not know gets it if it is free, and
        // a NAK otherwise: silence, as the RFC has it for several servers, would only cost it a minute.
        if held.is_none() {
            self.offer(asks, network, Some(address))?;
        }
        let confirmed =
            self.networks.get_mut(network).and_then(|(_, l)| l.confirm(request.mac, address, now));
        match confirmed {
            Some(lease) => {
                changes.push(Change::Lease(lease));
                Ok(lease)
            }
            None => refuse("the address it asked to confirm is not its own"),
        }
    }

    /// Whether `server` is one of our identifiers, present or former, or the one its relay gave us (RFC 5107).
    fn ours(&self, request: &BootRequest, server: Ipv4Addr) -> bool {
        let relays = request.relay_info.as_ref().and_then(|info| info.server_override);
        self.servers.contains(&server)
            || relays == Some(server)
            || self.interfaces.iter().any(|interface| interface.address == server)
    }
}
