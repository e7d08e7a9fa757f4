//! Traffic classes of ports that cannot have virtual functions: the kernel's HTB (tc-htb(8)), asked by rtnetlink.
//!
//! Class `5ca1:1` and on are the units', `5ca1:ffff` is the host's and whoever's who named none; each has its share in any
//! case and the link's rest while others leave it.  What sends names its class as a packet's priority (SO_PRIORITY, or
//! `skbedit` where a guest's interface ends), so no filter looks into packets.  The discipline's number says that it is
//! ours: somebody else's is left alone, and with ours away the port is again as the kernel makes it.

use std::io;

use appliance_model::real::Classes;

use crate::netlink::{add, all, ask, attributes};

// linux/rtnetlink.h and linux/pkt_sched.h.
const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const NEW_CLASS: u16 = 40;
const GET_CLASS: u16 = 42;
const CREATE_OR_REPLACE: u16 = 0x0400 | 0x0100;
const CREATE: u16 = 0x0400 | 0x0200;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const HTB_PARAMETERS: u16 = 1;
const HTB_BEGIN: u16 = 2;
const HTB_RATE: u16 = 6;
const HTB_CEILING: u16 = 7;
/// The version of HTB's interface, since 2003.
const HTB_VERSION: u32 = 3;
const HTB: &[u8] = b"htb\0";

const ROOT: u32 = u32::MAX;
/// Ours.
const MAJOR: u32 = 0x5ca1 << 16;
/// Holds all others, so that they can borrow from one another.
const WHOLE: u32 = MAJOR | 0xfffe;
const HOST: u32 = MAJOR | 0xffff;

/// Bytes a second of one Mbit/s.
const MEGABIT: u64 = 125_000;
/// How long a class may send at once above its rate: a timer's tick at 250 Hz.
const BURST_NANOSECONDS: u32 = 4_000_000;
/// The kernel counts such times in units of 64 ns.
const TICK_NANOSECONDS: u32 = 64;
/// What a class may send before it is the next one's turn: some large frames.
const QUANTUM_BYTES: u32 = 60_000;

/// A port's root discipline.
#[derive(Debug, PartialEq, Eq)]
enum Root {
    /// The kernel's own.
    Plain,
    Ours,
    /// Somebody made it.
    Others(String),
}

/// Divides a port.  The inner error says why the port is left as it was.
pub(super) fn make(
    interface: u32,
    wanted: Classes,
    gate: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Result<(), String>> {
    let words = |error: io::Error| match error.raw_os_error() {
        Some(nix::libc::ENOENT) => "this kernel has no HTB (module sch_htb)".to_owned(),
        _ => format!("the kernel does not divide it: {error}"),
    };
    match root(interface) {
        Ok(Root::Plain) => {}
        Ok(Root::Ours) if read(interface).ok().flatten() == Some(wanted) => return Ok(Ok(())),
        Ok(Root::Ours) => {
            gate()?;
            if let Err(error) = remove(interface) {
                return Ok(Err(words(error)));
            }
        }
        Ok(Root::Others(kind)) => {
            return Ok(Err(format!(
                "it has a queueing discipline ({kind}) that somebody made; `tc qdisc del dev PORT root` takes it away"
            )));
        }
        Err(error) => return Ok(Err(words(error))),
    }
    gate()?;
    let made = discipline(interface).and_then(|()| {
        class(interface, (MAJOR, WHOLE), wanted.mbps_max, wanted.mbps_max)?;
        (1..=wanted.count)
            .map(|number| MAJOR | number)
            .chain([HOST])
            .try_for_each(|id| class(interface, (WHOLE, id), wanted.mbps, wanted.mbps_max))
    });
    Ok(made.map_err(words))
}

/// What the kernel says; `None` where the port is not divided by us, or unevenly.
pub(super) fn read(interface: u32) -> io::Result<Option<Classes>> {
    if root(interface)? != Root::Ours {
        return Ok(None);
    }
    let mut rates = Vec::new();
    for message in all(GET_CLASS, &head(interface, 0, 0))? {
        let Some(found) = Found::of(&message).filter(|found| found.interface == interface) else { continue };
        if found.parent == WHOLE {
            rates.push((found.handle, found.rates()));
        }
    }
    rates.sort_unstable();
    let even = rates.windows(2).all(|two| two[0].1 == two[1].1);
    let Some(((HOST, Some((rate, ceiling))), units)) = rates.split_last().filter(|_| even) else {
        return Ok(None);
    };
    let numbered = units.iter().zip(1..).all(|((handle, _), number)| *handle == MAJOR | number);
    let mbps = |rate: u64| u32::try_from(rate / MEGABIT).ok();
    Ok(numbered
        .then(|| {
            let count = u32::try_from(units.len()).ok()?;
            Some(Classes { count, mbps: mbps(*rate)?, mbps_max: mbps(*ceiling)? })
        })
        .flatten())
}

/// Takes our discipline away, if the port has it.
pub(super) fn undo(interface: u32, gate: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    // A kernel without queueing has nothing of ours.
    if !matches!(root(interface), Ok(Root::Ours)) {
        return Ok(());
    }
    gate()?;
    remove(interface)
}

fn root(interface: u32) -> io::Result<Root> {
    for message in all(GET_QDISC, &head(interface, 0, 0))? {
        let Some(found) = Found::of(&message) else { continue };
        if found.interface != interface || found.parent != ROOT {
            continue;
        }
        let kind = found.attribute(KIND).unwrap_or_default();
        return Ok(match found.handle {
            // Those that the kernel makes by itself have no number.
            0 => Root::Plain,
            MAJOR if kind == HTB => Root::Ours,
            _ => Root::Others(String::from_utf8_lossy(kind).trim_end_matches('\0').to_owned()),
        });
    }
    Ok(Root::Plain)
}

/// struct tcmsg: family and padding, interface, number, parent, information.
fn head(interface: u32, handle: u32, parent: u32) -> Vec<u8> {
    [0, interface, handle, parent, 0].map(u32::to_ne_bytes).concat()
}

fn discipline(interface: u32) -> io::Result<()> {
    let mut body = head(interface, MAJOR, ROOT);
    add(&mut body, KIND, HTB);
    // struct tc_htb_glob: version, rate to quantum, the class of what names none, then two that are only told.
    let begin = [HTB_VERSION, 10, HOST & 0xffff, 0, 0].map(u32::to_ne_bytes).concat();
    let mut options = Vec::new();
    add(&mut options, HTB_BEGIN, &begin);
    add(&mut body, OPTIONS, &options);
    ask(NEW_QDISC, CREATE_OR_REPLACE, &body)
}

fn class(interface: u32, (parent, id): (u32, u32), mbps: u32, mbps_max: u32) -> io::Result<()> {
    let [rate, ceiling] = [mbps, mbps_max].map(|mbps| u64::from(mbps) * MEGABIT);
    let burst = BURST_NANOSECONDS / TICK_NANOSECONDS;
    // struct tc_htb_opt: rate, ceiling, bursts of both, quantum, level, priority.
    let mut parameters = [specification(rate), specification(ceiling)].concat();
    parameters.extend([burst, burst, QUANTUM_BYTES, 0, 0].map(u32::to_ne_bytes).concat());
    let mut options = Vec::new();
    add(&mut options, HTB_PARAMETERS, &parameters);
    add(&mut options, HTB_RATE, &rate.to_ne_bytes());
    add(&mut options, HTB_CEILING, &ceiling.to_ne_bytes());
    let mut body = head(interface, id, parent);
    add(&mut body, KIND, HTB);
    add(&mut body, OPTIONS, &options);
    ask(NEW_CLASS, CREATE, &body)
}

/// struct tc_ratespec.  That it is Ethernet spares the kernel a table that only old ones read.
fn specification(rate: u64) -> Vec<u8> {
    const ETHERNET: u8 = 1;
    let mut bytes = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    bytes
}

fn remove(interface: u32) -> io::Result<()> {
    ask(DELETE_QDISC, 0, &head(interface, MAJOR, ROOT))
}

/// A discipline or class as the kernel tells it.
struct Found<'a> {
    interface: u32,
    handle: u32,
    parent: u32,
    rest: &'a [u8],
}

impl<'a> Found<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let word = |at: usize| message.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        Some(Self { interface: word(4)?, handle: word(8)?, parent: word(12)?, rest: message.get(20..)? })
    }

    fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        attributes(self.rest).into_iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// Bytes a second: in any case, and at most.
    fn rates(&self) -> Option<(u64, u64)> {
        let options = attributes(self.attribute(OPTIONS)?);
        let value = |kind: u16| options.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value);
        let parameters = value(HTB_PARAMETERS)?;
        let of = |wide: u16, at: usize| {
            let wide = value(wide).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes);
            let narrow = || Some(u64::from(u32::from_ne_bytes(parameters.get(at..at + 4)?.try_into().ok()?)));
            // Told only where the other is too small for it.
            wide.or_else(narrow)
        };
        Some((of(HTB_RATE, 8)?, of(HTB_CEILING, 20)?))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::{
        net::if_::if_nametoindex,
        sched::{CloneFlags, unshare},
    };

    use super::*;

    fn run(program: &str, arguments: &str) -> String {
        let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A network of its own to divide ports in, as root of the machine or of a namespace.
    fn port() -> u32 {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
            .or_else(|_| unshare(CloneFlags::CLONE_NEWNET))
            .unwrap();
        run("ip", "link add port type veth peer name peer");
        run("ip", "link set port up");
        if_nametoindex("port").unwrap()
    }

    #[test]
    fn a_port_is_divided_read_back_and_whole_again() {
        // Namespaces are a thread's own, and end with it.
        let thread = std::thread::spawn(|| {
            let port = port();
            let before = run("tc", "qdisc show dev port");
            let wanted = Classes { count: 4, mbps: 2000, mbps_max: 10_000 };
            let mut changes = 0;
            let mut counted = || {
                changes += 1;
                Ok(())
            };
            assert_eq!(read(port).unwrap(), None);
            make(port, wanted, &mut counted).unwrap().unwrap();
            assert_eq!(read(port).unwrap(), Some(wanted));
            // What is right is not written again.
            make(port, wanted, &mut counted).unwrap().unwrap();
            // Other people's tool reads the same: rates, borrowing, where unnamed traffic goes.
            let classes = run("tc", "class show dev port");
            assert_eq!(classes.matches("parent 5ca1:fffe").count(), 5, "{classes}");
            assert_eq!(classes.matches("rate 2Gbit ceil 10Gbit").count(), 5, "{classes}");
            assert!(run("tc", "qdisc show dev port").contains("qdisc htb 5ca1: root refcnt"), "ours");
            assert!(run("tc", "qdisc show dev port").contains("default 0xffff"));
            // Other numbers: made anew.  400 Gbit/s is more than 32 bits hold.
            let fast = Classes { count: 2, mbps: 133_333, mbps_max: 400_000 };
            make(port, fast, &mut counted).unwrap().unwrap();
            assert_eq!(read(port).unwrap(), Some(fast));
            // Somebody changed a class: seen.
            run("tc", "class change dev port parent 5ca1:fffe classid 5ca1:2 htb rate 1gbit");
            assert_eq!(read(port).unwrap(), None);
            make(port, fast, &mut counted).unwrap().unwrap();
            assert_eq!(read(port).unwrap(), Some(fast));
            undo(port, &mut counted).unwrap();
            undo(port, &mut counted).unwrap();
            assert_eq!(run("tc", "qdisc show dev port"), before);
            assert_eq!(changes, 1 + 2 + 2 + 1);
            // What somebody else made stays.
            run("tc", "qdisc add dev port root handle 7: tbf rate 1mbit burst 32kbit latency 400ms");
            let why = make(port, wanted, &mut || panic!("nothing is changed")).unwrap().unwrap_err();
            assert!(why.contains("(tbf) that somebody made"), "{why}");
            undo(port, &mut || panic!("nothing is changed")).unwrap();
            assert!(run("tc", "qdisc show dev port").contains("tbf 7:"));
            // A gate that is shut leaves all as it was.
            run("tc", "qdisc del dev port root");
            assert!(make(port, wanted, &mut || Err(io::Error::other("shut"))).is_err());
            assert_eq!(run("tc", "qdisc show dev port"), before);
            let why = make(99_999, wanted, &mut || Ok(())).unwrap().unwrap_err();
            assert!(why.contains("the kernel does not divide it"), "{why}");
        });
        thread.join().unwrap();
    }
}
