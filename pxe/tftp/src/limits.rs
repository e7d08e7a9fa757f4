//! What the server gives at most.

/// Limits, each with a default that suits a rack behind one appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transfers at once.
    pub transfers_max: usize,
    /// Transfers of one address at once.  Firmware asks for the size first and then for the file, from two ports.
    pub transfers_per_client_max: usize,
    /// Transfers at once whose client has not answered yet.  Beyond it the oldest makes room: in a flood of forged
    /// requests a real client, which answers within a round trip, still gets through.
    pub unanswered_max: usize,
    /// Largest window granted, blocks (RFC 7440).
    pub window_blocks_max: u16,
    /// Largest block granted, data bytes, whatever the path would take.
    pub block_bytes_max: u16,
    /// Bytes of an IP packet that the provisioning network takes; `None`: what the kernel says of the way to each client.
    pub mtu_bytes: Option<u16>,
    /// Ports that answers come from.
    pub answer_ports: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transfers_max: 8192,
            transfers_per_client_max: 32,
            unanswered_max: 1024,
            // 94 kB in flight at blocks of 1,468 bytes: more overruns the receive rings of boot firmware.
            window_blocks_max: 64,
            block_bytes_max: pxe_wire::tftp::BLOCK_BYTES_MAX,
            mtu_bytes: None,
            answer_ports: 16,
        }
    }
}
