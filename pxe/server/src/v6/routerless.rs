//! A LAN without IPv6: machines that boot from us and look for a router are told at once that there is none.
//!
//! The answer is an advertisement to that one machine, of somebody who is no router and knows no prefix.  It is sent only
//! after we have asked for routers ourselves in vain, and no more once anybody else was heard (`pxe_policy::Routers`).

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd as _, RawFd},
    time::{Duration, Instant},
};

use appliance_model::Mac;
use pxe_policy::Routers;
use pxe_wire::ra::{self, Advertisement, Heard};
use socket2::Socket;

use super::sockets::{ALL_ROUTERS, icmp, link_local, number, receive};
use crate::shared::Shared;

/// How often we ask for routers: at first thrice, quickly, then in this time.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_AT_FIRST: Duration = Duration::from_millis(1500);
const ASK_TIMES: u32 = 3;
/// Messages read before others get their turn; what is not read is lost in a flood, and asked again.
const BATCH_MAX: usize = 64;
/// Longer than any message on Ethernet.
const BUFFER_BYTES: usize = 2048;

/// One interface's ears for ICMPv6.
#[derive(Debug)]
pub(crate) struct Routerless {
    socket: Socket,
    index: u32,
    routers: Routers,
    asked: Option<Instant>,
    times: u32,
}

impl Routerless {
    /// Needs CAP_NET_RAW, and a kernel with IPv6.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let index = number(interface)?;
        let socket = icmp(interface, index)?;
        Ok(Self { socket, index, routers: Routers::default(), asked: None, times: 0 })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Everything that time and other machines bring.
    #[expect(clippy::disallowed_methods, reason = "measures how long ago something was asked")]
    pub(crate) fn tick(&mut self, shared: &Shared) -> io::Result<()> {
        self.ask(shared, Instant::now());
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..BATCH_MAX {
            let Some(arrived) = receive(&self.socket, &mut buffer)? else { break };
            let from = *arrived.from.ip();
            let now = shared.clock.now();
            match ra::read(buffer.get(..arrived.length).unwrap_or_default(), arrived.hop_limit) {
                Some(Heard::Advertisement(_)) if from.is_unicast_link_local() => self.routers.heard(now),
                Some(Heard::Solicitation(mac)) if from.is_unicast_link_local() => {
                    if self.routers.absent(now) && shared.desk().boots6(from, mac.map(Mac), now) {
                        self.tell(from);
                    }
                }
                Some(Heard::Advertisement(_) | Heard::Solicitation(_)) | None => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, shared: &Shared, instant: Instant) {
        let pause = if self.times < ASK_TIMES { ASK_AT_FIRST } else { ASK_EVERY };
        if self.asked.is_some_and(|asked| instant.saturating_duration_since(asked) < pause) {
            return;
        }
        self.asked = Some(instant);
        let to = SocketAddrV6::new(ALL_ROUTERS, 0, 0, self.index);
        let asked = link_local(self.index).map(|_| self.socket.send_to(&ra::solicitation(None), &to.into()));
        match asked {
            Some(Ok(_)) => {
                self.times = self.times.saturating_add(1);
                self.routers.asked(shared.clock.now());
            }
            // The cable is out, or the address is new and tentative: from the start, when we can.
            Some(Err(_)) | None => {
                self.times = 0;
                self.routers.cut_off();
            }
        }
    }

    fn tell(&self, machine: Ipv6Addr) {
        let to = SocketAddrV6::new(machine, 0, 0, self.index);
        if let Err(error) = self.socket.send_to(&Advertisement::default().write(), &to.into()) {
            tracing::debug!(%error, %machine, "could not tell it that there is no IPv6 router");
        }
    }
}
