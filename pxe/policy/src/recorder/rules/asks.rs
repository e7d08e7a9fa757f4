//! Rules about the conversation between the machine and us.

use std::net::Ipv4Addr;

use super::{
    super::{
        heard::{Dhcp, Kind},
        note::Note,
        story::Story,
        verdict::{Found, State},
    },
    times,
    transfer::AGENT_CLASS,
};

/// Firmware takes an offer or asks for a file within this, or not at all.
const ANSWER_SECONDS_MAX: u64 = 10;

/// Boot requests without option 93, through a relay or not.
fn without_arch(story: &Story<'_>, relayed: bool) -> Vec<(usize, Option<Ipv4Addr>, Option<String>)> {
    story
        .asked()
        .filter(|(at, dhcp)| {
            dhcp.wants_boot()
                && dhcp.arch.is_none()
                && dhcp.relay.is_some() == relayed
                && !story.loads_after(*at)
        })
        .map(|(at, dhcp)| (at, dhcp.relay, dhcp.class.clone()))
        .collect()
}

pub(super) fn relay_stripped_arch(story: &Story<'_>) -> Option<Found> {
    let stripped = without_arch(story, true);
    let (_, relay, class) = stripped.last()?.clone();
    let (relay, class) = (relay?, class.unwrap_or_default());
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "relay {relay} stripped option 93: the request says `{class}`, but no architecture"
        ),
        places: stripped.into_iter().map(|(at, ..)| at).collect(),
        next: format!(
            "have {relay} forward DHCP options unchanged (every PXE and HTTP boot client sends 93); where the class names \
             the architecture, we answer by that meanwhile"
        ),
    })
}

pub(super) fn no_arch(story: &Story<'_>) -> Option<Found> {
    let mute = without_arch(story, false);
    let (_, _, class) = mute.last()?.clone();
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "it asks to boot as `{}` and does not say for which architecture (option 93)",
            class.unwrap_or_default()
        ),
        places: mute.into_iter().map(|(at, ..)| at).collect(),
        next: "update its firmware or network card's option ROM; RFC 4578 demands the option".into(),
    })
}

pub(super) fn address_in_use(story: &Story<'_>) -> Option<Found> {
    let declined = story.asked().filter(|(_, dhcp)| dhcp.kind == Kind::Decline).last();
    let noted = story.latest_note(|note| {
        if let Note::Conflict { address, by } = note { Some((*address, *by)) } else { None }
    });
    let declined = declined.and_then(|(at, dhcp)| Some((at, (dhcp.requested?, None))));
    let (at, (address, by)) = noted.max(declined)?;
    if story.loads_after(at) {
        return None;
    }
    let who = match by {
        Some(mac) => format!("by {mac}"),
        None => "by somebody who does not have it from us".into(),
    };
    Some(Found {
        state: State::Trouble,
        headline: format!("the address {address} meant for it is in use {who}"),
        places: vec![at],
        next: format!(
            "it gets another one at its next try; find who uses {address} (a fixed address inside the pool, a second DHCP \
             server) and take the address out of the pool"
        ),
    })
}

pub(super) fn refused(story: &Story<'_>) -> Option<Found> {
    let (at, last) = story.answered().last()?;
    let asked_since = story.asked().any(|(place, _)| place > at);
    if last.kind != Kind::Nak || asked_since || story.loads_after(at) {
        return None;
    }
    let why = story.latest_note(|note| if let Note::Refused { why } = note { Some(why) } else { None });
    let why = why.map_or("its address is not valid here", |(_, why)| why.as_ref());
    Some(Found {
        state: State::Waiting,
        headline: format!("we refused its request {} s ago (NAK): {why}", story.ago(at)),
        places: story.answered().filter(|(_, dhcp)| dhcp.kind == Kind::Nak).map(|(place, _)| place).collect(),
        next: "it should ask for a new address at once; if it does not, restart its network boot".into(),
    })
}

pub(super) fn file_never_asked(story: &Story<'_>) -> Option<Found> {
    let named = |dhcp: &Dhcp| dhcp.kind == Kind::Ack && dhcp.file.is_some();
    let (at, ack) = story.answered().filter(|(_, dhcp)| named(dhcp)).last()?;
    let file = ack.file.as_deref()?;
    if story.loads_after(at) || story.ago(at) <= ANSWER_SECONDS_MAX {
        return None;
    }
    let by_http = file.starts_with("http");
    let (what, next) = if by_http {
        (
            "the URL of its image",
            "firmware may allow https only (look for `HTTP connections` or `Allow insecure HTTP` in its network settings), \
             or cannot reach us: gateway, VLAN, a firewall before our TCP port",
        )
    } else {
        (
            "a boot file",
            "its TFTP request does not arrive: a firewall before UDP port 69, or no route back to us; `boot pcap` shows \
             what was exchanged",
        )
    };
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "it has its address and {what} since {} s, but never asked for that file",
            story.ago(at)
        ),
        places: story.answered().filter(|(_, dhcp)| named(dhcp)).map(|(place, _)| place).collect(),
        next: next.into(),
    })
}

pub(super) fn offer_not_taken(story: &Story<'_>) -> Option<Found> {
    let offers: Vec<(usize, Option<Ipv4Addr>)> = story
        .answered()
        .filter(|(_, dhcp)| dhcp.kind == Kind::Offer && dhcp.given.is_some())
        .map(|(at, dhcp)| (at, dhcp.relay))
        .collect();
    let (first, _) = *offers.first()?;
    let (last, relay) = *offers.last()?;
    let taken = story.asked().any(|(at, dhcp)| at > first && dhcp.kind == Kind::Request);
    if taken || story.loads_after(first) || (offers.len() < 2 && story.ago(last) <= ANSWER_SECONDS_MAX) {
        return None;
    }
    let next = match relay {
        Some(relay) => format!(
            "our offers go to relay {relay}, UDP port 67: does it get them, and does it hand them on? (an access list, a \
             route back to {relay} that goes elsewhere)"
        ),
        None => "our offers do not reach it: a switch port that is not an edge port (spanning tree blocks it for 30 s after \
                 each reset), DHCP snooping that does not trust our port, or another VLAN on the way back"
            .into(),
    };
    Some(Found {
        state: State::Trouble,
        headline: format!("we offered it an address {}, and it took none", times(offers.len())),
        places: offers.into_iter().map(|(at, _)| at).chain(story.asked().map(|(at, _)| at).take(1)).collect(),
        next,
    })
}

pub(super) fn agent_runs(story: &Story<'_>) -> Option<Found> {
    let (at, dhcp) = story.asked().last()?;
    (dhcp.class.as_deref() == Some(AGENT_CLASS)).then(|| Found {
        state: State::Fine,
        headline: format!("our agent runs on it: it asked for its address {} s ago", story.ago(at)),
        places: vec![at],
        next: "nothing; `host why` says what it is doing".into(),
    })
}

pub(super) fn did_not_ask_to_boot(story: &Story<'_>) -> Option<Found> {
    let (at, last) = story.asked().last()?;
    if last.class.as_deref() == Some(AGENT_CLASS) || story.asked().any(|(_, dhcp)| dhcp.wants_boot()) {
        return None;
    }
    Some(Found {
        state: State::Fine,
        headline: format!("it asked for an address {} s ago, but not to boot: an operating system runs there", story.ago(at)),
        places: story.asked().map(|(place, _)| place).collect(),
        next: "to boot it over the network, put network boot first in its boot order, or set it once through its BMC".into(),
    })
}
