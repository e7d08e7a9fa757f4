//! Rules about other DHCP servers on the same network.

use std::net::Ipv4Addr;

use super::{
    super::{
        heard::{Dhcp, Kind},
        story::Story,
        verdict::{Found, State},
    },
    times,
};

/// After it took its address, firmware asks port 4011 or fetches its file within this.
const PROXY_SECONDS_MAX: u64 = 10;

/// Offers of ours and theirs for the same question: who was first.
fn beaten(story: &Story<'_>) -> Option<(Ipv4Addr, usize, usize)> {
    let ours = |xid| story.answered().find(|(_, dhcp)| dhcp.kind == Kind::Offer && dhcp.xid == xid);
    story.rivals().filter(|(_, _, dhcp)| dhcp.kind == Kind::Offer && dhcp.given.is_some()).find_map(
        |(at, server, dhcp)| {
            let (own, _) = ours(dhcp.xid)?;
            (at < own).then_some((server, at, own))
        },
    )
}

/// Whether the machine went on with our own offer after all.
fn took_ours(story: &Story<'_>) -> bool {
    story.answered().any(|(at, dhcp)| {
        dhcp.kind == Kind::Ack
            && dhcp.given.is_some()
            && !story.taken_elsewhere().any(|(later, ..)| later > at)
    })
}

fn keep_one(server: Ipv4Addr) -> String {
    format!(
        "one DHCP server a network: switch {server} off here, keep it out of this VLAN, or set pxe.mode = \"auto-proxy\" and \
         leave addresses to it"
    )
}

pub(super) fn second_server_first(story: &Story<'_>) -> Option<Found> {
    if story.proxied() || took_ours(story) {
        return None;
    }
    let (server, theirs, own) = beaten(story)?;
    let taken = story.taken_elsewhere().find(|(_, taken, _)| *taken == server);
    let end = if taken.is_some() { ", and it took that offer" } else { "" };
    Some(Found {
        state: State::Trouble,
        headline: format!("a second DHCP server {server} answered first{end}"),
        places: [Some(theirs), Some(own), taken.map(|(at, ..)| at)].into_iter().flatten().collect(),
        next: keep_one(server),
    })
}

pub(super) fn second_server_taken(story: &Story<'_>) -> Option<Found> {
    if story.proxied() || took_ours(story) {
        return None;
    }
    let offered = story.answered().any(|(_, dhcp)| dhcp.kind == Kind::Offer && dhcp.given.is_some());
    let taken: Vec<(usize, Ipv4Addr)> = story.taken_elsewhere().map(|(at, server, _)| (at, server)).collect();
    let (last, server) = *taken.last()?;
    if story.loads_after(last) {
        return None;
    }
    let headline = if offered {
        format!("we offered it an address, but it never took ours: it took {server}'s")
    } else {
        format!("it took the offer of another DHCP server, {server}; we had offered it none")
    };
    let offers = story.answered().filter(|(_, dhcp)| dhcp.kind == Kind::Offer).map(|(at, _)| at);
    Some(Found {
        state: State::Trouble,
        headline,
        places: taken.iter().map(|(at, _)| *at).chain(offers).collect(),
        next: keep_one(server),
    })
}

pub(super) fn second_server_boots(story: &Story<'_>) -> Option<Found> {
    let names_file = |dhcp: &Dhcp| matches!(dhcp.kind, Kind::Offer | Kind::Ack) && dhcp.file.is_some();
    let (at, server, dhcp) = story.rivals().filter(|(_, _, dhcp)| names_file(dhcp)).last()?;
    if story.loads_after(at) || took_ours(story) {
        return None;
    }
    let file = dhcp.file.as_deref()?;
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "the DHCP server {server} names a boot file of its own, {file}, and it came to us for none"
        ),
        places: vec![at],
        next: format!(
            "take the boot file (options 66 and 67, next-server) out of {server}: firmware prefers it to ours"
        ),
    })
}

pub(super) fn never_asked_4011(story: &Story<'_>) -> Option<Found> {
    let proxied = |dhcp: &Dhcp| {
        dhcp.kind == Kind::Offer
            && dhcp.given.is_none()
            && dhcp.class.as_deref().is_some_and(|class| class.starts_with("PXEClient"))
    };
    let (offer, _) = story.answered().find(|(_, dhcp)| proxied(dhcp))?;
    let (taken, server, _) = story.taken_elsewhere().filter(|(at, ..)| *at > offer).last()?;
    if story.asked_boot_server() || story.loads_after(offer) || story.ago(taken) <= PROXY_SECONDS_MAX {
        return None;
    }
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "its firmware took an address of {server} and our boot offer, but never asked port 4011 nor for the file"
        ),
        places: vec![offer, taken],
        next: format!(
            "this firmware does not follow a boot offer beside the address's: have {server} name the boot file itself (option \
             67 and next-server to us), use pxe.mode = \"full\", or HTTP boot; if a firewall stands between, open UDP 4011"
        ),
    })
}

pub(super) fn proxy_without_server(story: &Story<'_>) -> Option<Found> {
    if !story.proxied() {
        return None;
    }
    let offers: Vec<usize> =
        story.answered().filter(|(_, dhcp)| dhcp.kind == Kind::Offer).map(|(at, _)| at).collect();
    let last = *offers.last()?;
    let went_on = story.asked().any(|(_, dhcp)| dhcp.kind == Kind::Request);
    let others = story.rivals().any(|(_, _, dhcp)| dhcp.given.is_some());
    if went_on
        || others
        || story.loads_after(last)
        || (offers.len() < 2 && story.ago(last) <= PROXY_SECONDS_MAX)
    {
        return None;
    }
    Some(Found {
        state: State::Trouble,
        headline: format!("we answered {} with a boot offer, but no DHCP server gives it an address", times(offers.len())),
        places: offers,
        next: "in proxy mode another server gives addresses: start it or extend it to this network, or set pxe.mode = \
               \"full\""
            .into(),
    })
}

pub(super) fn second_server_seen(story: &Story<'_>) -> Option<Found> {
    if story.proxied() {
        return None;
    }
    let (at, server, _) = story.rivals().filter(|(_, _, dhcp)| dhcp.given.is_some()).last()?;
    Some(Found {
        state: State::Waiting,
        headline: format!("a second DHCP server {server} also answers this machine"),
        places: vec![at],
        next: keep_one(server),
    })
}
