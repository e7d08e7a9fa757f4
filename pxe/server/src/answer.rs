//! From a decision to bytes and the place they go to.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use pxe_policy::{
    BootRequest, Client, File, Give, GiveKind, Kind, Port, REFUSED, Reply, path, recorder::Note,
};
use pxe_wire::dhcp4::{ReplyKind, Writer, code};

use crate::config::Config;

/// What the reply needs beyond the decision.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    /// Our address on the interface.
    pub(crate) own: Ipv4Addr,
    /// Where boot URLs start: `http://10.77.0.1:8080`.
    pub(crate) boot_base: String,
    /// The same by HTTPS, where that is built in and configured.
    pub(crate) https_base: Option<String>,
}

/// Where a reply goes (RFC 2131, 4.1; PXE 2.1, 2.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To the relay, on the server port; one that sent from another (tests) hears us there.
    Relay(SocketAddrV4),
    /// To where the client says it is, or sent from.
    Client(SocketAddrV4),
    /// To a client that has no address yet and hears unicasts: as a frame to its port.
    Frame(Ipv4Addr),
    /// To 255.255.255.255.
    Everybody,
}

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// Where the reply to `request` goes, which came from `from` to `port`.
pub(crate) fn destination(
    request: &BootRequest,
    from: SocketAddrV4,
    port: Port,
    reply: &Reply,
    config: &Config,
) -> Destination {
    let given = match reply {
        Reply::Give(give) => give.lease.map(|(address, _)| address),
        Reply::Refuse { .. } | Reply::Silence { .. } => None,
    };
    let nak = matches!(reply, Reply::Refuse { .. });
    if port == Port::BootServer {
        // The client listens where it sent from: 4011 (edk2), 68, or a high port.
        return Destination::Client(from);
    }
    if let Some(relay) = request.relay {
        let port = if config.dhcp_port == SERVER_PORT { SERVER_PORT } else { from.port() };
        return Destination::Relay(SocketAddrV4::new(relay, port));
    }
    match (request.current, given) {
        (Some(current), _) if !nak => Destination::Client(SocketAddrV4::new(current, CLIENT_PORT)),
        (_, Some(given)) if !nak && !request.broadcast => Destination::Frame(given),
        // A NAK is broadcast, since the client may not own its address; so is a proxy's offer, which has none.
        (_, Some(_) | None) => Destination::Everybody,
    }
}

/// The packet; `None` if there is nothing to send, or it does not fit what the client takes.
pub(crate) fn packet(
    request: &BootRequest,
    reply: &Reply,
    around: &Around,
    config: &Config,
) -> Option<Vec<u8>> {
    match reply {
        Reply::Give(give) => positive(request, give, around, config).finish(),
        Reply::Refuse { server, why } => {
            let mut writer = Writer::reply(request, ReplyKind::Nak);
            writer.address(code::SERVER, *server);
            writer.option(code::MESSAGE, why.as_bytes());
            if request.relay.is_some() {
                // RFC 2131, 4.3.2: a relay must broadcast the NAK, the client may not own its address.
                writer.set_broadcast();
            }
            writer.finish()
        }
        Reply::Silence { .. } => None,
    }
}

fn positive(request: &BootRequest, give: &Give, around: &Around, config: &Config) -> Writer {
    let kind = match give.kind {
        GiveKind::Offer => ReplyKind::Offer,
        GiveKind::Ack => ReplyKind::Ack,
    };
    let mut writer = Writer::reply(request, kind);
    writer.address(code::SERVER, give.server);
    if request.relay.is_some() && give.lease.is_none() && request.current.is_none() {
        // A proxy's answer has no address that a relay could send it to; dnsmasq's then drops it.
        writer.set_broadcast();
    }
    if let Some(place) = give.network.and_then(|network| config.networks.get(network)) {
        writer.address(code::MASK, place.network.subnet.mask());
        if let Some(router) = place.router {
            writer.address(code::ROUTER, router);
        }
        if !place.dns.is_empty() {
            let all: Vec<u8> = place.dns.iter().flat_map(|address| address.octets()).collect();
            writer.option(code::DNS, &all);
        }
    }
    if let Some((address, time)) = give.lease {
        let seconds = u32::try_from(time.0).unwrap_or(u32::MAX);
        writer.seconds(code::LEASE, seconds);
        writer.seconds(code::RENEWAL, seconds / 2);
        writer.seconds(code::REBINDING, seconds / 8 * 7);
        writer.set_given(address);
    }
    if request.kind != Kind::Discover
        && let Some(current) = request.current
    {
        writer.set_current(current);
    }
    if give.api
        && let Some(url) = &config.api_url
    {
        writer.option(code::API_URL, url.as_bytes());
    }
    if let Some(ticket) = give.ticket {
        writer.option(code::TICKET, ticket.to_string().as_bytes());
    }
    boot(&mut writer, give, around);
    writer
}

/// What to boot, in the words that each kind of client takes.
fn boot(writer: &mut Writer, give: &Give, around: &Around) {
    let class = match give.client {
        // UEFI 2.10, 24.7.2: without this class in the reply the firmware takes it for no HTTP boot offer.
        Client::Http(_) if give.file.is_some() => Some("HTTPClient"),
        // iPXE takes a proxy's offer only with this class, and any other offer with or without.
        Client::Pxe(_) | Client::Ipxe(_) if give.file.is_some() => Some("PXEClient"),
        Client::Http(_) | Client::Pxe(_) | Client::Ipxe(_) | Client::Agent | Client::Other => None,
    };
    if let Some(class) = class {
        writer.option(code::CLASS, class.as_bytes());
    }
    match give.file {
        None => {}
        Some(File::Http(ticket, name)) => {
            // iPXE takes an offer of this class for complete only if it names a next server, though a URL needs none;
            // else it asks port 4011 four times, 4 s in all (`dhcp_has_pxeopts`).
            if matches!(give.client, Client::Ipxe(_)) {
                writer.set_next_server(around.own);
            }
            writer.set_file(&format!("{}/{}", around.boot_base, path(ticket, name)));
        }
        Some(File::Https(ticket, name)) => {
            let base = around.https_base.as_ref().unwrap_or(&around.boot_base);
            writer.set_file(&format!("{base}/{}", path(ticket, name)));
        }
        Some(File::Tftp(ticket, name)) => tftp(writer, give, around.own, &path(ticket, name)),
        Some(File::RefusedTftp) => tftp(writer, give, around.own, REFUSED),
    }
}

/// A file by TFTP.  With PXE's discovery control, bit 3 ("take the file of this offer, ask nobody else"; PXE 2.1, table
/// 2-1), the client goes straight to it.  Not so in a proxy's offer to UEFI: edk2 up to 2025 counts such an offer as
/// received and then never keeps it, so that the boot ends there (tianocore/edk2 issue 6944; `PxeBcCacheDhcp4Offer`).
/// An offer without it is kept and sends the client to port 4011 for the name, which every edk2 does.
fn tftp(writer: &mut Writer, give: &Give, own: Ipv4Addr, name: &str) {
    let proxy_offer = give.kind == GiveKind::Offer && give.lease.is_none();
    let uefi = match give.client {
        Client::Pxe(platform) => platform != pxe_policy::Platform::Bios,
        Client::Http(_) | Client::Ipxe(_) | Client::Agent | Client::Other => false,
    };
    if !(proxy_offer && uefi) {
        writer.option(code::VENDOR, &[6, 1, 8, 255]);
    }
    writer.set_next_server(own);
    writer.option(code::TFTP_NAME, own.to_string().as_bytes());
    writer.address(code::TFTP_SERVERS, own);
    writer.set_server_name(&own.to_string());
    writer.set_file(name);
}

/// The decision as the flight recorder keeps it.
pub(crate) fn note(reply: &Reply) -> Note {
    match reply {
        Reply::Silence { quiet, why } => Note::Unanswered { quiet: *quiet, why: why.clone() },
        Reply::Refuse { why, .. } => Note::Refused { why: (*why).into() },
        Reply::Give(give) => {
            let address = give.lease.map(|(address, _)| address.into());
            let why = give.why.into();
            match give.kind {
                GiveKind::Ack if address.is_some() || give.file.is_none() => Note::Confirmed { address, why },
                GiveKind::Offer | GiveKind::Ack => {
                    let boot = give.file.map(|file| match file {
                        File::Http(_, name) => format!("{} by HTTP", name.as_str()).into(),
                        File::Https(_, name) => format!("{} by HTTPS", name.as_str()).into(),
                        File::Tftp(_, name) => format!("{} by TFTP", name.as_str()).into(),
                        File::RefusedTftp => REFUSED.into(),
                    });
                    Note::Offered { address, boot, why }
                }
            }
        }
    }
}

/// As the recorder has addresses.
pub(crate) fn socket(at: SocketAddrV4) -> SocketAddr {
    SocketAddr::V4(at)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
