//! Listens for what is at the other end of each cable.
//!
//! Switches speak every 30 seconds (IEEE 802.1AB's default), so that whoever wants to know must wait as long; the wait
//! ends early when every port with a link was heard.  Nothing is sent.

use std::{
    collections::BTreeMap,
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use appliance_model::inventory::{Inventory, Neighbour, Nic};

use crate::lldp::{ETHERTYPE, parse};

/// One round of a switch that keeps the standard's interval, and a little.
pub const ROUND: Duration = Duration::from_secs(32);

/// More devices than can be at the end of one cable, with a hub in between.
const NEIGHBOURS_MAX: usize = 16;

/// The largest frame of the protocol, which is not sent in jumbo frames.
const FRAME_BYTES_MAX: usize = 2048;

/// The nearest bridge, the group that a switch does not forward; and the two others of the standard.
const GROUPS: [[u8; 6]; 3] =
    [[0x01, 0x80, 0xc2, 0, 0, 0x0e], [0x01, 0x80, 0xc2, 0, 0, 0x03], [0x01, 0x80, 0xc2, 0, 0, 0x00]];

/// What was heard, port by port, or why nothing could be.
#[derive(Debug, Default)]
pub struct Heard {
    neighbours: BTreeMap<String, Vec<Neighbour>>,
    gaps: Vec<String>,
}

impl Heard {
    /// Writes it into the inventory whose ports were listened on.
    pub fn tell(self, inventory: &mut Inventory) {
        for nic in &mut inventory.nics {
            let name = nic.name.as_deref().unwrap_or_default();
            nic.neighbours = self.neighbours.get(name).cloned().unwrap_or_default();
        }
        if !self.neighbours.is_empty() {
            inventory.sources.insert("neighbours".into(), "LLDP".into());
        }
        inventory.gaps.extend(self.gaps);
    }
}

/// Whether a switch can be at the other end of a cable: the other end of a guest's port is its host.
#[must_use]
pub fn is_worth_it(inventory: &Inventory) -> bool {
    const PARAVIRTUAL: [&str; 4] = ["virtio_net", "hv_netvsc", "vmxnet3", "xen_netfront"];
    let paravirtual = |driver: &Option<String>| driver.as_deref().is_some_and(|d| PARAVIRTUAL.contains(&d));
    let linked = |nic: &Nic| nic.link_up == Some(true) && !paravirtual(&nic.driver);
    inventory.system.hypervisor.is_none() && inventory.nics.iter().any(linked)
}

/// Listens on the inventory's ports with a link for up to `wait`.
pub fn listen(inventory: &Inventory, wait: Duration) -> Heard {
    let mut heard = Heard::default();
    let linked = inventory.nics.iter().filter(|nic| nic.link_up == Some(true));
    let ports: BTreeMap<i32, (String, String)> = linked
        .filter_map(|nic| {
            let name = nic.name.clone()?;
            let driver = nic.driver.clone().unwrap_or_default();
            Some((index(&name)?, (name, driver)))
        })
        .collect();
    if ports.is_empty() {
        return heard;
    }
    let result = socket().and_then(|socket| {
        for port in ports.keys() {
            join(&socket, *port)?;
        }
        collect(&socket, &ports, wait, &mut heard.neighbours)
    });
    match result {
        Ok(()) => {
            for (name, driver) in ports.values().filter(|(name, _)| !heard.neighbours.contains_key(name)) {
                let hint = match driver.as_str() {
                    // Their firmware has an agent of its own, on by default.
                    "i40e" | "ice" => "; this card's firmware may keep such frames to itself (`disable-fw-lldp`)",
                    _ => "",
                };
                let seconds = wait.as_secs();
                heard.gaps.push(format!("port {name}: no switch told its name (LLDP) in {seconds} s{hint}"));
            }
        }
        Err(error) => heard.gaps.push(format!(
            "the switches at the other end of the cables are not known: listening for LLDP needs the right to open a \
             packet socket: {error}"
        )),
    }
    heard
}

#[expect(clippy::disallowed_methods, reason = "a wait is measured here")]
fn collect(
    socket: &OwnedFd,
    ports: &BTreeMap<i32, (String, String)>,
    wait: Duration,
    into: &mut BTreeMap<String, Vec<Neighbour>>,
) -> io::Result<()> {
    let begin = Instant::now();
    while let Some(left) = wait.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        if into.len() == ports.len() {
            return Ok(());
        }
        let Some((port, frame)) = receive(socket, left)? else { continue };
        if let (Some((name, _)), Some(neighbour)) = (ports.get(&port), parse(&frame)) {
            let known = into.entry(name.clone()).or_default();
            if known.len() < NEIGHBOURS_MAX && !known.contains(&neighbour) {
                known.push(neighbour);
            }
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "a call with a text")]
fn index(name: &str) -> Option<i32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the text ends with a zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    i32::try_from(index).ok().filter(|index| *index != 0)
}

#[expect(unsafe_code, reason = "a packet socket")]
fn socket() -> io::Result<OwnedFd> {
    let protocol = libc::c_int::from(ETHERTYPE.to_be());
    // SAFETY: no pointer is passed; the descriptor that comes back is nobody else's.
    unsafe {
        match libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Cards filter groups that nobody has joined.
#[expect(unsafe_code, reason = "socket options with a structure")]
fn join(socket: &OwnedFd, port: i32) -> io::Result<()> {
    for group in GROUPS {
        let mut address = [0_u8; 8];
        address[..6].copy_from_slice(&group);
        let request = libc::packet_mreq {
            mr_ifindex: port,
            mr_type: libc::c_ushort::try_from(libc::PACKET_MR_MULTICAST).unwrap_or_default(),
            mr_alen: 6,
            mr_address: address,
        };
        let bytes = libc::socklen_t::try_from(mem::size_of_val(&request)).unwrap_or_default();
        // SAFETY: the pointer is to a structure of the length given, which outlives the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                bytes,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The next frame and the port it came in by; `None` when none came, or one of our own went out.
#[expect(unsafe_code, reason = "poll and recvfrom")]
fn receive(socket: &OwnedFd, wait: Duration) -> io::Result<Option<(i32, Vec<u8>)>> {
    let mut ready = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = libc::c_int::try_from(wait.as_millis()).unwrap_or(libc::c_int::MAX).max(1);
    // SAFETY: one structure, which outlives the call.
    match unsafe { libc::poll(&raw mut ready, 1, milliseconds) } {
        0 => return Ok(None),
        -1 => {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(None) } else { Err(error) };
        }
        _ => {}
    }
    let mut frame = vec![0_u8; FRAME_BYTES_MAX];
    // SAFETY: zeros are a value of this structure of numbers.
    let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut from_bytes = libc::socklen_t::try_from(mem::size_of_val(&from)).unwrap_or_default();
    // SAFETY: the frame's and the address's pointers are to as many bytes as the lengths say, and outlive the call.
    let bytes = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            frame.as_mut_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            (&raw mut from).cast(),
            &raw mut from_bytes,
        )
    };
    match usize::try_from(bytes) {
        Ok(bytes) => frame.truncate(bytes),
        Err(_) => {
            let error = io::Error::last_os_error();
            // A port that goes down says so once.
            let passing = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENETDOWN | libc::EINTR));
            return if passing { Ok(None) } else { Err(error) };
        }
    }
    Ok((from.sll_pkttype != libc::PACKET_OUTGOING).then_some((from.sll_ifindex, frame)))
}
