//! Rules about files on their way, and what comes after them.

use std::collections::BTreeMap;

use super::{
    super::{
        heard::Kind,
        note::Note,
        story::Story,
        verdict::{Found, State},
    },
    times,
};

/// A cold start of the image until the agent's hello takes 20 s on fast machines; some spend a minute on memory and
/// disks first.
const HELLO_SECONDS_MAX: u64 = 90;
/// Firmware that was sent on tries its next entry within seconds.
const SENT_ON_SECONDS_MAX: u64 = 60;
/// So often a block is sent again before we speak of more than bad luck.
const LOST_TIMES_MIN: u32 = 3;
/// IPv4, UDP and TFTP headers around a block.
const TFTP_OVERHEAD: u16 = 32;
/// Our agent's vendor class.
pub(super) const AGENT_CLASS: &str = "scalerforge-agent";

/// Places of firmware's requests to boot, iPXE's not counted: it is the continuation of a boot.
fn firmware_asks(story: &Story<'_>) -> impl Iterator<Item = usize> {
    story
        .asked()
        .filter(|(_, dhcp)| dhcp.kind == Kind::Discover && dhcp.wants_boot() && !dhcp.ipxe)
        .map(|(at, _)| at)
}

/// Where a file last went out in full, if that was the end of loading.
fn loaded(story: &Story<'_>) -> Option<usize> {
    let (at, ()) = story
        .latest_note(|note| matches!(note, Note::HttpSent { .. } | Note::TftpSent { .. }).then_some(()))?;
    (!story.loads_after(at)).then_some(at)
}

pub(super) fn booted(story: &Story<'_>) -> Option<Found> {
    let (at, by_dhcp) =
        story.latest_note(|note| if let Note::AgentUp { by_dhcp } = note { Some(*by_dhcp) } else { None })?;
    if firmware_asks(story).any(|ask| ask > at) {
        return None;
    }
    let proof = if by_dhcp {
        "; its boot ticket came by DHCP, which proves less than one in the measured boot URL"
    } else {
        ""
    };
    let mut places = story.places(|note| matches!(note, Note::HttpSent { .. } | Note::TftpSent { .. }));
    places.push(at);
    Some(Found {
        state: State::Fine,
        headline: format!("it booted: its agent came up {} s ago{proof}", story.ago(at)),
        places,
        next: "nothing: the boot service is done with it".into(),
    })
}

pub(super) fn agent_silent(story: &Story<'_>) -> Option<Found> {
    let at = loaded(story)?;
    let (agent, _) = story
        .asked()
        .filter(|(place, dhcp)| *place > at && dhcp.class.as_deref() == Some(AGENT_CLASS))
        .last()?;
    let late = story.ago(agent) > HELLO_SECONDS_MAX;
    Some(Found {
        state: if late { State::Trouble } else { State::Waiting },
        headline: format!(
            "its agent runs and asked for an address {} s ago, but has not said hello",
            story.ago(agent)
        ),
        places: vec![at, agent],
        next: "if this lasts: does the agents' API answer from that network, is the machine's clock right (certificates), \
               does its TPM answer; its console says which"
            .into(),
    })
}

pub(super) fn loaded_and_back(story: &Story<'_>) -> Option<Found> {
    let at = loaded(story)?;
    let back = firmware_asks(story).find(|ask| *ask > at)?;
    let seconds = story.ago(at).saturating_sub(story.ago(back));
    Some(Found {
        state: State::Trouble,
        headline: format!("it loaded its file in full and asked to boot again {seconds} s later"),
        places: vec![at, back],
        next: "after a few seconds: its firmware refused the file, most often because Secure Boot does not know the key \
               that signed it (enrol the site's certificate; do not switch Secure Boot off). After a minute or more: the \
               image started and crashed or was reset; its console says why"
            .into(),
    })
}

pub(super) fn loaded_no_hello(story: &Story<'_>) -> Option<Found> {
    let at = loaded(story).filter(|_| story.around.agents)?;
    let ago = story.ago(at);
    Some(Found {
        state: if ago > HELLO_SECONDS_MAX { State::Trouble } else { State::Waiting },
        headline: format!("it fetched its file in full {ago} s ago and its agent has not said hello"),
        places: vec![at],
        next: "look at the console: a Secure Boot message, a kernel panic, or a network card that the image has no driver \
               for"
            .into(),
    })
}

/// Without agents, a file that arrived is the end of the story.
pub(super) fn loaded_alone(story: &Story<'_>) -> Option<Found> {
    let at = loaded(story).filter(|_| !story.around.agents)?;
    Some(Found {
        state: State::Fine,
        headline: format!(
            "it fetched its file in full {} s ago: the boot service is done with it",
            story.ago(at)
        ),
        places: story
            .places(|note| matches!(note, Note::HttpStarted { .. } | Note::TftpStarted { .. }))
            .into_iter()
            .chain([at])
            .collect(),
        next: "nothing here; if it does not come up, its console says why".into(),
    })
}

pub(super) fn http_broken(story: &Story<'_>) -> Option<Found> {
    let (last, (file, of)) = story.latest_note(|note| {
        if let Note::HttpBroken { file, of, .. } = note { Some((file, *of)) } else { None }
    })?;
    if story
        .notes()
        .any(|(at, note)| at > last && matches!(note, Note::HttpSent { .. } | Note::AgentUp { .. }))
    {
        return None;
    }
    let broken: Vec<(usize, u64)> = story
        .notes()
        .filter_map(|(place, note)| {
            if let Note::HttpBroken { file: other, at, .. } = note {
                (other == file).then_some((place, *at))
            } else {
                None
            }
        })
        .collect();
    let ends = || broken.iter().map(|(_, at)| *at);
    let (least, most) = (ends().min()?, ends().max()?);
    // Within a sixteenth of each other counts as the same place: what is in flight varies.
    let same = most.saturating_sub(least) <= most / 16;
    let place = if same {
        format!("at {}", size(most))
    } else {
        format!("between {} and {}", size(least), size(most))
    };
    let next = if same && broken.len() > 1 {
        "always at the same place: firmware that has no memory for an image of this size, or something on the way that \
         ends long transfers (a firewall, a proxy)"
    } else {
        "at different places: packets are lost on the way; look at the switch port's error counters, cable, duplex and MTU"
    };
    Some(Found {
        state: State::Trouble,
        headline: format!("HTTP: {file} ({}) broke off {place}, {}", size(of), times(broken.len())),
        places: broken.into_iter().map(|(place, _)| place).collect(),
        next: next.into(),
    })
}

pub(super) fn http_refused(story: &Story<'_>) -> Option<Found> {
    let (at, (file, why)) = story.latest_note(|note| {
        if let Note::HttpRefused { file, why } = note { Some((file, why)) } else { None }
    })?;
    (!story.loads_after(at)).then(|| Found {
        state: State::Trouble,
        headline: format!("it asked by HTTP for {file} and was refused: {why}"),
        places: story.places(|note| matches!(note, Note::HttpRefused { .. })),
        next: "boot it again, so that it gets a fresh boot ticket; if it is always the same file, another server or its \
               own settings name that URL"
            .into(),
    })
}

/// Firmware hangs up in either case, and few say why; a second boot ends as the first.
pub(super) fn tls_failed(story: &Story<'_>) -> Option<Found> {
    let (at, ()) = story.latest_note(|note| matches!(note, Note::TlsFailed).then_some(()))?;
    (!story.loads_after(at)).then(|| Found {
        state: State::Trouble,
        headline: "it was sent to HTTPS and the TLS handshake failed: it does not trust the authority over \
                   pxe.https.certificate, or it shares no cipher with us"
            .into(),
        places: story.places(|note| matches!(note, Note::TlsFailed)),
        next: "enrol that authority in its firmware's setup (TLS authentication), or leave it out of pxe.https.offer_to \
               so that it boots by plain HTTP; look also at the certificate: it must name our address and be in force by \
               the machine's own clock"
            .into(),
    })
}

pub(super) fn tftp_lost_block(story: &Story<'_>) -> Option<Found> {
    let mut worst: BTreeMap<u64, (u32, u16)> = BTreeMap::new();
    let mut last = 0;
    for (at, note) in story.notes() {
        if let Note::TftpLost { block, times, block_bytes } = note {
            let entry = worst.entry(*block).or_insert((0, *block_bytes));
            entry.0 = entry.0.max(*times);
            last = at;
        }
    }
    let (block, (lost, block_bytes)) = worst.into_iter().max_by_key(|(_, (times, _))| *times)?;
    let sent_after = story
        .notes()
        .any(|(at, note)| at > last && matches!(note, Note::TftpSent { .. } | Note::HttpSent { .. }));
    if lost < LOST_TIMES_MIN || sent_after {
        return None;
    }
    let lost_words = times(usize::try_from(lost).unwrap_or(usize::MAX));
    let (guess, next) = path_width(story, block, block_bytes);
    Some(Found {
        state: State::Trouble,
        headline: format!("TFTP lost block {block} {lost_words}; {guess}"),
        places: story.places(|note| {
            matches!(note, Note::TftpStarted { .. } | Note::TftpLost { .. } | Note::TftpBroken { .. })
        }),
        next,
    })
}

/// What losing `block` says of the path.  Only the first window tells of the MTU: later blocks are as long as those
/// that arrived before them.
fn path_width(story: &Story<'_>, block: u64, block_bytes: u16) -> (String, String) {
    let packet = block_bytes.saturating_add(TFTP_OVERHEAD);
    let window = story
        .latest_note(|note| {
            if let Note::TftpStarted { window, .. } = note { Some(u64::from(*window)) } else { None }
        })
        .map_or(1, |(_, window)| window);
    if block > window || packet <= 576 {
        return (
            format!("blocks before it arrived, so packets of {packet} bytes do pass: some are dropped on the way"),
            "look at the switch port's error counters, the cable and duplex; a shared or slow link wants a smaller window \
             (pxe.tftp)"
                .into(),
        );
    }
    // The widest packet that is known to have passed: of a transfer with smaller blocks that went through.
    let mut open = None;
    let mut passed: Option<u16> = None;
    for (_, note) in story.notes() {
        if let Note::TftpStarted { block_bytes, .. } = note {
            open = Some(block_bytes.saturating_add(TFTP_OVERHEAD));
        } else if let Note::TftpSent { .. } = note {
            passed = passed.max(open);
        }
    }
    let guess = match passed.filter(|passed| *passed < packet) {
        Some(passed) => format!("MTU looks like {passed} to {}", packet.saturating_sub(1)),
        None => format!("MTU looks like less than {packet}"),
    };
    let next = format!(
        "no packet of {packet} bytes reached it: find the link with the smaller MTU (a tunnel or VPN on the way, a relay, a \
         switch port), or cap blocks below it (pxe.tftp)"
    );
    (guess, next)
}

pub(super) fn mtu_smaller(story: &Story<'_>) -> Option<Found> {
    let (at, (block_bytes, next)) = story.latest_note(|note| {
        if let Note::TftpNarrow { block_bytes, next_block_bytes } = note {
            Some((*block_bytes, *next_block_bytes))
        } else {
            None
        }
    })?;
    let packet = |block: u16| block.saturating_add(TFTP_OVERHEAD);
    Some(Found {
        state: State::Waiting,
        headline: format!(
            "packets of {} bytes reach it in fragments only: the MTU on the way is smaller, and nothing says so",
            packet(block_bytes)
        ),
        places: vec![at],
        next: format!(
            "it gets packets of {} bytes from now on; to be as fast as the link allows, find where the MTU is smaller (a \
             tunnel or VPN, a relay, a switch port)",
            packet(next)
        ),
    })
}

pub(super) fn tftp_broken(story: &Story<'_>) -> Option<Found> {
    let (at, (got, of, why)) = story.latest_note(|note| {
        if let Note::TftpBroken { at, of, why } = note { Some((*at, *of, why)) } else { None }
    })?;
    // Firmware opens a transfer to learn the size, breaks it off and starts again: something follows then.
    (!story.loads_after(at)).then(|| Found {
        state: State::Trouble,
        headline: format!("TFTP broke off after block {got} of {of}: {why}"),
        places: story.places(|note| matches!(note, Note::TftpStarted { .. } | Note::TftpBroken { .. })),
        next: if got == 0 {
            "not one block was confirmed: is UDP from our high ports to it let through (a firewall between the networks)"
        } else {
            "it stopped in the middle: was it switched off or reset? otherwise its console says why it gave up"
        }
        .into(),
    })
}

pub(super) fn tftp_unknown_file(story: &Story<'_>) -> Option<Found> {
    let (at, file) = story.latest_note(|note| {
        if let Note::TftpRefused { file, on_purpose: false, .. } = note { Some(file) } else { None }
    })?;
    if story.loads_after(at) {
        return None;
    }
    let named = story.rivals().find(|(_, _, dhcp)| dhcp.file.as_deref() == Some(file.as_ref()));
    let mut places = story.places(|note| matches!(note, Note::TftpRefused { on_purpose: false, .. }));
    let (who, next) = match named {
        Some((place, server, _)) => {
            places.push(place);
            (
                format!("the DHCP server {server} named it"),
                format!("take the boot file (options 66 and 67, next-server) out of {server}"),
            )
        }
        None => (
            "we never named it".into(),
            "another DHCP server names that file, or it is an old ticket: see `boot status` for other servers, and boot the \
             machine again"
                .into(),
        ),
    };
    Some(Found {
        state: State::Trouble,
        headline: format!("it asks our TFTP for {file}, which we do not serve: {who}"),
        places,
        next,
    })
}

pub(super) fn tftp_write(story: &Story<'_>) -> Option<Found> {
    let (_, file) =
        story.latest_note(|note| if let Note::TftpWrite { file } = note { Some(file) } else { None })?;
    Some(Found {
        state: State::Trouble,
        headline: format!("it tried to write {file} by TFTP; nothing may be written here"),
        places: story.places(|note| matches!(note, Note::TftpWrite { .. })),
        next: "firmware that boots writes nothing: find out what sends with this MAC (a switch that saves its settings?)"
            .into(),
    })
}

pub(super) fn loading(story: &Story<'_>) -> Option<Found> {
    let (at, words) = story.latest_note(on_its_way)?;
    (!story.loads_after(at)).then(|| Found {
        state: State::Waiting,
        headline: format!("{words}, since {} s", story.ago(at)),
        places: vec![at],
        next: "wait; an image of 100 MB takes a second at 1 Gbit/s, and minutes where hundreds load at once"
            .into(),
    })
}

fn on_its_way(note: &Note) -> Option<String> {
    if let Note::HttpStarted { file, of, .. } | Note::TftpStarted { file, of, .. } = note {
        Some(format!("it is loading {file}, {}", size(*of)))
    } else if let Note::HttpQueued { place } = note {
        Some(format!("it waits in place {place} for its turn to load"))
    } else if let Note::HttpAsked { file, .. } = note {
        Some(format!("it asked how long {file} is"))
    } else if let Note::TftpLost { block, .. } = note {
        Some(format!("it is loading by TFTP, block {block} was sent again"))
    } else {
        None
    }
}

pub(super) fn sent_on_to_http(story: &Story<'_>) -> Option<Found> {
    let (at, ()) = story.latest_note(|note| {
        if let Note::TftpRefused { on_purpose: true, .. } = note { Some(()) } else { None }
    })?;
    if story.loads_after(at) {
        return None;
    }
    let ago = story.ago(at);
    let late = ago > SENT_ON_SECONDS_MAX;
    Some(Found {
        state: if late { State::Trouble } else { State::Waiting },
        headline: format!("its PXE was sent on to HTTP boot {ago} s ago, and HTTP boot has not asked"),
        places: vec![at],
        next: "enable UEFI HTTP boot for IPv4 in its firmware settings and put it behind PXE in the boot order, or set \
               pxe.uefi_pxe = \"uki\" so that PXE itself gets the image"
            .into(),
    })
}

/// "12.3 MB", powers of ten as network people count.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        1_000_000.. => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}
