//! Addresses to which large packets did not go through.
//!
//! A router that drops what is too long and says nothing leaves both ends believing in 1,500 bytes.  Block size is
//! agreed once for a transfer, so what was learnt helps the next one, which firmware starts within seconds.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

/// Addresses remembered; the oldest is forgotten.
const PATHS_MAX: usize = 1024;
/// Data bytes in a block that pass everywhere: IPv6's least MTU, 1,280 bytes, less tunnel, IP, UDP and TFTP headers.
pub(crate) const SMALL_BLOCK_BYTES: u16 = 1024;

/// What was learnt.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    small: HashMap<IpAddr, u16>,
    order: VecDeque<IpAddr>,
}

impl Paths {
    /// Full blocks of `block_bytes` did not arrive at `client`.  Returns what it gets from now on.
    pub(crate) fn too_large(&mut self, client: IpAddr, block_bytes: u16) -> u16 {
        // Blocks that small were not lost for their size; half of them costs little if they were.
        let next =
            if block_bytes > SMALL_BLOCK_BYTES { SMALL_BLOCK_BYTES } else { (block_bytes / 2).max(512) };
        if self.small.insert(client, next).is_none() {
            self.order.push_back(client);
        }
        if self.order.len() > PATHS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.small.remove(&oldest);
        }
        next
    }

    /// The largest block for this address, if it was learnt.
    pub(crate) fn block_bytes_max(&self, client: IpAddr) -> Option<u16> {
        self.small.get(&client).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_forgets() {
        let mut paths = Paths::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert_eq!(paths.too_large(address(0), 1468), 1024);
        assert_eq!(paths.too_large(address(0), 1024), 512);
        assert_eq!(paths.block_bytes_max(address(0)), Some(512));
        for n in 1..=1024 {
            paths.too_large(address(n), 1468);
        }
        assert_eq!(paths.block_bytes_max(address(0)), None);
        assert_eq!((paths.small.len(), paths.order.len()), (1024, 1024));
    }
}
