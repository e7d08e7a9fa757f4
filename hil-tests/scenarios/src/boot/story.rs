//! What the packets of one boot tell: the steps the machine took, and where it waited because nobody answered.

use std::{collections::BTreeMap, time::Duration};

use super::packets::{Dhcp, Packet, What};

/// Firmware that asks the same thing again sooner than this was not waiting; it was busy.
const AGAIN: Duration = Duration::from_millis(500);

/// The class by which the agent's own DHCP is known: what comes after is no firmware's.
const AGENT: &str = "scalerforge-agent";

/// The steps a machine took up to its agent's first word, without repetitions: `dhcp PXEClient`, `tftp discovery.efi`, `GET vmlinuz`, `https`.
#[must_use]
pub(super) fn steps(packets: &[Packet]) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for step in packets.iter().filter(|packet| packet.sent).filter_map(step) {
        if steps.last() == Some(&step) {
            continue;
        }
        let agent = step.ends_with(AGENT);
        steps.push(step);
        if agent {
            break;
        }
    }
    steps
}

fn step(packet: &Packet) -> Option<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    match &packet.what {
        What::Dhcp(dhcp) => Some(format!("dhcp {}", who(dhcp))),
        // The firmware's IPv6 stack asks beside the boot attempt, because of the advertisement; it has no class.
        What::Dhcp6(dhcp) if dhcp.class.is_empty() => None,
        What::Dhcp6(dhcp) => Some(format!("dhcp6 {}", dhcp.class)),
        What::TftpRead(name) => Some(format!("tftp {}", last(name))),
        What::Http(line) => {
            let (method, path) = line.split_once(' ')?;
            Some(format!("{method} {}", last(path)))
        }
        What::Connect(443 | 8443 | 8444) => Some("https".to_owned()),
        What::Datagram
        | What::Connect(_)
        | What::Stream(_)
        | What::HungUp
        | What::ArpAsk(_)
        | What::ArpTell(_)
        | What::RouterWanted
        | What::RouterThere
        | What::Other => None,
    }
}

fn who(dhcp: &Dhcp) -> &str {
    if dhcp.ipxe { "iPXE" } else { &dhcp.class }
}

/// How long the firmware waited for each question that was not answered, or not in the way it wanted: it asked again,
/// or gave up.  Ends where the agent begins.
#[must_use]
pub(super) fn waits(packets: &[Packet]) -> BTreeMap<String, Duration> {
    let agent = |packet: &Packet| matches!(&packet.what, What::Dhcp(dhcp) if dhcp.class == AGENT);
    let end = packets.iter().position(agent).unwrap_or(packets.len());
    let packets = packets.get(..end).unwrap_or_default();
    let mut waits: BTreeMap<String, Duration> = BTreeMap::new();
    for (index, packet) in packets.iter().enumerate().filter(|(_, packet)| packet.sent) {
        let Some(question) = question(&packet.what) else { continue };
        let later = packets.get(index + 1..).unwrap_or_default();
        let again =
            later.iter().find(|other| other.sent && self::question(&other.what).as_ref() == Some(&question));
        let until = again.map_or(Duration::MAX, |again| again.at);
        let answered =
            later.iter().any(|other| !other.sent && other.at < until && answers(&other.what, &packet.what));
        // A program that was loaded asks anew.
        let went_on = later
            .iter()
            .take_while(|other| other.at < until)
            .any(|other| other.sent && matches!(other.what, What::TftpRead(_) | What::Http(_)));
        let next = match (again, answered) {
            // DHCP that is repeated although it was answered waits for another kind of answer.
            (Some(again), true) if matches!(packet.what, What::Dhcp(_)) && !went_on => Some(again.at),
            (_, true) => None,
            (Some(again), false) => Some(again.at),
            (None, false) => later.iter().find(|other| other.sent).map(|other| other.at),
        };
        let wait = next.map_or(Duration::ZERO, |next| next.saturating_sub(packet.at));
        if wait >= AGAIN {
            *waits.entry(question).or_default() += wait;
        }
    }
    // Nobody said anything until the server gave the connection up, and then the firmware went on.  A kernel that was
    // started leaves the connection to whoever serves it, and asks nothing before its agent does.
    for (index, pair) in packets.windows(2).enumerate() {
        let asks = |later: &Packet| later.sent && step(later).is_some();
        let went_on = packets.get(index + 2..).unwrap_or_default().iter().any(asks);
        if let [before, Packet { at, what: What::HungUp, .. }] = pair
            && went_on
        {
            let wait = at.saturating_sub(before.at);
            if wait >= AGAIN {
                *waits.entry("the server to hang up".to_owned()).or_default() += wait;
            }
        }
    }
    waits
}

/// What a packet asks, in words that are the same when it asks again.
fn question(what: &What) -> Option<String> {
    match what {
        What::Dhcp(dhcp) => {
            let kind = match dhcp.kind {
                1 => "DISCOVER",
                3 => "REQUEST",
                8 => "INFORM",
                _ => return None,
            };
            Some(format!("{kind} to port {} by {}", dhcp.port, who(dhcp)))
        }
        What::Dhcp6(dhcp) => match dhcp.kind {
            1 => Some(format!("SOLICIT by {}", dhcp.class)),
            3 => Some(format!("DHCPv6 REQUEST by {}", dhcp.class)),
            _ => None,
        },
        What::TftpRead(name) => Some(format!("TFTP read of {name}")),
        What::Connect(port) => Some(format!("TCP connection to port {port}")),
        What::ArpAsk(address) => Some(format!("ARP for {address}")),
        What::RouterWanted => Some("IPv6 router solicitation".to_owned()),
        What::Datagram
        | What::Http(_)
        | What::Stream(_)
        | What::HungUp
        | What::ArpTell(_)
        | What::RouterThere
        | What::Other => None,
    }
}

fn answers(answer: &What, question: &What) -> bool {
    match (answer, question) {
        (What::Dhcp(answer), What::Dhcp(question)) => answer.xid == question.xid,
        (What::Dhcp6(answer), What::Dhcp6(question)) => answer.xid == question.xid,
        (What::Datagram, What::TftpRead(_)) | (What::RouterThere, What::RouterWanted) => true,
        (What::Stream(from), What::Connect(to)) => from == to,
        (What::ArpTell(told), What::ArpAsk(asked)) => told == asked,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dhcp(kind: u8, class: &str) -> What {
        let class = class.to_owned();
        What::Dhcp(Dhcp { kind, xid: 7, port: 67, class, ipxe: false, server: None })
    }

    fn record(packets: &[(u64, bool, What)]) -> Vec<Packet> {
        let packet = |(at, sent, what): &(u64, bool, What)| Packet {
            at: Duration::from_millis(*at),
            sent: *sent,
            what: what.clone(),
        };
        packets.iter().map(packet).collect()
    }

    #[test]
    fn steps_are_named_and_not_repeated() {
        let packets = record(&[
            (0, true, dhcp(1, "PXEClient")),
            (1, false, dhcp(2, "PXEClient")),
            (2, true, dhcp(3, "PXEClient")),
            (3, true, What::TftpRead("boot/00/discovery.efi".into())),
            (4, true, What::Connect(8080)),
            (5, true, What::Http("GET /boot/00/vmlinuz".into())),
            (6, true, dhcp(1, AGENT)),
            (7, true, What::Connect(8443)),
        ]);
        let expected = ["dhcp PXEClient", "tftp discovery.efi", "GET vmlinuz", "dhcp scalerforge-agent"];
        assert_eq!(steps(&packets), expected);
    }

    #[test]
    fn only_questions_without_a_good_answer_are_waits() {
        let read = || What::TftpRead("x".into());
        let rows = [
            // Answered, whatever time the firmware takes then.
            (vec![(0, true, dhcp(1, "P")), (1, false, dhcp(2, "P")), (4000, true, dhcp(3, "P"))], 0),
            // Asked again, unanswered.
            (vec![(0, true, dhcp(1, "P")), (4000, true, dhcp(1, "P")), (4001, false, dhcp(2, "P"))], 4000),
            // Asked again although answered: another offer is wanted.
            (
                vec![
                    (0, true, dhcp(1, "P")),
                    (1, false, dhcp(2, "P")),
                    (2000, true, dhcp(1, "P")),
                    (2001, false, dhcp(2, "P")),
                ],
                2000,
            ),
            // What was loaded then asks by itself.
            (
                vec![
                    (0, true, dhcp(1, "P")),
                    (1, false, dhcp(2, "P")),
                    (2, true, read()),
                    (3, false, What::Datagram),
                    (2000, true, dhcp(1, "P")),
                    (2001, false, dhcp(2, "P")),
                ],
                0,
            ),
            // Given up.
            (
                vec![(0, true, read()), (3000, true, What::Connect(8080)), (3001, false, What::Stream(8080))],
                3000,
            ),
            // A size is asked for first, then the file.
            (
                vec![
                    (0, true, read()),
                    (1, false, What::Datagram),
                    (900, true, read()),
                    (901, false, What::Datagram),
                ],
                0,
            ),
            // A refusal that left the connection open.
            (
                vec![
                    (0, false, What::Stream(8080)),
                    (15000, false, What::HungUp),
                    (15001, true, What::Http("GET /grub.cfg".into())),
                    (15002, false, What::Stream(8080)),
                ],
                15000,
            ),
            // A kernel that runs, and takes long to its agent's first question.
            (
                vec![
                    (0, false, What::Stream(8080)),
                    (10000, false, What::HungUp),
                    (10500, true, What::RouterWanted),
                    (10500, true, dhcp(1, AGENT)),
                ],
                0,
            ),
            // What the agent does is not the firmware's wait.
            (vec![(0, true, What::RouterWanted), (9000, true, dhcp(1, AGENT))], 0),
        ];
        for (packets, expected) in rows {
            let waits = waits(&record(&packets));
            let sum: Duration = waits.values().sum();
            assert_eq!(sum, Duration::from_millis(expected), "{packets:?} {waits:?}");
        }
    }
}
