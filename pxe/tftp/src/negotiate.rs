//! What a client asked for and what it gets.

use std::{net::IpAddr, time::Duration};

use pxe_wire::tftp::{BLOCK_BYTES_DEFAULT, BLOCK_BYTES_MIN, DATA_HEADER_BYTES, Options};

use crate::Limits;

/// Longest wait before sending again that a client can ask for: it may ask for 255 s, and then one lost packet costs
/// more than its firmware's patience.
const TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// RFC 1123 section 4.2.3.1 wants the wait to adapt; this is where it starts.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// How a transfer is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The options of the OACK; without any, none is sent.
    pub(crate) granted: Options,
    /// Bytes of the file.
    pub(crate) file_bytes: u64,
    pub(crate) block_bytes: u16,
    pub(crate) window_blocks: u16,
    /// The wait before sending again, until the round trip is known.
    pub(crate) timeout: Duration,
}

/// Grants what the limits allow.
pub(crate) fn terms(asked: &Options, file_bytes: u64, block_bytes_max: u16, limits: &Limits) -> Terms {
    let granted = Options {
        block_bytes: asked.block_bytes.map(|bytes| bytes.min(block_bytes_max)),
        timeout_seconds: asked.timeout_seconds,
        file_bytes: asked.file_bytes.map(|_| file_bytes),
        window_blocks: asked.window_blocks.map(|blocks| blocks.min(limits.window_blocks_max.max(1))),
    };
    let timeout =
        asked.timeout_seconds.map_or(TIMEOUT_DEFAULT, |seconds| Duration::from_secs(seconds.into()));
    Terms {
        granted,
        file_bytes,
        block_bytes: granted.block_bytes.unwrap_or(BLOCK_BYTES_DEFAULT),
        window_blocks: granted.window_blocks.unwrap_or(1),
        timeout: timeout.min(TIMEOUT_MAX),
    }
}

/// The largest block that one unfragmented IP packet of `mtu` bytes carries to `client`.
pub(crate) fn block_bytes_for(mtu: u16, client: IpAddr) -> u16 {
    let ip_and_udp = match client {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    };
    let header = u16::try_from(DATA_HEADER_BYTES).unwrap_or(u16::MAX);
    mtu.saturating_sub(ip_and_udp).saturating_sub(header).max(BLOCK_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_the_path() {
        for (mtu, client, want) in [
            (1500, "10.0.0.1", 1468),
            (1500, "fd00::1", 1448),
            (9000, "10.0.0.1", 8968),
            (1400, "10.0.0.1", 1368),
            (0, "10.0.0.1", 8),
        ] {
            assert_eq!(block_bytes_for(mtu, client.parse().unwrap()), want, "{mtu} {client}");
        }
    }

    #[test]
    fn grants_are_never_more_than_asked() {
        let limits = Limits::default();
        let ask = |block_bytes, window_blocks, file_bytes, timeout_seconds| Options {
            block_bytes,
            timeout_seconds,
            file_bytes,
            window_blocks,
        };
        for (asked, granted, block, window, timeout_s) in [
            (ask(None, None, None, None), ask(None, None, None, None), 512, 1, 1),
            (ask(Some(1024), None, Some(0), None), ask(Some(1024), None, Some(77), None), 1024, 1, 1),
            (ask(Some(65_464), Some(65_535), None, None), ask(Some(1468), Some(64), None, None), 1468, 64, 1),
            (ask(None, Some(4), None, Some(3)), ask(None, Some(4), None, Some(3)), 512, 4, 3),
            (ask(None, None, None, Some(255)), ask(None, None, None, Some(255)), 512, 1, 5),
        ] {
            let terms = terms(&asked, 77, 1468, &limits);
            assert_eq!(terms.granted, granted, "{asked:?}");
            assert_eq!((terms.block_bytes, terms.window_blocks), (block, window), "{asked:?}");
            assert_eq!(terms.timeout, Duration::from_secs(timeout_s), "{asked:?}");
        }
    }
}
