//! Control messages (`cmsg(3)`) as bytes: a header of length, level and type, data, padding to the word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for one message of a kind: 64 bytes for what we send, more for what the kernel adds to ICMP errors.
pub(super) const WORDS: usize = 24;
const WORD: usize = size_of::<usize>();
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Control messages to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    words: [usize; WORDS],
    /// Bytes in use.
    length: usize,
}

impl Control {
    pub(super) const EMPTY: Self = Self { words: [0; WORDS], length: 0 };

    /// `UDP_SEGMENT`: cut into datagrams of this size.
    pub(super) fn segment(&mut self, bytes: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
    }

    /// From this address of ours.
    pub(super) fn source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(v4) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&v4.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(v6) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&v6.octets());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let mut bytes = (HEADER + data.len()).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&level.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(WORD), 0);
        let at = self.length / WORD;
        for (word, bytes) in self.words.iter_mut().skip(at).zip(bytes.as_chunks::<WORD>().0) {
            *word = usize::from_ne_bytes(*bytes);
        }
        self.length += bytes.len();
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn pointer(&mut self) -> *mut libc::c_void {
        self.words.as_mut_ptr().cast()
    }
}

/// What the kernel said with a received packet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// Our address that the packet was sent to.
    pub(crate) local: Option<IpAddr>,
    /// The packet came to a broadcast or multicast address.
    pub(crate) many: bool,
    /// The error that an ICMP message means.
    pub(crate) errno: Option<i32>,
}

/// Reads the control messages in `words`, of which `length` bytes are used.
pub(super) fn read(words: &[usize], length: usize) -> Said {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).take(length).collect();
    let mut rest = bytes.as_slice();
    let mut said = Said::default();
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let (length, kind) = header.split_at(WORD);
        let length = length.try_into().map_or(0, usize::from_ne_bytes);
        let Some(data) = rest.get(HEADER..length) else { break };
        note(&mut said, kind, data);
        rest = rest.get(length.next_multiple_of(WORD)..).unwrap_or_default();
    }
    said
}

fn note(said: &mut Said, kind: &[u8], data: &[u8]) {
    let is = |level: i32, option: i32| kind == [level.to_ne_bytes(), option.to_ne_bytes()].as_flattened();
    if is(libc::IPPROTO_IP, libc::IP_PKTINFO) {
        // struct in_pktinfo: interface, our address, the packet's target.
        if let Some([ours, target]) = data.get(4..12).map(|info| info.as_chunks::<4>().0).and_then(two) {
            said.local = Some(Ipv4Addr::from(ours).into());
            said.many = ours != target;
        }
    } else if is(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
        if let Some(target) = data.first_chunk::<16>() {
            let target = Ipv6Addr::from(*target);
            said.local = Some(target.into());
            said.many = target.is_multicast();
        }
    } else if is(libc::IPPROTO_IP, libc::IP_RECVERR) || is(libc::IPPROTO_IPV6, libc::IPV6_RECVERR) {
        // struct sock_extended_err begins with the error's number.
        said.errno = data.first_chunk::<4>().map(|number| i32::from_ne_bytes(*number));
    }
}

fn two(chunks: &[[u8; 4]]) -> Option<[[u8; 4]; 2]> {
    chunks.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut control = Control::EMPTY;
        control.segment(1472);
        control.source("10.1.2.3".parse().unwrap());
        assert_eq!(control.length(), 24 + 32);
        let said = read(&control.words, control.length());
        // A packet to send has no target, which differs from our address: nobody asks.
        assert_eq!(said.local, Some("10.1.2.3".parse().unwrap()));
        let mut control = Control::EMPTY;
        control.source("fe80::1".parse().unwrap());
        assert_eq!(read(&control.words, control.length()).local, Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn nonsense_ends() {
        for words in [[0; WORDS], [usize::MAX; WORDS], [17; WORDS]] {
            assert_eq!(read(&words, WORDS * WORD), Said::default());
        }
        assert_eq!(read(&[], 0), Said::default());
    }
}
