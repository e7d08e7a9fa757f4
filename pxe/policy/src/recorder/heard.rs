//! What one recorded datagram says, as far as a rule or a person wants to know.

use std::{fmt, net::Ipv4Addr};

use pxe_wire::dhcp4::{Message, code};

use super::{
    Frame, Seen,
    heard6::{self, Dhcp6},
};

/// DHCP's server port; TFTP's and PXE's are the other two a server listens on.
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
pub(super) const PXE: u16 = 4011;
const TFTP: u16 = 69;

/// DHCP message types (RFC 2132, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
    /// Not one of these, or none at all.
    Odd,
}

/// A DHCP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dhcp {
    pub(super) kind: Kind,
    /// Whether it is a server's.
    pub(super) reply: bool,
    pub(super) xid: u32,
    /// `ciaddr`: the client has this address.
    pub(super) current: Option<Ipv4Addr>,
    /// `yiaddr`.
    pub(super) given: Option<Ipv4Addr>,
    /// `giaddr`.
    pub(super) relay: Option<Ipv4Addr>,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
    /// Option 50.
    pub(super) requested: Option<Ipv4Addr>,
    /// Option 60.
    pub(super) class: Option<String>,
    /// Option 93.
    pub(super) arch: Option<u16>,
    /// Option 67, or the `file` field.
    pub(super) file: Option<String>,
    /// Whether it says that it is iPXE (option 175, or 77).
    pub(super) ipxe: bool,
    /// To or from port 4011.
    pub(super) boot_server: bool,
}

/// What a datagram is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    Dhcp(Box<Dhcp>),
    /// DHCPv6, in words and for the rules.
    Dhcp6(String, Dhcp6),
    /// A TFTP request: read or write, and the file.
    Tftp {
        write: bool,
        file: String,
    },
    /// A TFTP error, most often the client's "I have seen enough".
    TftpError {
        code: u16,
        words: String,
    },
    Other {
        bytes: usize,
        why: String,
    },
}

/// Reads a datagram.
pub(super) fn read(frame: &Frame) -> Heard {
    let ports = [frame.source.port(), frame.target.port()];
    if ports.iter().any(|port| [DHCP_SERVER, DHCP_CLIENT, PXE].contains(port)) {
        return dhcp(frame, ports.contains(&PXE));
    }
    if ports.iter().any(|port| [546, 547].contains(port)) {
        return Heard::Dhcp6(crate::v6::words(&frame.payload), heard6::read(&frame.payload));
    }
    match frame.payload.as_slice() {
        [0, op @ (1 | 2), rest @ ..] => Heard::Tftp { write: *op == 2, file: line(first_string(rest)) },
        [0, 5, high, low, rest @ ..] => {
            Heard::TftpError { code: u16::from_be_bytes([*high, *low]), words: line(first_string(rest)) }
        }
        // A relay, or a test's, may use any port.
        other if other.len() >= 240 && !ports.contains(&TFTP) => dhcp(frame, false),
        other => Heard::Other { bytes: other.len(), why: "neither DHCP nor a TFTP request".into() },
    }
}

fn dhcp(frame: &Frame, boot_server: bool) -> Heard {
    let message = match Message::read(&frame.payload) {
        Ok(message) => message,
        Err(odd) => return Heard::Other { bytes: frame.payload.len(), why: odd.to_string() },
    };
    let options = &message.options;
    let given = |address: Ipv4Addr| (!address.is_unspecified()).then_some(address);
    let address = |code| options.fixed::<4>(code).ok().flatten().map(Ipv4Addr::from).and_then(given);
    let kind = options.fixed::<1>(code::TYPE).ok().flatten().map_or(0, |[kind]| kind);
    let file = options.text(code::FILE).unwrap_or_else(|| line(message.file));
    let arch = options.get(code::ARCH).ok().flatten();
    let ipxe_class = options.get(code::USER_CLASS).ok().flatten();
    Heard::Dhcp(Box::new(Dhcp {
        kind: match kind {
            1 => Kind::Discover,
            2 => Kind::Offer,
            3 => Kind::Request,
            4 => Kind::Decline,
            5 => Kind::Ack,
            6 => Kind::Nak,
            7 => Kind::Release,
            8 => Kind::Inform,
            _ => Kind::Odd,
        },
        reply: message.op == 2,
        xid: message.xid,
        current: given(message.ciaddr),
        given: given(message.yiaddr),
        relay: given(message.giaddr),
        server: address(code::SERVER),
        requested: address(code::REQUESTED),
        class: options.text(code::CLASS),
        arch: arch.and_then(|value| value.first_chunk().map(|pair| u16::from_be_bytes(*pair))),
        file: Some(file).filter(|file| !file.is_empty()),
        ipxe: options.get(code::IPXE).ok().flatten().is_some()
            || ipxe_class.is_some_and(|class| class.windows(4).any(|window| window == b"iPXE")),
        boot_server,
    }))
}

fn first_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// One line of printable ASCII: strangers wrote it, a terminal will show it.
fn line(bytes: &[u8]) -> String {
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    bytes.iter().take(128).map(shown).collect()
}

impl Dhcp {
    /// Whether firmware speaks that wants to boot over the network.
    pub(super) fn wants_boot(&self) -> bool {
        self.class
            .as_deref()
            .is_some_and(|class| class.starts_with("PXEClient") || class.starts_with("HTTPClient"))
    }

    /// The architecture, also where only the class tells it.
    pub(super) fn arch_or_class(&self) -> Option<u16> {
        self.arch.or_else(|| {
            let mut parts = self.class.as_deref()?.split(':').skip_while(|part| *part != "Arch");
            parts.next()?;
            parts.next()?.parse().ok()
        })
    }

    /// Who speaks, in a few words.
    fn who(&self) -> Option<String> {
        let class = self.class.as_deref()?;
        let kind = if self.ipxe {
            "iPXE"
        } else if class.starts_with("PXEClient") {
            "PXE"
        } else if class.starts_with("HTTPClient") {
            "HTTP boot"
        } else {
            return Some(format!("class {class}"));
        };
        Some(match self.arch_or_class() {
            Some(number) => format!("{kind}, {}", arch(number)),
            None => format!("{kind}, no architecture told"),
        })
    }
}

/// IANA's "Processor Architecture Types", those that servers have.
pub(super) fn arch(number: u16) -> String {
    let name = match number {
        0 => "BIOS",
        6 => "x86 UEFI",
        7 | 9 => "x64 UEFI",
        11 => "arm64 UEFI",
        15 => "x86 UEFI by HTTP",
        16 => "x64 UEFI by HTTP",
        19 => "arm64 UEFI by HTTP",
        20 => "BIOS by HTTP",
        27 => "RISC-V 64 UEFI",
        28 => "RISC-V 64 UEFI by HTTP",
        _ => return format!("architecture {number}"),
    };
    format!("{name} ({number})")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
            Self::Inform => "INFORM",
            Self::Odd => "a DHCP packet of no known type",
        })
    }
}

/// A name without the boot ticket in it: a verdict is read aloud, sent by mail and put into tickets of another kind.
pub(super) fn without_ticket(name: &str) -> String {
    let is_ticket = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split('/').map(|part| if is_ticket(part) { "…" } else { part }).collect::<Vec<_>>().join("/")
}

/// `DISCOVER (PXE, x64 UEFI (7)) through relay 10.1.0.1`.
pub(super) fn describe(frame: &Frame, heard: &Heard) -> String {
    let way = match frame.seen {
        Seen::Received => "it sent",
        Seen::Sent => "we sent",
        Seen::Overheard => "overheard:",
    };
    match heard {
        Heard::Dhcp(dhcp) => {
            let mut text = format!("{way} {}", dhcp.kind);
            let mut add = |words: String| text.push_str(&words);
            if dhcp.boot_server {
                add(" (port 4011)".into());
            }
            if dhcp.reply {
                add(format!(
                    " of {}",
                    dhcp.server.map_or_else(|| frame.source.ip().to_string(), |s| s.to_string())
                ));
                dhcp.given.into_iter().for_each(|address| add(format!(", address {address}")));
                dhcp.file.iter().for_each(|file| add(format!(", file {}", without_ticket(file))));
            } else {
                dhcp.who().into_iter().for_each(|who| add(format!(" ({who})")));
                dhcp.server.into_iter().for_each(|server| add(format!(" to server {server}")));
                dhcp.requested.into_iter().for_each(|address| add(format!(" for address {address}")));
                dhcp.current.into_iter().for_each(|address| add(format!(" from address {address}")));
            }
            dhcp.relay.into_iter().for_each(|relay| add(format!(" through relay {relay}")));
            text
        }
        Heard::Dhcp6(words, _) => format!("{way} {words}"),
        Heard::Tftp { write: false, file } => format!("{way} TFTP read of {}", without_ticket(file)),
        Heard::Tftp { write: true, file } => format!("{way} TFTP write of {}", without_ticket(file)),
        Heard::TftpError { code, words } => format!("{way} TFTP error {code}: {words}"),
        Heard::Other { bytes, why } => format!("{way} {bytes} bytes that say nothing to us: {why}"),
    }
}
