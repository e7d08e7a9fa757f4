//! Controllers that tell where they are when a LAN is asked: SSDP (DSP0266, 10.12) and DNS service discovery over
//! multicast (RFC 6762, 6763).  Questions and answers as bytes; sockets are elsewhere.
//!
//! Anybody on the LAN may answer.  An answer counts for the address it came from and for no other, so that nobody can
//! send us elsewhere; what it says beyond the port is not used.

use std::net::{IpAddr, SocketAddr};

/// Where SSDP is asked.
pub const SSDP: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(239, 255, 255, 250)), 1900);
/// Where multicast DNS is asked.
pub const MDNS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(224, 0, 0, 251)), 5353);
/// The longest datagram that is looked at: an Ethernet frame's.
pub const ANSWER_BYTES_MAX: usize = 1500;

const SERVICE: &str = "urn:dmtf-org:service:redfish-rest:1";
/// Header lines looked at.
const LINES_MAX: usize = 32;
/// Records of an answer looked at, and labels of a name: names point backwards only, so that they end.
const RECORDS_MAX: usize = 32;
const LABELS_MAX: usize = 32;
const PTR: u16 = 12;
const SRV: u16 = 33;
const HTTPS_PORT: u16 = 443;

/// The SSDP question.  Controllers answer within three seconds, spread at random.
#[must_use]
pub fn ssdp_question() -> Vec<u8> {
    format!("M-SEARCH * HTTP/1.1\r\nHOST: {SSDP}\r\nMAN: \"ssdp:discover\"\r\nMX: 3\r\nST: {SERVICE}\r\n\r\n")
        .into_bytes()
}

/// The controller that an SSDP answer is from, as a URL; `None` for every other answer.
#[must_use]
pub fn ssdp_answer(from: IpAddr, datagram: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(datagram.get(..datagram.len().min(ANSWER_BYTES_MAX))?).ok()?;
    let mut lines = text.split("\r\n").take(LINES_MAX);
    let (version, rest) = lines.next()?.split_once(' ')?;
    if !version.starts_with("HTTP/1.") || !rest.starts_with("200") {
        return None;
    }
    let headers: Vec<(&str, &str)> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':').map(|(name, value)| (name.trim(), value.trim())))
        .collect();
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| *value)
    };
    // ST ends in the service's minor version, `:0` and up.
    if !header("ST")?.starts_with(SERVICE) {
        return None;
    }
    let place = header("AL")?.strip_prefix("https://")?.split('/').next()?;
    let (address, port) = match place.parse::<SocketAddr>() {
        Ok(at) => (at.ip(), at.port()),
        Err(_) => (place.trim_matches(['[', ']']).parse::<IpAddr>().ok()?, HTTPS_PORT),
    };
    (address == from && port != 0).then(|| url(from, port))
}

/// The multicast DNS question: who is `_redfish._tcp.local`?  From another port than 5353 it is answered by unicast
/// (RFC 6762, 6.7).
#[must_use]
pub fn mdns_question() -> Vec<u8> {
    let mut question = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in NAME {
        question.push(u8::try_from(label.len()).unwrap_or_default());
        question.extend_from_slice(label);
    }
    question.extend_from_slice(&[0, 0, 12, 0, 1]);
    question
}

const NAME: [&[u8]; 3] = [b"_redfish", b"_tcp", b"local"];

/// The controller that a multicast DNS answer is from, as a URL; `None` for every other answer.
#[must_use]
pub fn mdns_answer(from: IpAddr, datagram: &[u8]) -> Option<String> {
    let message = datagram.get(..datagram.len().min(ANSWER_BYTES_MAX))?;
    let count = |at: usize| message.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
    let (flags, questions) = (count(2)?, count(4)?);
    if flags & 0x8000 == 0 || flags & 0x000f != 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..usize::from(questions).min(RECORDS_MAX) {
        at = name(message, at)?.1.checked_add(4)?;
    }
    let records = [6, 8, 10].into_iter().filter_map(count).map(usize::from).sum::<usize>();
    let (mut named, mut port) = (false, HTTPS_PORT);
    for _ in 0..records.min(RECORDS_MAX) {
        let Some((labels, after)) = name(message, at) else { break };
        let head: Option<[u8; 10]> = message.get(after..).and_then(|rest| rest.first_chunk().copied());
        let Some([kind_high, kind_low, _, _, _, _, _, _, high, low]) = head else { break };
        let (start, length) = (after + 10, usize::from(u16::from_be_bytes([high, low])));
        let Some(data) = message.get(start..).and_then(|rest| rest.get(..length)) else { break };
        let service = is_service(&labels);
        match u16::from_be_bytes([kind_high, kind_low]) {
            PTR => named |= service,
            // Priority, weight, port.  Its name is the instance's, in front of the service's.
            SRV if labels.get(1..).is_some_and(is_service) => {
                if let Some(told) = data.get(4..).and_then(|rest| rest.first_chunk().copied()) {
                    (named, port) = (true, u16::from_be_bytes(told));
                }
            }
            _ => {}
        }
        at = start + length;
    }
    (named && port != 0).then(|| url(from, port))
}

fn is_service(labels: &[&[u8]]) -> bool {
    labels.len() == NAME.len() && labels.iter().zip(NAME).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// The labels of a name, and where the message goes on after it.
fn name(message: &[u8], mut at: usize) -> Option<(Vec<&[u8]>, usize)> {
    let (mut labels, mut after) = (Vec::new(), None);
    loop {
        let length = *message.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some((labels, after.unwrap_or(at + 1))),
            0 => {
                if labels.len() >= LABELS_MAX {
                    return None;
                }
                labels.push(message.get(at + 1..)?.get(..usize::from(length))?);
                at += 1 + usize::from(length);
            }
            3 => {
                let low = *message.get(at + 1)?;
                let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                after.get_or_insert(at + 2);
                // Only backwards: otherwise two names could point at each other for ever.
                if to >= at {
                    return None;
                }
                at = to;
            }
            _ => return None,
        }
    }
}

/// The one way in which the address of a controller is written.
#[must_use]
pub fn url(ip: IpAddr, port: u16) -> String {
    let host = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if port == HTTPS_PORT { format!("https://{host}") } else { format!("https://{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 78, 0, 11));

    fn reply(al: &str, st: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nst: {st}\r\nAL: {al}\r\nEXT:\r\n\r\n")
            .into()
    }

    #[test]
    fn an_ssdp_answer_counts_for_its_own_address_only() {
        let service = "urn:dmtf-org:service:redfish-rest:1:2";
        for (al, st, wanted) in [
            ("https://10.78.0.11/redfish/v1/", service, Some("https://10.78.0.11")),
            ("https://10.78.0.11:8443/redfish/v1", service, Some("https://10.78.0.11:8443")),
            ("https://10.78.0.12/redfish/v1/", service, None),
            ("https://bank.example/redfish/v1/", service, None),
            ("http://10.78.0.11/redfish/v1/", service, None),
            ("https://10.78.0.11@10.78.0.12/", service, None),
            ("https://10.78.0.11:0/", service, None),
            ("https://10.78.0.11/redfish/v1/", "upnp:rootdevice", None),
        ] {
            assert_eq!(ssdp_answer(FROM, &reply(al, st)).as_deref(), wanted, "{al} {st}");
        }
        let v6 = "fd78::11".parse().unwrap();
        let told = ssdp_answer(v6, &reply("https://[fd78::11]/redfish/v1", service));
        assert_eq!(told.as_deref(), Some("https://[fd78::11]"));
        assert!(String::from_utf8(ssdp_question()).unwrap().contains("HOST: 239.255.255.250:1900\r\n"));
    }

    /// As avahi answers a legacy query: the question again, PTR, then SRV and TXT of the instance.
    fn answer(port: u16) -> Vec<u8> {
        let mut message = mdns_question();
        message[2] = 0x84;
        message[7] = 1;
        message[11] = 1;
        message.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 10, 0, 7, 4]);
        message.extend(*b"bmc1");
        message.extend([0xc0, 12]);
        let instance = u8::try_from(message.len() - 7).unwrap();
        message.extend([0xc0, instance, 0, 33, 0x80, 1, 0, 0, 0, 10, 0, 8, 0, 0, 0, 0]);
        message.extend(port.to_be_bytes());
        message.extend([0xc0, 12]);
        message
    }

    #[test]
    fn an_mdns_answer_tells_the_port() {
        assert_eq!(mdns_answer(FROM, &answer(443)).as_deref(), Some("https://10.78.0.11"));
        assert_eq!(mdns_answer(FROM, &answer(8443)).as_deref(), Some("https://10.78.0.11:8443"));
        assert_eq!(mdns_answer(FROM, &mdns_question()), None, "a question");
        let mut other = answer(443);
        for at in 0..other.len() {
            if other[at..].starts_with(b"_redfish") {
                other[at + 1] = b'R';
                assert!(mdns_answer(FROM, &other).is_some(), "names know no case");
                other[at + 1] = b'x';
            }
        }
        assert_eq!(mdns_answer(FROM, &other), None);
    }

    #[test]
    fn cuts_lies_and_loops_are_survived() {
        let whole = [answer(443), reply("https://10.78.0.11/", SERVICE)];
        for message in &whole {
            for at in 0..message.len() {
                for byte in [0, 0x3f, 0xc0, 0xff] {
                    let mut wrong = message.clone();
                    wrong[at] = byte;
                    let _ = (mdns_answer(FROM, &wrong), ssdp_answer(FROM, &wrong));
                    let _ = (mdns_answer(FROM, &message[..at]), ssdp_answer(FROM, &message[..at]));
                }
            }
        }
        // A name that points at itself, and one that points at where it points from.
        for pointer in [[0xc0, 12], [0xc0, 14]] {
            let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            message.extend(pointer);
            message.extend([0xc0, 12, 0, 0]);
            assert_eq!(mdns_answer(FROM, &message), None);
        }
    }
}
