//! A ring as a file for packet analysers.

use std::net::IpAddr;

use appliance_model::Mac;
use pxe_wire::pcap::{Capture, Datagram, Direction};

use super::{
    Frame, Seen,
    ring::{Entry, Ring},
};

/// Stands for every Ethernet address but the machine's own, which is the only one known.  Locally administered.
const SOMEBODY: [u8; 6] = [2, 0, 0, 0, 0, 0];
const EVERYBODY: [u8; 6] = [0xff; 6];

const ABOUT: &str = "Recorded by the scalerforge boot service for one machine. UDP payloads, addresses, ports and times are \
    as they were; Ethernet, IP and UDP headers were made up around them afterwards, and 02:00:00:00:00:00 stands for \
    whoever is not the machine. File transfers are not in here, only requests; what else happened is told in comments \
    beside the packet that came next.";

/// Writes the file.  A note goes to the frame that follows it, and what follows no frame to the last one.
pub(super) fn write(mac: Mac, ring: &Ring) -> Vec<u8> {
    let mut capture = Capture::new(ABOUT, "boot");
    let mut comments = Vec::new();
    let mut held: Option<(&Frame, Vec<String>)> = None;
    for entry in &ring.entries {
        match entry {
            Entry::Note(at, note) => comments.push(format!("{} ms: {note}", at.0)),
            Entry::Frame(frame) => {
                if let Some((earlier, said)) = held.replace((frame, std::mem::take(&mut comments))) {
                    push(&mut capture, mac, earlier, &said);
                }
            }
        }
    }
    if let Some((frame, mut said)) = held {
        said.append(&mut comments);
        push(&mut capture, mac, frame, &said);
    }
    capture.finish()
}

fn push(capture: &mut Capture, mac: Mac, frame: &Frame, comments: &[String]) {
    let (ethernet_source, other) = match frame.seen {
        Seen::Received => (mac.0, SOMEBODY),
        Seen::Sent | Seen::Overheard => (SOMEBODY, mac.0),
    };
    let broadcast = match frame.target.ip() {
        IpAddr::V4(to) => to.is_broadcast(),
        IpAddr::V6(to) => to.is_multicast(),
    };
    capture.push(&Datagram {
        micros: frame.at.0.saturating_mul(1000),
        direction: if frame.seen == Seen::Sent { Direction::Out } else { Direction::In },
        ethernet_source,
        ethernet_target: if broadcast { EVERYBODY } else { other },
        source: frame.source,
        target: frame.target,
        payload: &frame.payload,
        comments,
    });
}
