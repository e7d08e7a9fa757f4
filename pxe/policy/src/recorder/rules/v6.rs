//! Rules about DHCPv6 and router advertisements.  Advertisements are nobody's in particular: what was heard of them lately
//! is in [`super::super::Around6`].

use pxe_wire::dhcp6::{Duid, Kind, Request, code};

use super::{
    super::{
        heard6::wants_boot,
        story::Story,
        verdict::{Found, State},
    },
    times,
};

/// Firmware takes an offer or asks for a file within this, or not at all; as in IPv4.
const ANSWER_SECONDS_MAX: u64 = 10;

/// What firmware that wants to boot sent, with its place.
fn boots<'a>(story: &'a Story<'_>) -> impl Iterator<Item = (usize, &'a Request)> {
    story.asked6().filter(|(_, request)| wants_boot(request))
}

/// REQUESTs and the like that name a server which is not us.
fn elsewhere(story: &Story<'_>) -> Vec<(usize, Duid)> {
    let ours = |server: Duid| {
        story.around6.server == Some(server) || story.answered6().any(|(_, _, told)| told.server == server)
    };
    story
        .asked6()
        .filter_map(|(at, request)| Some((at, request.server?)))
        .filter(|(_, server)| !ours(*server))
        .collect()
}

pub(super) fn other_server(story: &Story<'_>) -> Option<Found> {
    let taken = elsewhere(story);
    let (last, server) = *taken.last()?;
    let ours_since = story.answered6().any(|(at, offer, told)| at > last && !offer && told.leases);
    if story.proxied() || ours_since || story.loads_after(last) {
        return None;
    }
    let offers: Vec<usize> =
        story.answered6().filter(|(_, offer, told)| *offer && told.leases).map(|(at, ..)| at).collect();
    let headline = if offers.is_empty() {
        format!("a second DHCPv6 server ({server}) gave it its address; we had offered it none")
    } else {
        format!("a second DHCPv6 server ({server}) answered first, and it took that offer instead of ours")
    };
    Some(Found {
        state: State::Trouble,
        headline,
        places: offers.into_iter().chain(taken.into_iter().map(|(at, _)| at)).collect(),
        next: "one DHCPv6 server a link: switch the other one off here (routers often have one), keep it out of this VLAN, \
               or set pxe.mode = \"auto-proxy\" and leave addresses to it"
            .into(),
    })
}

pub(super) fn options_only(story: &Story<'_>) -> Option<Found> {
    let solicited = story.asked6().any(|(_, request)| request.kind == Kind::Solicit);
    let asked: Vec<usize> = boots(story)
        .filter(|(_, request)| request.kind == Kind::InformationRequest)
        .map(|(at, _)| at)
        .collect();
    let last = *asked.last()?;
    if solicited || story.loads_after(last) {
        return None;
    }
    let (because, next) = match unmanaged(story) {
        Some(routers) => (
            format!(", because {routers} advertises M=0: addresses do not come by DHCPv6"),
            "set the `managed` flag (M=1) on that router, or keep its advertisements out of this VLAN and let \
             pxe.v6.router_advertisements say it",
        ),
        None => (
            String::new(),
            "some router advertisement it heard says so (flag O without M); find its sender, and set its `managed` flag",
        ),
    };
    Some(Found {
        state: State::Trouble,
        headline: format!("it asked by DHCPv6 for options only, never for an address{because}"),
        places: asked,
        next: next.into(),
    })
}

pub(super) fn never_asked(story: &Story<'_>) -> Option<Found> {
    let routers = unmanaged(story)?;
    let places: Vec<usize> = story.asked().filter(|(_, dhcp)| dhcp.wants_boot()).map(|(at, _)| at).collect();
    if places.is_empty() || story.asked6().next().is_some() || story.answered().next().is_some() {
        return None;
    }
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "it gets nothing over IPv4, and {routers} advertises M=0, so it never asked for an address by DHCPv6"
        ),
        places,
        next: "set the `managed` flag (M=1) on that router if machines are to boot over IPv6 here; else find out why it gets \
               no IPv4 answer"
            .into(),
    })
}

/// Routers that tell machines not to ask DHCPv6 for addresses, if no other says they should.
fn unmanaged(story: &Story<'_>) -> Option<String> {
    let routers = &story.around6.unmanaged;
    let names: Vec<String> = routers.iter().map(|router| format!("the router {router}")).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

pub(super) fn no_boot_option(story: &Story<'_>) -> Option<Found> {
    let mute: Vec<usize> = boots(story)
        .filter(|(at, request)| {
            let opens = matches!(request.kind, Kind::Solicit | Kind::Request | Kind::InformationRequest);
            opens && !request.wanted.contains(&code::BOOT_URL) && !story.loads_after(*at)
        })
        .map(|(at, _)| at)
        .collect();
    let class = boots(story).last().and_then(|(_, request)| request.vendor_class.clone());
    (!mute.is_empty()).then(|| Found {
        state: State::Trouble,
        headline: format!(
            "it asked to boot over IPv6 as `{}` without option 59 (boot file URL) in its list of wanted options",
            class.unwrap_or_default()
        ),
        places: mute,
        next: "we name the URL all the same, and firmware may leave unread what it did not ask for: update it (RFC 5970 \
               demands the option). If a relay is on the way, see that it does not rewrite the request"
            .into(),
    })
}

pub(super) fn file_never_asked(story: &Story<'_>) -> Option<Found> {
    let given: Vec<usize> =
        story.answered6().filter(|(_, offer, told)| !offer && told.boots).map(|(at, ..)| at).collect();
    let last = *given.last()?;
    if story.loads_after(last) || story.ago(last) <= ANSWER_SECONDS_MAX {
        return None;
    }
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "it has its IPv6 address and the URL of its image since {} s, but never asked for that file",
            story.ago(last)
        ),
        places: given,
        next: "its link's prefix may be unknown to it (a router, or pxe.v6.router_advertisements, must advertise it), its \
               firmware may allow https only, or a firewall is before our TCP port"
            .into(),
    })
}

pub(super) fn offer_not_taken(story: &Story<'_>) -> Option<Found> {
    let offers: Vec<usize> =
        story.answered6().filter(|(_, offer, told)| *offer && told.leases).map(|(at, ..)| at).collect();
    let (first, last) = (*offers.first()?, *offers.last()?);
    let went_on = story.asked6().any(|(at, request)| at > first && request.kind != Kind::Solicit);
    if went_on || story.loads_after(first) || (offers.len() < 2 && story.ago(last) <= ANSWER_SECONDS_MAX) {
        return None;
    }
    Some(Found {
        state: State::Trouble,
        headline: format!("we offered it an IPv6 address {}, and it took none", times(offers.len())),
        places: offers,
        next: "our offers go to its link-local address and do not reach it: DHCPv6 guard or RA guard on its switch port that \
               does not trust ours, or a multicast filter that forgets ports"
            .into(),
    })
}
