//! The packet loop: a batch in, one wait for the disk, a batch out.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use appliance_model::Ticket;
use pxe_policy::Reply;
use tokio::net::UdpSocket;

use crate::{
    codec::{Destination, Packet, Surroundings, decode},
    config::Config,
    events::What,
    handle::{Shared, count},
};

/// Packets answered with one fsync: at 0.2 ms an fsync this is 300,000 packets a second, more than one core parses.
const BATCH_MAX: usize = 64;
/// No DHCP packet on Ethernet is longer than a frame.
const PACKET_BYTES_MAX: usize = 1500;
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

struct Answer {
    packet: Packet,
    from: SocketAddr,
    reply: Reply,
}

/// Answers until the socket fails.
pub(crate) async fn run(
    socket: UdpSocket,
    config: &Config,
    boot_base: &str,
    shared: &Shared,
) -> io::Result<()> {
    let around = Surroundings { config, boot_base };
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let mut batch = Vec::new();
        let (length, from) = receive(&socket, &mut buffer).await?;
        batch.extend(accept(&buffer[..length], from, config, shared));
        while batch.len() < BATCH_MAX
            && let Ok((length, from)) = socket.try_recv_from(&mut buffer)
        {
            batch.extend(accept(&buffer[..length], from, config, shared));
        }
        let (answers, pending) = decide(batch, shared)?;
        if pending.durable().await.is_err() {
            // The writer logged the cause.  Clients repeat themselves; the disk may be back by then.
            continue;
        }
        for answer in answers {
            send(&socket, answer, &around, shared).await;
        }
    }
}

/// An ICMP error about an earlier reply is not ours to die of.
async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            other => return other,
        }
    }
}

fn accept(bytes: &[u8], from: SocketAddr, config: &Config, shared: &Shared) -> Option<(Packet, SocketAddr)> {
    let packet = match decode(bytes) {
        Ok(packet) => packet,
        Err(odd) => {
            count(&shared.tally.odd_packets);
            tracing::debug!(%from, odd, "packet ignored");
            return None;
        }
    };
    // Only relays the site names: else anybody could have our replies sent wherever they like.
    if let Some(relay) = packet.request.relay
        && (!config.relays.contains(&relay) || from.ip() != relay)
    {
        count(&shared.tally.foreign_relays);
        return None;
    }
    Some((packet, from))
}

/// Decides the batch under one lock and queues its changes in the same order.
fn decide(
    batch: Vec<(Packet, SocketAddr)>,
    shared: &Shared,
) -> io::Result<(Vec<Answer>, crate::journal::Pending)> {
    let now = shared.clock.now();
    let mut entropy = vec![[0u8; 16]; batch.len()];
    for bytes in &mut entropy {
        getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))?;
    }
    let mut desk = shared.desk();
    let mut changes = Vec::new();
    let answers = batch
        .into_iter()
        .zip(entropy)
        .map(|((packet, from), fresh)| {
            let outcome = desk.answer(&packet.request, Ticket(fresh), now);
            changes.extend(outcome.changes);
            Answer { packet, from, reply: outcome.reply }
        })
        .collect();
    Ok((answers, shared.journal.queue(changes)))
}

async fn send(socket: &UdpSocket, answer: Answer, around: &Surroundings<'_>, shared: &Shared) {
    let Answer { packet, from, reply } = answer;
    let mac = packet.request.mac;
    let (bytes, nak, what) = match reply {
        Reply::Silence { why } => return shared.tell(mac, What::Unanswered { why }),
        Reply::Refuse { why } => (packet.refuse(why, around.config), true, What::Refused { why }),
        Reply::Give(give) => {
            let why = give.why;
            let address = give.lease.map(|(address, _)| address);
            let what = match (give.kind, address) {
                (pxe_policy::GiveKind::Offer, Some(address)) => What::Offered { address, why },
                (pxe_policy::GiveKind::Offer | pxe_policy::GiveKind::Ack, address) => {
                    What::Confirmed { address, why }
                }
            };
            (packet.give(&give, around), false, what)
        }
    };
    let to = match packet.destination(nak) {
        // A relay listens on the server port; one that sent from another (tests) hears us there.
        Destination::Relay(relay) => {
            let port = if around.config.dhcp_port == SERVER_PORT { SERVER_PORT } else { from.port() };
            SocketAddr::from((relay, port))
        }
        Destination::Client(address) => SocketAddr::from((address, CLIENT_PORT)),
        Destination::Everybody => SocketAddr::from((Ipv4Addr::BROADCAST, CLIENT_PORT)),
    };
    let sent = match bytes {
        Some(bytes) => socket.send_to(&bytes, to).await.map(|_| ()),
        None => Err(io::Error::other("the reply does not fit a packet")),
    };
    match sent {
        Ok(()) => shared.tell(mac, what),
        Err(error) => {
            count(&shared.tally.unsent);
            tracing::warn!(%mac, %to, %error, "DHCP reply not sent");
        }
    }
}
