//! What the ends tell each other: messages of one size, each sent by both before either reads the other's.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

const VALUES: usize = 4;
const BYTES: usize = 1 + VALUES * 8;

/// Where in a match the ends are.  They are there together or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Seconds, streams, own MTU.
    Begin,
    /// The datagrams' way is known.
    Probe,
    /// The largest packet is known: its bytes.
    Datagrams,
    /// Datagrams sent: no more come.
    Sent,
    /// Datagrams received.
    Received,
    /// Streams begin.
    Streams,
    /// Bytes a second alone, and while both sent; bytes that were wrong.
    Done,
}

impl Step {
    fn byte(self) -> u8 {
        match self {
            Self::Begin => 1,
            Self::Probe => 2,
            Self::Datagrams => 3,
            Self::Sent => 4,
            Self::Received => 5,
            Self::Streams => 6,
            Self::Done => 7,
        }
    }
}

/// The connection on which they tell it.
#[derive(Debug)]
pub(super) struct Control(TcpStream);

impl Control {
    pub(super) fn new(stream: TcpStream) -> Result<Self, String> {
        stream.set_nodelay(true).map_err(|error| format!("the connection to the partner: {error}"))?;
        Ok(Self(stream))
    }

    /// Tells the partner and hears it, however late it is within `patience`.
    pub(super) fn exchange(
        &mut self,
        step: Step,
        values: [u64; VALUES],
        patience: Duration,
    ) -> Result<[u64; VALUES], String> {
        let failed = |error: std::io::Error| format!("the partner left at step {step:?}: {error}");
        self.0.set_read_timeout(Some(patience)).map_err(failed)?;
        let mut ours = vec![step.byte()];
        ours.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        self.0.write_all(&ours).map_err(failed)?;
        let mut theirs = [0_u8; BYTES];
        self.0.read_exact(&mut theirs).map_err(failed)?;
        let (told, rest) = theirs.split_at(1);
        if told != [step.byte()] {
            return Err(format!("the partner is not at step {step:?}, as we are: is it of another version?"));
        }
        let (mut values, (chunks, _)) = ([0; VALUES], rest.as_chunks::<8>());
        values.iter_mut().zip(chunks).for_each(|(value, bytes)| *value = u64::from_be_bytes(*bytes));
        Ok(values)
    }
}
