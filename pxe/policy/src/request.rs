//! What a machine asked, as far as it matters here.

use std::net::Ipv4Addr;

use appliance_model::Mac;

/// The DHCP message types a server has to know (RFC 2132, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Looks for a server.
    Discover,
    /// Takes an offer, checks an old lease, or renews.
    Request,
    /// Found the address in use.
    Decline,
    /// Gives the address back.
    Release,
    /// Has an address, wants the options.
    Inform,
}

/// A DHCP request, taken out of its packet.  Nothing in it is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRequest {
    /// Message type.
    pub kind: Kind,
    /// Hardware address of the asking port (`chaddr`); the key of everything here.
    pub mac: Mac,
    /// Option 60, for example `HTTPClient:Arch:00016:UNDI:003001`.
    pub vendor_class: Option<String>,
    /// Option 77.
    pub user_class: Option<String>,
    /// Option 93, RFC 4578 and the IANA list: 16 is x64 by HTTP, 19 is arm64 by HTTP, 7 is x64 by PXE.
    pub arch: Option<u16>,
    /// Option 97 without its type byte.
    pub uuid: Option<[u8; 16]>,
    /// Option 61.  Not a key: firmware and operating system of one machine send different ones, and the machine
    /// should keep its address from one to the other.
    pub client_id: Option<Vec<u8>>,
    /// `giaddr`: the relay the request came through.
    pub relay: Option<Ipv4Addr>,
    /// Option 54: the server the client talks to.
    pub server: Option<Ipv4Addr>,
    /// Option 50: the address the client would like.
    pub requested: Option<Ipv4Addr>,
    /// `ciaddr`: the address the client says it has.
    pub current: Option<Ipv4Addr>,
}

impl BootRequest {
    /// A request that says nothing beyond its type and MAC.
    #[must_use]
    pub fn new(kind: Kind, mac: Mac) -> Self {
        Self {
            kind,
            mac,
            vendor_class: None,
            user_class: None,
            arch: None,
            uuid: None,
            client_id: None,
            relay: None,
            server: None,
            requested: None,
            current: None,
        }
    }
}

/// Who is asking, by what it says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// UEFI HTTP boot; the architecture it asks an image for.
    HttpBoot(Option<u16>),
    /// PXE firmware (or iPXE acting as such).
    Pxe(Option<u16>),
    /// Our own agent, running already.
    Agent,
    /// An operating system, a printer, anything.
    Other,
}

impl Client {
    /// Reads options 60 and 93.  Where option 93 is missing, the number inside option 60 counts.
    #[must_use]
    pub fn of(request: &BootRequest) -> Self {
        let class = request.vendor_class.as_deref().unwrap_or("");
        let arch = request.arch.or_else(|| arch_in_class(class));
        if class == "HTTPClient" || class.starts_with("HTTPClient:") {
            Self::HttpBoot(arch)
        } else if class == "PXEClient" || class.starts_with("PXEClient:") {
            Self::Pxe(arch)
        } else if class == "scalerforge-agent" {
            Self::Agent
        } else {
            Self::Other
        }
    }
}

/// `HTTPClient:Arch:00016:UNDI:003001` → 16 (UEFI 2.10, table 24.4).
fn arch_in_class(class: &str) -> Option<u16> {
    let mut parts = class.split(':').skip_while(|part| *part != "Arch");
    parts.next()?;
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_their_words() {
        let rows: [(&str, Option<u16>, Client); 8] = [
            ("HTTPClient:Arch:00016:UNDI:003001", Some(16), Client::HttpBoot(Some(16))),
            ("HTTPClient:Arch:00019:UNDI:003001", None, Client::HttpBoot(Some(19))),
            ("HTTPClient", None, Client::HttpBoot(None)),
            ("HTTPClient:Arch:9999999", None, Client::HttpBoot(None)),
            ("PXEClient:Arch:00007:UNDI:003001", Some(7), Client::Pxe(Some(7))),
            ("scalerforge-agent", None, Client::Agent),
            ("HTTPClientele", Some(16), Client::Other),
            ("", Some(16), Client::Other),
        ];
        for (class, arch, expected) in rows {
            let request = BootRequest {
                vendor_class: Some(class.into()),
                arch,
                ..BootRequest::new(Kind::Discover, Mac([2; 6]))
            };
            assert_eq!(Client::of(&request), expected, "{class:?} {arch:?}");
        }
    }
}
