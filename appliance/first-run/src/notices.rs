//! What is in the way of a first run, and what a person must know though it is not.

use appliance_model::{Day, Now, Seconds};
use serde::Serialize;

use crate::{Facts, Problem, facts::Tpm, files::Wish};

/// Something to know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What it is.
    pub what: String,
    /// The next step.
    pub next: String,
}

/// Store, evidence and boot recordings of a small site take some hundred MiB in a year; a gibibyte leaves a margin.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// 2026-01-01: no appliance with this program was built before.
const CLOCK_MIN: Now = Now(1_767_225_600_000);
/// 2041-01-01, fifteen years later: no appliance is in use for so long without an update, and systemd believes no clock
/// beyond as much.
const CLOCK_MAX: Now = Now(2_240_611_200_000);

/// What has to be mended before there can be a site.
pub(crate) fn in_the_way(facts: &Facts, problems: &mut Vec<Problem>) {
    if facts.nics.is_empty() {
        problems.push(Problem {
            key: "network",
            what: "this machine has no network port that its kernel knows".into(),
            next: "put in a card that Linux drives, or give the virtual machine one, and start again".into(),
        });
    }
    if facts.storage.free_bytes < FREE_BYTES_MIN {
        let mebibytes = facts.storage.free_bytes >> 20;
        let (what, next) = if facts.storage.live {
            ("memory", "give the machine more memory, or install the appliance on a disk")
        } else {
            ("disk", "use a larger disk, or make room on it, and start again")
        };
        problems.push(Problem {
            key: "storage",
            what: format!(
                "the {what} has {mebibytes} MiB free for the site, and it needs {}",
                FREE_BYTES_MIN >> 20
            ),
            next: next.into(),
        });
    }
}

/// What is wrong with a clock that says `now`; `hardware` is what the hardware clock says where no time server was heard.
///
/// A date before this program was made is no date: whatever is signed or judged by it would be wrong for good.  A hardware
/// clock has two digits for the year, so that the kernel reads one that began again in 1970 as 2070.
#[must_use]
pub fn clock(now: Now, hardware: Option<Now>) -> Option<Notice> {
    let mut said = [Some(now), hardware].into_iter().flatten();
    let wrong = said.find(|at| !(CLOCK_MIN..CLOCK_MAX).contains(at))?;
    let day = |at: Now| Day::of_unix(Seconds(at.0 / 1000));
    let (day, built) = (day(wrong), day(CLOCK_MIN));
    let why = if wrong < CLOCK_MIN {
        format!("is over: this program was made after {built}")
    } else {
        "is far from over: a clock that began again in 1970 is read as 2070".to_owned()
    };
    Some(Notice {
        what: format!("this machine's clock says {day}, which {why}"),
        next: "set it in the firmware's setup, in UTC (and look at its battery), or see that a time server can be \
               reached (time.servers of the first run names one); until then nothing is signed or verified, and the \
               appliance does not start its service"
            .into(),
    })
}

/// What a person must know of the machine, whatever was answered.
#[must_use]
pub fn of_machine(facts: &Facts) -> Vec<Notice> {
    let mut notices: Vec<Notice> = clock(facts.now, facts.hardware_clock).into_iter().collect();
    let mut say = |what: String, next: &str| notices.push(Notice { what, next: next.into() });
    match &facts.tpm {
        Tpm::Free => {}
        Tpm::Absent => say(
            "this machine has no TPM: keys and passwords of the site are protected by file permissions only"
                .into(),
            "switch it on in the firmware's setup if it has one; else keep the machine where only you can touch it",
        ),
        Tpm::Taken(why) => say(
            why.clone(),
            "until then this machine keeps nothing sealed to its TPM: what it remembers is gone with the next restart, \
             unless its place was made before",
        ),
    }
    if facts.storage.live {
        let why = facts.storage.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        say(
            format!("the appliance runs from memory: this site is gone with the next restart{why}"),
            "put the appliance onto a disk of this machine (key i at its screen), or write a backup with `scalerforge site \
             backup` before it is switched off",
        );
    }
    notices
}

/// What a person must know beside.
pub(crate) fn notices(wish: &Wish, facts: &Facts) -> Vec<Notice> {
    let mut notices = of_machine(facts);
    let mut say = |what: String, next: &str| notices.push(Notice { what, next: next.into() });
    for (nic, dhcp) in wish.ports() {
        let Some(seen) = facts.nics.iter().find(|seen| seen.name == nic) else { continue };
        if !seen.carrier {
            say(
                format!("{nic} has no cable, or nobody at its end"),
                "plug it in; nothing has to be set up again",
            );
        } else if dhcp && seen.addresses.is_empty() {
            say(
                format!("nobody gave {nic} an address by DHCP so far"),
                "see that a DHCP server is there, or write a fixed address at uplink.address",
            );
        }
    }
    if let Some(heard) = wish.heard(facts) {
        say(heard, "`scalerforge boot status` shows later who else answers there");
    }
    notices
}
