//! A LAN before anybody serves it: asks who gives addresses there, and serves nobody.
//!
//! For the first run of an appliance, which has no address on that LAN yet: whole frames need none.

use std::{
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use appliance_model::{Mac, Now};
use pxe_policy::{Evidence, Heard, Scout, Survey};
use pxe_wire::{
    dhcp4::{Message, Writer, code},
    ethernet::{self, Frame},
};

use super::{CLIENT_PORT, SERVER_PORT, raw::Link};

/// A server may probe an address before it offers it, which takes dnsmasq and ISC's a second or more.
const WAIT: Duration = Duration::from_secs(4);
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASKED_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// Asks three times who gives addresses on the LAN of `interface`, listens for some seconds, and says what was heard.  It
/// blocks meanwhile.
///
/// # Errors
/// If there is no such interface, it is down, or this process may not use whole frames (`CAP_NET_RAW`).
#[expect(clippy::disallowed_methods, reason = "measures how long answers may take")]
pub fn survey(interface: &str, now: Now) -> io::Result<Survey> {
    let link = Link::open(interface)?;
    let started = Instant::now();
    let at =
        |since: Duration| Now(now.0.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    let (mut scout, mut buffer, mut asked) = (Scout::new(now), Vec::new(), 0u32);
    let mut xid = [0; 4];
    getrandom::fill(&mut xid).map_err(io::Error::other)?;
    let xid = u32::from_ne_bytes(xid);
    loop {
        let since = started.elapsed();
        if since >= WAIT {
            return Ok(scout.survey(at(since)));
        }
        if asked < ASKED_MAX && since >= ASK_EVERY.saturating_mul(asked) {
            ask(&link, xid)?;
            scout.probed();
            asked = asked.saturating_add(1);
        }
        while let Some(arrived) = link.receive(&mut buffer)? {
            if let Some(vlan) = arrived.vlan.filter(|vlan| *vlan != 0) {
                scout.vlan(vlan, at(since));
            } else if let Some(Frame::Udp { source, payload, .. }) = ethernet::read(arrived.frame)
                && let Some(heard) = heard(source.0, payload, (Mac(link.mac), xid))
            {
                scout.server(&heard, at(since));
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask(link: &Link, xid: u32) -> io::Result<()> {
    // With a PXE client's class, so that other boot servers answer, too.
    let bytes = Writer::discover(link.mac, xid, "PXEClient:Arch:00007:UNDI:003001").finish();
    let everybody = (Ipv4Addr::BROADCAST, SERVER_PORT);
    let from = (Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
    let frame = bytes.and_then(|bytes| ethernet::udp((link.mac, [0xff; 6]), from, everybody, &bytes));
    let mut failed = None;
    link.send(&frame.into_iter().collect::<Vec<_>>(), |_, error| failed = Some(error));
    failed.map_or(Ok(()), Err)
}

/// What a reply says of who sent it; `own` is our question.
fn heard(source: Ipv4Addr, payload: &[u8], own: (Mac, u32)) -> Option<Heard> {
    let message = Message::read(payload).ok()?;
    let named = message.options.fixed::<4>(code::SERVER).ok().flatten().map(Ipv4Addr::from);
    let server = named.unwrap_or(source);
    let is_own = (Mac(message.mac), message.xid) == own;
    (message.op == 2 && !server.is_unspecified()).then(|| Heard {
        server,
        leases: !message.yiaddr.is_unspecified(),
        class: message.options.text(code::CLASS),
        evidence: if is_own { Evidence::Answered } else { Evidence::Overheard },
    })
}
