//! How far away a place is: the time that a TCP connection to it takes, which is one round trip.

use std::{net::SocketAddr, time::Duration};

use socket2::Type;

use super::socket;
use crate::watch::now;

/// Connections to one place: the shortest is the distance, the others met queues.
const TRIES: u32 = 5;
/// The other side of the earth is 0.3 s away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Microseconds to a place, from an address of ours, by one interface.
///
/// # Errors
/// When it takes no connection, in a technician's words.
pub fn distance(from: SocketAddr, to: SocketAddr, interface: Option<&str>) -> Result<u64, String> {
    let mut shortest: Option<Duration> = None;
    for _ in 0..TRIES {
        let connect = || {
            let socket = socket(from, Type::STREAM, interface)?;
            let mut free = from;
            free.set_port(0);
            socket.bind(&free.into())?;
            let begin = now();
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok::<_, std::io::Error>(begin.elapsed())
        };
        let took = connect().map_err(|error| format!("no connection to {to}: {error}"))?;
        shortest = Some(shortest.map_or(took, |known| known.min(took)));
    }
    let micros = shortest.map_or(0, |time| time.as_micros());
    Ok(u64::try_from(micros).unwrap_or(u64::MAX))
}
