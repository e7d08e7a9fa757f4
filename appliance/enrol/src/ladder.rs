//! The ways to make a machine boot our image, best first; which are open, which were tried, and which one worked.
//!
//! A controller's "done" proves nothing, so a rung counts as climbed only when the booted agent shows the ticket that
//! was planted for it ([`Climb::hello`]).  What was probed, tried and found is one record, kept with the host.

use appliance_model::{Now, Ticket};
use serde::{Deserialize, Serialize};

/// Tries that are remembered: two rounds over all rungs, and room.
const TRIES_MAX: usize = 16;

/// A way to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The controller is given the boot URL, ticket included (Redfish `HttpBootUri`): no DHCP server can name another.
    BootUri,
    /// The controller asks for UEFI HTTP boot; the URL comes by DHCP.
    UefiHttp,
    /// The controller asks for PXE.
    Pxe,
    /// The controller attaches our boot medium, which holds the ticket, as a CD.
    VirtualMedia,
    /// PXE and power by IPMI, where there is no Redfish.
    Ipmi,
    /// Its own drive, where it has a system of its own that was marked good.  No rung that is probed: it is tried first.
    Disk,
}

/// From the best to the last resort.
const BEST_FIRST: [Rung; 5] = [Rung::BootUri, Rung::UefiHttp, Rung::Pxe, Rung::VirtualMedia, Rung::Ipmi];

impl Rung {
    /// In a technician's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::BootUri => "a boot URL given to the BMC",
            Self::UefiHttp => "UEFI HTTP boot with the URL by DHCP",
            Self::Pxe => "PXE",
            Self::VirtualMedia => "our boot medium as a virtual CD",
            Self::Ipmi => "PXE asked for by IPMI",
            Self::Disk => "its own drive",
        }
    }
}

/// What a probe of controller and boot service found.  Each field is `Ok`, or the reason why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Means {
    /// Redfish answers.
    pub redfish: Result<(), String>,
    /// `BootSourceOverrideTarget` values offered; empty where the controller does not say.
    pub targets: Vec<String>,
    /// Whether the controller takes an `HttpBootUri`.
    pub boot_uri: bool,
    /// A slot that takes a CD by URL.
    pub media_slot: Result<(), String>,
    /// A boot medium that can be served.
    pub medium: Result<(), String>,
    /// IPMI answers and may be used.
    pub ipmi: Result<(), String>,
    /// Our boot service answers DHCP on the provisioning LAN.
    pub offers: Result<(), String>,
}

/// One rung, and why it is not open if it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The rung.
    pub rung: Rung,
    /// Why it cannot be used.
    pub closed: Option<String>,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// When.
    pub at: Now,
    /// By which rung.
    pub rung: Rung,
    /// For which power-on, counted from 1.
    pub attempt: u32,
    /// The ticket that was planted with it, where the rung plants one.
    pub planted: Option<Ticket>,
    /// What came of it; absent while it is awaited.
    pub outcome: Option<String>,
    /// The controller refused it: the machine was not started.
    #[serde(default)]
    pub refused: bool,
}

/// The rung that an agent's ticket proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// When.
    pub at: Now,
    /// The rung.
    pub rung: Rung,
    /// How, in words.
    pub how: String,
}

/// How a host is made to boot: the record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Climb {
    /// The rungs of the last probe, best first.
    pub rungs: Vec<Probed>,
    /// Tries, oldest first.
    pub tries: Vec<Try>,
    /// The rung that worked last.
    pub proved: Option<Proved>,
    /// The slot that holds our medium, until it is taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
}

/// Where a ticket was when the agent found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// In the URL that the firmware measured, which came by DHCP.
    MeasuredUrl,
    /// In the URL that the firmware measured, which only a controller can have given it.
    PlantedUrl,
    /// In the boot server's answer to the agent's own DHCP request.
    Dhcp,
    /// On the medium it was booted from.
    Medium,
}

/// Which rungs are open.
#[must_use]
pub fn probe(means: &Means) -> Vec<Probed> {
    let offered = |name: &str| {
        if means.targets.is_empty() || means.targets.iter().any(|target| target == name) {
            return Ok(());
        }
        Err(format!("the BMC offers no boot target {name}, only {}", means.targets.join(", ")))
    };
    let boot_uri = || {
        if means.boot_uri { Ok(()) } else { Err("the BMC takes no boot URL (no HttpBootUri)".to_owned()) }
    };
    let ways = |rung| -> Vec<Result<(), String>> {
        match rung {
            Rung::BootUri => vec![means.redfish.clone(), boot_uri(), offered("UefiHttp")],
            Rung::UefiHttp => vec![means.redfish.clone(), offered("UefiHttp"), means.offers.clone()],
            Rung::Pxe => vec![means.redfish.clone(), offered("Pxe"), means.offers.clone()],
            Rung::VirtualMedia => vec![means.redfish.clone(), means.media_slot.clone(), means.medium.clone()],
            Rung::Ipmi => vec![means.ipmi.clone(), means.offers.clone()],
            Rung::Disk => vec![means.redfish.clone(), offered("Hdd")],
        }
    };
    let probed = |rung| Probed { rung, closed: ways(rung).into_iter().find_map(Result::err) };
    BEST_FIRST.into_iter().map(probed).collect()
}

impl Climb {
    /// The rung for the next try after a probe: the one that worked last time first, then each open one in turn.
    /// `attempt` counts from 1.  A try that is still awaited has failed by now.
    ///
    /// # Errors
    /// When no rung is open: the reasons, one for each.
    pub fn next(&mut self, rungs: Vec<Probed>, attempt: u32) -> Result<Rung, String> {
        self.rungs = rungs;
        self.close("no agent said hello with this try's ticket");
        let mut open: Vec<Rung> =
            self.rungs.iter().filter(|probed| probed.closed.is_none()).map(|probed| probed.rung).collect();
        if let Some(at) = self.proved.as_ref().and_then(|proved| open.iter().position(|r| *r == proved.rung))
        {
            let proved = open.remove(at);
            open.insert(0, proved);
        }
        let turn = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let turn = turn.checked_rem(open.len()).unwrap_or(0);
        open.rotate_left(turn);
        // What the controller refused for this power-on comes last, in the order of the refusals.
        let refused = self.tries.iter().rev().take_while(|one| one.attempt == attempt && one.refused);
        let refused: Vec<Rung> = refused.map(|one| one.rung).collect();
        open.sort_by_key(|rung| {
            let ago = refused.iter().position(|one| one == rung);
            (ago.is_some(), std::cmp::Reverse(ago))
        });
        open.first().copied().ok_or_else(|| {
            let why = |probed: &Probed| {
                format!("{}: {}", probed.rung.words(), probed.closed.as_deref().unwrap_or_default())
            };
            self.rungs.iter().map(why).collect::<Vec<_>>().join("; ")
        })
    }

    /// A try begins.  `planted` is the ticket given to the controller or written on the medium, where there is one.
    pub fn start(&mut self, rung: Rung, attempt: u32, planted: Option<Ticket>, now: Now) {
        self.close("tried again before an agent said hello");
        self.tries.push(Try { at: now, rung, attempt, planted, outcome: None, refused: false });
        let surplus = self.tries.len().saturating_sub(TRIES_MAX);
        self.tries.drain(..surplus);
    }

    /// The try in flight failed at the controller: the machine was not started by it.
    pub fn failed(&mut self, why: &str) {
        if let Some(last) = self.tries.last_mut().filter(|last| last.outcome.is_none()) {
            last.refused = true;
        }
        self.close(why);
    }

    /// An agent said hello with `ticket`.  Says how it was booted, which need not be how it was meant to be.
    pub fn hello(&mut self, ticket: Ticket, shown: Shown, now: Now) {
        let awaited = self.tries.last().filter(|one| one.outcome.is_none());
        let meant = awaited.map(|one| one.rung);
        let other = awaited.and_then(|one| one.planted).is_some_and(|planted| planted != ticket);
        let rung = match shown {
            Shown::PlantedUrl => Rung::BootUri,
            Shown::Medium => Rung::VirtualMedia,
            Shown::MeasuredUrl | Shown::Dhcp if meant == Some(Rung::Ipmi) => Rung::Ipmi,
            Shown::MeasuredUrl => Rung::UefiHttp,
            Shown::Dhcp => Rung::Pxe,
        };
        let place = match shown {
            Shown::MeasuredUrl => "in the boot URL that the firmware measured",
            Shown::PlantedUrl => "in the boot URL that the BMC was given and the firmware measured",
            Shown::Dhcp => "by DHCP, which names the boot and proves nothing",
            Shown::Medium => "on the medium it booted from",
        };
        let how = format!("the agent showed the ticket it found {place}");
        let outcome = match meant {
            Some(meant) if meant != rung => {
                format!("booted, but by {} instead: {how}", rung.words())
            }
            Some(_) if other => format!("booted with another ticket than was planted for this try: {how}"),
            Some(_) | None => format!("proved: {how}"),
        };
        self.close(&outcome);
        self.proved = Some(Proved { at: now, rung, how });
    }

    fn close(&mut self, outcome: &str) {
        if let Some(last) = self.tries.last_mut().filter(|last| last.outcome.is_none()) {
            last.outcome = Some(outcome.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Ticket = Ticket([1; 16]);
    const T2: Ticket = Ticket([2; 16]);

    fn all() -> Means {
        Means {
            redfish: Ok(()),
            targets: ["None", "Pxe", "UefiHttp", "Cd"].map(str::to_owned).to_vec(),
            boot_uri: true,
            media_slot: Ok(()),
            medium: Ok(()),
            ipmi: Ok(()),
            offers: Ok(()),
        }
    }

    fn open(means: &Means) -> Vec<Rung> {
        probe(means).into_iter().filter(|probed| probed.closed.is_none()).map(|probed| probed.rung).collect()
    }

    #[test]
    fn a_probe_opens_what_the_machine_can_do() {
        use Rung::{BootUri, Ipmi, Pxe, UefiHttp, VirtualMedia};
        let no = |why: &str| Err(why.to_owned());
        let targets = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let rows = [
            (all(), vec![BootUri, UefiHttp, Pxe, VirtualMedia, Ipmi]),
            (Means { boot_uri: false, ..all() }, vec![UefiHttp, Pxe, VirtualMedia, Ipmi]),
            // Lenovo SR670 V2, GB200: no UefiHttp.  DGX H100: no list at all.
            (Means { targets: targets(&["Pxe", "Cd"]), ..all() }, vec![Pxe, VirtualMedia, Ipmi]),
            (Means { targets: vec![], ..all() }, vec![BootUri, UefiHttp, Pxe, VirtualMedia, Ipmi]),
            (Means { offers: no("mode is listen"), ..all() }, vec![BootUri, VirtualMedia]),
            (Means { redfish: no("no answer"), ..all() }, vec![Ipmi]),
            (Means { medium: no("none built"), ..all() }, vec![BootUri, UefiHttp, Pxe, Ipmi]),
        ];
        for (means, expected) in rows {
            assert_eq!(open(&means), expected, "{means:?}");
        }
    }

    #[test]
    fn tries_go_down_the_ladder_and_round_again() {
        let means = Means { boot_uri: false, medium: Err("none built".into()), ..all() };
        let mut climb = Climb::default();
        let mut order = Vec::new();
        for attempt in 1..=5 {
            let rung = climb.next(probe(&means), attempt).unwrap();
            climb.start(rung, attempt, None, Now(u64::from(attempt)));
            order.push(rung);
        }
        assert_eq!(order, [Rung::UefiHttp, Rung::Pxe, Rung::Ipmi, Rung::UefiHttp, Rung::Pxe]);
        let outcomes: Vec<_> = climb.tries.iter().map(|one| one.outcome.is_some()).collect();
        assert_eq!(outcomes, [true, true, true, true, false]);
    }

    #[test]
    fn what_the_controller_refuses_is_followed_by_the_next_rung_at_once() {
        let mut climb = Climb::default();
        let mut order = Vec::new();
        for at in 0..7 {
            let rung = climb.next(probe(&all()), 1).unwrap();
            climb.start(rung, 1, None, Now(at));
            climb.failed("no");
            order.push(rung);
        }
        use Rung::{BootUri, Ipmi, Pxe, UefiHttp, VirtualMedia};
        assert_eq!(order, [BootUri, UefiHttp, Pxe, VirtualMedia, Ipmi, BootUri, UefiHttp]);
        climb.start(Rung::Pxe, 1, None, Now(9));
        climb.hello(T1, Shown::Dhcp, Now(10));
        assert_eq!(climb.next(probe(&all()), 1), Ok(Pxe), "a fresh start after a success");
    }

    #[test]
    fn nothing_open_says_why_rung_by_rung() {
        let none = Means {
            redfish: Err("10.78.0.11 does not answer".into()),
            ipmi: Err("switched off".into()),
            ..all()
        };
        let why = Climb::default().next(probe(&none), 1).unwrap_err();
        assert!(
            why.contains("10.78.0.11 does not answer") && why.contains("PXE asked for by IPMI: switched off")
        );
    }

    #[test]
    fn only_the_planted_ticket_proves_a_rung() {
        let rows = [
            (Rung::BootUri, Some(T1), T1, Shown::PlantedUrl, Rung::BootUri, "proved"),
            (Rung::BootUri, Some(T1), T2, Shown::PlantedUrl, Rung::BootUri, "booted with another ticket"),
            (Rung::BootUri, Some(T1), T2, Shown::MeasuredUrl, Rung::UefiHttp, "booted, but by UEFI HTTP"),
            (Rung::UefiHttp, None, T2, Shown::MeasuredUrl, Rung::UefiHttp, "proved"),
            (Rung::UefiHttp, None, T2, Shown::Dhcp, Rung::Pxe, "booted, but by PXE"),
            (Rung::VirtualMedia, Some(T1), T1, Shown::Medium, Rung::VirtualMedia, "proved"),
            (Rung::Ipmi, None, T2, Shown::Dhcp, Rung::Ipmi, "proved"),
        ];
        for (meant, planted, ticket, shown, rung, outcome) in rows {
            let mut climb = Climb::default();
            climb.start(meant, 1, planted, Now(1));
            climb.hello(ticket, shown, Now(2));
            assert_eq!(climb.proved.as_ref().unwrap().rung, rung, "{meant:?} {shown:?}");
            let said = climb.tries[0].outcome.as_deref().unwrap();
            assert!(said.starts_with(outcome), "{meant:?}: {said}");
        }
    }

    #[test]
    fn what_worked_is_tried_first_and_the_record_stays_small() {
        let mut climb = Climb::default();
        climb.start(Rung::Pxe, 1, None, Now(1));
        climb.hello(T1, Shown::Dhcp, Now(2));
        assert_eq!(climb.next(probe(&all()), 1), Ok(Rung::Pxe));
        assert_eq!(climb.next(probe(&all()), 2), Ok(Rung::BootUri));
        for at in 0..100 {
            climb.start(Rung::Pxe, 1, None, Now(at));
        }
        assert_eq!(climb.tries.len(), TRIES_MAX);
    }
}
