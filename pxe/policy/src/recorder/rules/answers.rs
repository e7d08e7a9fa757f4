//! Rules about requests that we left unanswered, by the reason we had.

use super::{
    super::{
        heard::arch,
        note::{Note, Quiet},
        story::Story,
        verdict::{Found, State},
    },
    times,
};

/// Places of silence for a reason that `fits`, if the latest request met it and nothing was answered since.
fn unanswered(story: &Story<'_>, fits: impl Fn(&Quiet) -> bool) -> Vec<usize> {
    let places = story.places(|note| matches!(note, Note::Unanswered { quiet, .. } if fits(quiet)));
    let last = places.last().copied().unwrap_or_default();
    if story.answered().any(|(at, _)| at > last) || story.loads_after(last) { Vec::new() } else { places }
}

/// The latest reason and its words among `places`.
fn reason<'a>(story: &Story<'a>, places: &[usize]) -> Option<(Quiet, &'a str)> {
    let last = places.last()?;
    story.notes().find(|(at, _)| at == last).and_then(|(_, note)| {
        if let Note::Unanswered { quiet, why } = note { Some((*quiet, why.as_ref())) } else { None }
    })
}

pub(super) fn relay_not_configured(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::Relay(_)));
    let (Quiet::Relay(relay), _) = reason(story, &places)? else { return None };
    Some(Found {
        state: State::Trouble,
        headline: format!(
            "it asked {} through relay {relay}, which is not configured, so nothing was answered",
            times(places.len())
        ),
        places,
        next: format!(
            "if {relay} is a router of yours, add it to pxe.relays with a pool for the network behind it; if not, somebody \
             relays foreign machines to us"
        ),
    })
}

pub(super) fn pool_exhausted(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::NoAddress));
    let (_, why) = reason(story, &places)?;
    Some(Found {
        state: State::Trouble,
        headline: format!("there is no address left for it: {why}"),
        places,
        next: "widen the pool, or shorten pxe.lease_seconds; `boot leases` shows who holds what".into(),
    })
}

pub(super) fn not_recorded(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::NotDurable));
    let (_, why) = reason(story, &places)?;
    Some(Found {
        state: State::Trouble,
        headline: format!("its lease could not be written to disk, so no answer left: {why}"),
        places,
        next: "free the disk that holds the state directory, or mount it writable again; the machine repeats its request by \
               itself"
            .into(),
    })
}

pub(super) fn not_sent(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::NotSent));
    let (_, why) = reason(story, &places)?;
    Some(Found {
        state: State::Trouble,
        headline: format!("our answer could not be sent: {why}"),
        places,
        next: "is our interface up, does it still have its address, is there a route to the relay".into(),
    })
}

pub(super) fn arch_without_image(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::NoImage(_)));
    let (Quiet::NoImage(number), why) = reason(story, &places)? else { return None };
    Some(Found {
        state: State::Trouble,
        headline: format!("it asked to boot {}, and we have no image for that", arch(number)),
        places,
        next: format!("{why}; name an image for it in [pxe.images], or take the entry out of its boot order"),
    })
}

pub(super) fn listening(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::Listening));
    reason(story, &places)?;
    Some(Found {
        state: State::Waiting,
        headline: format!("it asked {}; this service only listens so far and answers nobody", times(places.len())),
        places,
        next: "choose a mode for the interface (pxe.mode); the log and `boot status` say which one fits what was heard".into(),
    })
}

pub(super) fn told(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::Told));
    let (_, why) = reason(story, &places)?;
    Some(Found {
        state: State::Fine,
        headline: format!("it gets no answer because we were told so: {why}"),
        places,
        next: "if it should boot over the network, announce it (enrol it, or set pxe.strangers to `boot`)"
            .into(),
    })
}

pub(super) fn unanswered_otherwise(story: &Story<'_>) -> Option<Found> {
    let places = unanswered(story, |quiet| matches!(quiet, Quiet::Other));
    let (_, why) = reason(story, &places)?;
    // Giving an address back and the like want no answer: the machine is not waiting for one.
    Some(Found {
        state: State::Waiting,
        headline: format!("its latest request got no answer: {why}"),
        places,
        next: "nothing, unless it keeps asking".into(),
    })
}
