//! From a decision to bytes.

use std::net::IpAddr;

use pxe_policy::{Client, File, Give6, Ia6, REFUSED, Reply6, path, recorder::Note};
use pxe_wire::dhcp6::{Given, ReplyKind, Request, Writer, agent, code};

use super::Lane6;

/// Intel's number, under which edk2 and its descendants put their vendor class (UEFI 2.10, 24.7.3.1).
const INTEL: u32 = 343;

/// The packet; `None` if it does not fit.
pub(super) fn packet(request: &Request, give: &Give6, lane: &Lane6) -> Option<Vec<u8>> {
    let mut writer = Writer::reply(request, give.kind, &lane.server);
    if give.kind == ReplyKind::Advertise && give.only {
        // RFC 8415, 18.2.1: 255 is taken at once; firmware would collect offers for 4 s.
        writer.option(code::PREFERENCE, &[255]);
    }
    if give.rapid {
        writer.option(code::RAPID_COMMIT, &[]);
    }
    for (iaid, ia) in &give.ias {
        match ia {
            Ia6::Lease { address, valid, gone } => {
                let valid = u32::try_from(valid.0).unwrap_or(u32::MAX);
                let mut all = vec![Given { address: *address, preferred: valid, valid }];
                all.extend(gone.iter().map(|address| Given { address: *address, preferred: 0, valid: 0 }));
                writer.ia_na(*iaid, (valid / 2, valid / 5 * 4), &all);
            }
            Ia6::Refused { status, why } => writer.ia_na_refused(*iaid, *status, why),
        }
    }
    if let Some((status, words)) = give.status {
        writer.status(status, words);
    }
    boot(&mut writer, give, lane);
    if give.api
        && let Some(url) = &lane.place.api_url
    {
        let ticket = give.ticket.map(|ticket| ticket.to_string());
        let mut told = vec![(agent::API_URL, url.as_bytes())];
        told.extend(ticket.as_ref().map(|ticket| (agent::TICKET, ticket.as_bytes())));
        writer.vendor_options(agent::ENTERPRISE, &told);
    }
    let dns = give.network.and_then(|network| lane.place.networks.get(network));
    if let Some(place) = dns.filter(|place| !place.dns.is_empty() && request.wanted.contains(&code::DNS)) {
        let all: Vec<u8> = place.dns.iter().flat_map(|address| address.octets()).collect();
        writer.option(code::DNS, &all);
    }
    writer.finish()
}

/// What to boot, in the words that each kind of client takes.
fn boot(writer: &mut Writer, give: &Give6, lane: &Lane6) {
    let url = match give.file {
        None => return,
        Some(File::Http(ticket, name)) => {
            format!("{}/{}", lane.boot_base, path(ticket, name))
        }
        // HTTPS is not offered over IPv6: better no file than a plain one where the site wants it sealed.
        Some(File::Https(..)) => return,
        Some(File::Tftp(ticket, name)) => tftp(lane, &path(ticket, name)),
        Some(File::RefusedTftp) => tftp(lane, REFUSED),
    };
    // edk2 reads the URL up to a zero byte: the next option's number has one, so the URL must not come last.
    writer.option(code::BOOT_URL, url.as_bytes());
    match give.client {
        Client::Http(_) => writer.vendor_class(INTEL, "HTTPClient"),
        // With the class `PXEClient`, edk2 asks a boot server at port 4011 for the file instead of taking this one.
        Client::Pxe(_) | Client::Ipxe(_) | Client::Agent | Client::Other => {}
    }
}

/// edk2 takes no port in a TFTP URL.
fn tftp(lane: &Lane6, file: &str) -> String {
    let port = lane.shared.config.tftp_port;
    let port = if port == 69 { String::new() } else { format!(":{port}") };
    format!("tftp://[{}]{port}/{file}", lane.place.address)
}

/// The decision as the flight recorder keeps it.
pub(super) fn note(reply: &Reply6) -> Note {
    match reply {
        Reply6::Silence { quiet, why } => Note::Unanswered { quiet: *quiet, why: why.clone() },
        Reply6::Give(give) => {
            let address = give.address().map(IpAddr::V6);
            let why = give.why.into();
            match give.kind {
                ReplyKind::Reply if address.is_some() || give.file.is_none() => {
                    Note::Confirmed { address, why }
                }
                ReplyKind::Advertise | ReplyKind::Reply => {
                    let boot = give.file.map(|file| match file {
                        File::Http(_, name) => format!("{} by HTTP over IPv6", name.as_str()).into(),
                        File::Https(..) => "nothing: HTTPS boot is not offered over IPv6".into(),
                        File::Tftp(_, name) => format!("{} by TFTP over IPv6", name.as_str()).into(),
                        File::RefusedTftp => REFUSED.into(),
                    });
                    Note::Offered { address, boot, why }
                }
            }
        }
    }
}
