//! Refuses every TFTP read at once.  PXE firmware that is told "no such file" goes on to its next boot entry, HTTP
//! boot, within a second; one that hears nothing asks for two minutes.

use std::{io, net::SocketAddr};

use tokio::net::UdpSocket;

use crate::{
    config::Config,
    handle::{Shared, count},
};

/// ERROR, code 1 "file not found" (RFC 1350, appendix I).  Shorter than most requests: no use to an amplifier.
const REFUSAL: &[u8] = b"\0\x05\0\x01use HTTP boot\0";
/// RFC 1350 packets.
const PACKET_BYTES_MAX: usize = 600;

/// Refuses until the socket fails.
pub(crate) async fn run(socket: UdpSocket, config: &Config, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let asks = matches!(buffer.get(..length), Some([0, 1 | 2, ..]));
        let near = match from {
            SocketAddr::V4(v4) => config.subnet.contains(*v4.ip()),
            SocketAddr::V6(_) => false,
        };
        if asks && near {
            count(&shared.tally.refused_tftp);
            if let Err(error) = socket.send_to(REFUSAL, from).await {
                tracing::debug!(%from, %error, "TFTP refusal not sent");
            }
        }
    }
}
