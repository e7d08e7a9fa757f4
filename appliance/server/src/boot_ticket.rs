//! How a host's boot ticket came, and whether what its TPM quoted says the same.
//!
//! An agent says where it found its ticket.  That it came by DHCP counts only if our boot server told it; that it stood
//! in the boot URL which the firmware measured is compared with the quoted event log as soon as there is one.
//!
//! What that proves is what the log proves: the firmware writes the URL beside the image's digest, and only the digest
//! is in the PCR.  So it is as good as the agent that hands the log over, which the same PCRs show to be ours.

use appliance_api::agent::{Hello, TicketSource, ticket_in};
use appliance_model::{HostId, Ticket};
use appliance_store::{Kind, Store, StoreError};
use attest_verify::Rejection;
use serde::{Deserialize, Serialize};

use crate::app::now;

/// The ticket that a host's last hello spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BootTicket {
    /// Where the agent says it found it.
    pub(crate) source: TicketSource,
    /// The ticket; it is spent.
    ticket: Ticket,
}

/// What is stored.  Before the log was compared it was the source alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Whole(BootTicket),
    Source(TicketSource),
}

impl BootTicket {
    /// What a hello says of its ticket.
    pub(crate) fn of(hello: &Hello, ticket: Ticket) -> Self {
        Self { source: hello.ticket_source.unwrap_or(TicketSource::MeasuredUrl), ticket }
    }

    pub(crate) fn keep(self, store: &Store, host: &HostId) -> Result<(), StoreError> {
        store.put(host, Kind::BootTicket, &serde_json::to_vec(&self).unwrap_or_default(), now()).map(drop)
    }

    /// The ticket of the host's last hello; `None` where an earlier version kept too little to compare.
    pub(crate) fn load(store: &Store, host: &HostId) -> Result<Option<Self>, StoreError> {
        Ok(store.document(host, Kind::BootTicket)?.and_then(|bytes| match serde_json::from_slice(&bytes) {
            Ok(Stored::Whole(ticket)) => Some(ticket),
            Ok(Stored::Source(_)) | Err(_) => None,
        }))
    }

    /// Whether it can have come as the agent says, as far as the boot server (`told` it by DHCP, holds it `open`) and
    /// the hello's own words show.  One that is spent is judged when it is redeemed: the hello whose answer was lost is
    /// repeated with it.
    pub(crate) fn plausible(
        self,
        open: bool,
        told: bool,
        boot_url: Option<&str>,
    ) -> Result<(), &'static str> {
        match self.source {
            TicketSource::Dhcp if open && !told => Err(
                "this boot ticket is said to have come by DHCP, but this boot server has told it to nobody; boot the \
                 server again",
            ),
            TicketSource::MeasuredUrl if boot_url.and_then(ticket_in) != Some(self.ticket) => Err(
                "this boot ticket is said to stand in the measured boot URL, but the URL that comes with it names \
                 another or none; boot the server again from the provisioning port",
            ),
            TicketSource::MeasuredUrl | TicketSource::Dhcp | TicketSource::Medium => Ok(()),
        }
    }

    /// Whether the URL in an event log that explains a quote (`None`: it has none) says the same as the hello did.
    pub(crate) fn agrees(self, measured: Option<&str>) -> Result<(), Rejection> {
        let refused = |what: &str| {
            Err(Rejection {
                check: "boot-ticket".into(),
                what: format!(
                    "{what} (the log's URL is {}): boot the server again from the provisioning port, and if this stays, \
                     find out what answers it there",
                    measured.unwrap_or("none")
                ),
                measured: measured.unwrap_or_default().into(),
                expected: format!("…/boot/{}/…", self.ticket),
            })
        };
        match (self.source, measured.and_then(ticket_in)) {
            (TicketSource::MeasuredUrl, Some(found)) if found == self.ticket => Ok(()),
            (TicketSource::MeasuredUrl, Some(_)) => refused(
                "the quoted event log names another boot ticket than the one this machine said hello with",
            ),
            (TicketSource::MeasuredUrl, None) => refused(
                "this machine said that its boot ticket stands in the measured boot URL, and the event log its TPM \
                 quoted names none",
            ),
            (TicketSource::Dhcp | TicketSource::Medium, None) => Ok(()),
            (TicketSource::Dhcp | TicketSource::Medium, Some(found)) if found == self.ticket => Ok(()),
            (TicketSource::Dhcp, Some(_)) => refused(
                "this machine said that its boot ticket came by DHCP, and the event log its TPM quoted names another",
            ),
            (TicketSource::Medium, Some(_)) => refused(
                "this machine said that its boot ticket stood on its boot medium, and the event log its TPM quoted names \
                 a boot URL with another",
            ),
        }
    }
}

/// What the way of a stored boot ticket takes from trust, if anything.
pub(crate) fn lesser(stored: &[u8]) -> Option<&'static str> {
    let (Stored::Whole(BootTicket { source, .. }) | Stored::Source(source)) =
        serde_json::from_slice(stored).ok()?;
    match source {
        TicketSource::MeasuredUrl => None,
        TicketSource::Medium => Some(
            "boot ticket came on the virtual medium that the BMC attached, not from a measured URL. It says which boot \
             this is; what was booted the event log shows all the same",
        ),
        TicketSource::Dhcp => Some(
            "boot ticket came by DHCP, not from the measured log: PXE, iPXE or BIOS boot. It says who was booted and \
             proves nothing; what was booted only the UEFI event log can show, which a BIOS does not have",
        ),
    }
}

#[cfg(test)]
mod tests {
    use TicketSource::{Dhcp, MeasuredUrl};

    use super::*;

    const OURS: Ticket = Ticket([0xab; 16]);

    fn url(ticket: Ticket) -> String {
        format!("http://10.77.0.1:8080/boot/{ticket}/discovery.efi")
    }

    #[test]
    fn a_ticket_by_dhcp_must_have_been_told_and_a_measured_one_must_stand_in_its_url() {
        let (ours, other) = (url(OURS), url(Ticket([1; 16])));
        for (source, open, told, boot_url, good) in [
            (Dhcp, true, true, None, true),
            (Dhcp, true, false, None, false),
            (Dhcp, false, false, None, true),
            (MeasuredUrl, true, false, Some(&ours), true),
            (MeasuredUrl, true, true, Some(&ours), true),
            (MeasuredUrl, true, true, Some(&other), false),
            (MeasuredUrl, true, true, None, false),
        ] {
            let ticket = BootTicket { source, ticket: OURS };
            let judged = ticket.plausible(open, told, boot_url.map(String::as_str));
            assert_eq!(judged.is_ok(), good, "{source:?} {open} {told} {boot_url:?}");
        }
    }

    #[test]
    fn the_quoted_log_has_the_last_word() {
        let (ours, other) = (url(OURS), url(Ticket([1; 16])));
        for (source, measured, refused) in [
            (MeasuredUrl, Some(&*ours), None),
            (MeasuredUrl, Some(&*other), Some("names another boot ticket")),
            (
                MeasuredUrl,
                Some("http://10.0.0.9/shimx64.efi"),
                Some("names none (the log's URL is http://10.0.0.9"),
            ),
            (MeasuredUrl, None, Some("names none (the log's URL is none)")),
            (Dhcp, None, None),
            (Dhcp, Some("http://10.0.0.9/shimx64.efi"), None),
            (Dhcp, Some(&*ours), None),
            (Dhcp, Some(&*other), Some("came by DHCP, and the event log its TPM quoted names another")),
        ] {
            let judged = BootTicket { source, ticket: OURS }.agrees(measured);
            match (judged, refused) {
                (Ok(()), None) => {}
                (Err(why), Some(words)) => {
                    assert!(why.check == "boot-ticket" && why.what.contains(words), "{why:?}");
                }
                (judged, _) => panic!("{source:?} {measured:?}: {judged:?}"),
            }
        }
    }

    #[test]
    fn only_a_ticket_by_dhcp_is_spoken_of_whatever_version_wrote_it() {
        let whole = |source| serde_json::to_vec(&BootTicket { source, ticket: OURS }).unwrap();
        let old = |source: TicketSource| serde_json::to_vec(&source).unwrap();
        for measured in [whole(MeasuredUrl), old(MeasuredUrl), b"of another version".to_vec()] {
            assert_eq!(lesser(&measured), None);
        }
        for lent in [whole(Dhcp), old(Dhcp)] {
            assert!(lesser(&lent).unwrap().starts_with("boot ticket came by DHCP, not from"));
        }
    }
}
