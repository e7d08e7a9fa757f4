//! The rules: who gets an address, who gets an image, who gets silence.

use crate::request::{BootRequest, Client, Kind};

/// What the appliance wants of one machine, as `appliance/enrol` last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stance {
    /// Nobody has said anything about this MAC: the site's rule for strangers holds.
    #[default]
    Stranger,
    /// Boot the discovery image whenever it asks.
    Discover,
    /// It runs from its disk: an address, but nothing to boot.
    LocalDisk,
    /// Not ours to answer.
    Ignore,
}

/// What machines get that nobody has spoken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strangers {
    /// Boot them: whatever shows up on the provisioning LAN is to be enrolled.
    #[default]
    Boot,
    /// An address only.
    Lease,
    /// Nothing.
    Silence,
}

/// What the decision needs to know of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Site {
    /// The rule for machines nobody has spoken for.
    pub strangers: Strangers,
}

/// What a machine gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An address (none for INFORM), and perhaps something to boot.
    Offer {
        /// What to boot.
        boot: Option<Boot>,
        /// Whether the reply names the API (option 224).
        api: bool,
        /// Why, in words.
        why: &'static str,
    },
    /// No answer.
    Silence {
        /// Why, in words.
        why: &'static str,
    },
}

/// What to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The discovery image by HTTP, under a ticket.
    Http,
    /// A file that our TFTP port refuses at once.  PXE firmware that gets no PXE answer asks again for 130 s
    /// before it tries HTTP; an offer without a file is no PXE answer.  A refused download ends PXE in a second.
    RefusedTftp,
}

/// IANA processor architecture type "x64 UEFI HTTP".
const ARCH_X64_HTTP: u16 = 16;

/// Says what `request` gets.
#[must_use]
pub fn decide(request: &BootRequest, stance: &Stance, site: &Site) -> Answer {
    let boots = match stance {
        Stance::Ignore => return Answer::Silence { why: "the appliance was told to ignore this machine" },
        Stance::Discover => true,
        Stance::LocalDisk => false,
        Stance::Stranger => match site.strangers {
            Strangers::Boot => true,
            Strangers::Lease => false,
            Strangers::Silence => {
                return Answer::Silence {
                    why: "nobody has announced this machine and pxe.strangers is `silence`",
                };
            }
        },
    };
    let lease = |why| Answer::Offer { boot: None, api: false, why };
    if request.kind == Kind::Inform {
        return Answer::Offer { boot: None, api: true, why: "it has an address and asked for options only" };
    }
    match Client::of(request) {
        Client::Agent => {
            Answer::Offer { boot: None, api: true, why: "our agent: an address and the API's URL" }
        }
        Client::HttpBoot(Some(ARCH_X64_HTTP)) if boots => Answer::Offer {
            boot: Some(Boot::Http),
            api: false,
            why: "x64 UEFI HTTP boot: the discovery image under a ticket",
        },
        // An offer without a URL would keep the firmware asking; silence lets it go on to its next entry.
        Client::HttpBoot(_) if boots => {
            Answer::Silence { why: "UEFI HTTP boot for an architecture we have no image for (we have x64)" }
        }
        Client::HttpBoot(_) => Answer::Silence {
            why: "it asked for an image by HTTP, but it is to boot from its disk: silence sends it on",
        },
        Client::Pxe(_) if boots => Answer::Offer {
            boot: Some(Boot::RefusedTftp),
            api: false,
            why: "PXE: there is no TFTP image; a file that is refused at once sends it on to HTTP boot",
        },
        Client::Pxe(_) => Answer::Offer {
            boot: Some(Boot::RefusedTftp),
            api: false,
            why: "PXE, but it is to boot from its disk: a file that is refused at once sends it on",
        },
        Client::Other if boots => lease("an address only: it did not ask to boot"),
        Client::Other => lease("an address only: nothing is to be booted"),
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::Mac;

    use super::*;

    const HTTP: &str = "HTTPClient:Arch:00016:UNDI:003001";
    const ARM: &str = "HTTPClient:Arch:00019:UNDI:003001";
    const PXE: &str = "PXEClient:Arch:00007:UNDI:003001";
    const AGENT: &str = "scalerforge-agent";

    fn short(answer: Answer) -> String {
        match answer {
            Answer::Offer { boot, api, .. } => format!("{boot:?} api={api}"),
            Answer::Silence { .. } => "silence".into(),
        }
    }

    #[test]
    fn table_of_answers() {
        use {Stance::*, Strangers as S};
        let rows = [
            (HTTP, Stranger, S::Boot, "Some(Http) api=false"),
            (HTTP, Stranger, S::Lease, "silence"),
            (HTTP, Stranger, S::Silence, "silence"),
            (HTTP, Discover, S::Silence, "Some(Http) api=false"),
            (HTTP, LocalDisk, S::Boot, "silence"),
            (HTTP, Ignore, S::Boot, "silence"),
            (ARM, Discover, S::Boot, "silence"),
            ("HTTPClient", Discover, S::Boot, "silence"),
            (PXE, Stranger, S::Boot, "Some(RefusedTftp) api=false"),
            (PXE, LocalDisk, S::Boot, "Some(RefusedTftp) api=false"),
            (PXE, Ignore, S::Boot, "silence"),
            (AGENT, Stranger, S::Boot, "None api=true"),
            (AGENT, LocalDisk, S::Silence, "None api=true"),
            (AGENT, Stranger, S::Silence, "silence"),
            ("MSFT 5.0", Stranger, S::Boot, "None api=false"),
            ("", LocalDisk, S::Boot, "None api=false"),
        ];
        for (class, stance, strangers, expected) in rows {
            let request = BootRequest {
                vendor_class: Some(class.into()),
                ..BootRequest::new(Kind::Discover, Mac([2; 6]))
            };
            let answer = decide(&request, &stance, &Site { strangers });
            assert_eq!(short(answer), expected, "{class:?} {stance:?} {strangers:?}");
        }
    }

    #[test]
    fn inform_never_boots() {
        let request =
            BootRequest { vendor_class: Some(HTTP.into()), ..BootRequest::new(Kind::Inform, Mac([2; 6])) };
        assert_eq!(short(decide(&request, &Stance::Discover, &Site::default())), "None api=true");
    }
}
