//! Who this machine says it is in its hello: the ticket it was booted with, serial, UUID, port addresses.

use std::path::Path;

use appliance_api::agent::{Hello, PROTOCOL, TicketSource, ticket_in};
use appliance_model::{Digest, Ticket};
use attest_wire::eventlog::{EventLog, boot_url};

use crate::{say, system};

/// Tickets that stand in no log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lent {
    /// The one that the boot server told by DHCP.
    pub dhcp: Option<Ticket>,
    /// The one on the boot medium.
    pub medium: Option<Ticket>,
}

/// The ticket in the measured boot URL of the machine below `root`.
pub fn measured(root: &Path) -> Option<Ticket> {
    booted_from(root).as_deref().and_then(ticket_in)
}

/// Makes the hello from what the machine below `root` tells.  A ticket in the measured log is worth more than one that
/// was lent.
pub fn hello(root: &Path, boot_nonce: Digest, lent: Lent) -> Hello {
    let boot_url = booted_from(root);
    let (ticket, ticket_source) = choose(boot_url.as_deref().and_then(ticket_in), lent);
    match ticket_source {
        Some(TicketSource::MeasuredUrl | TicketSource::Medium) => {}
        Some(TicketSource::Dhcp) => {
            say!("the boot ticket came by DHCP: it names this boot, but no log proves it")
        }
        None => {
            say!("no boot ticket: neither a measured URL, nor the boot server, nor a boot medium told one")
        }
    }
    let inventory = firmware_checks_probe::probe(root);
    Hello {
        protocol: PROTOCOL,
        agent: crate::VERSION.into(),
        ticket,
        ticket_source,
        boot_url,
        serial: inventory.system.serial.map(|serial| serial.to_string()),
        uuid: inventory.system.uuid,
        macs: inventory.nics.iter().filter_map(|nic| nic.mac).collect(),
        boot_nonce,
        residence: None,
    }
}

fn choose(measured: Option<Ticket>, lent: Lent) -> (Option<Ticket>, Option<TicketSource>) {
    let all = [
        (measured, TicketSource::MeasuredUrl),
        (lent.medium, TicketSource::Medium),
        (lent.dhcp, TicketSource::Dhcp),
    ];
    let found = all.into_iter().find(|(ticket, _)| ticket.is_some());
    found.map_or((None, None), |(ticket, source)| (ticket, Some(source)))
}

/// The URL the firmware measured when it loaded this image.
fn booted_from(root: &Path) -> Option<String> {
    let log = match system::event_log(root) {
        Ok(log) => log,
        Err(error) => {
            if root.join("sys/firmware/efi").exists() {
                say!("no event log of the TPM ({error}): what was booted cannot be proven");
            } else {
                say!(
                    "started by a BIOS: no Secure Boot, no UEFI event log; what was booted cannot be proven"
                );
            }
            return None;
        }
    };
    match EventLog::parse(&log) {
        Ok(log) => boot_url(&log),
        Err(error) => {
            say!("the event log of the TPM makes no sense ({error}): what was booted cannot be proven");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_ticket_is_worth_more_than_a_lent_one() {
        let (one, two) = (Ticket([1; 16]), Ticket([2; 16]));
        let lent = |medium, dhcp| Lent { medium, dhcp };
        for (measured, lent, expected) in [
            (Some(one), lent(None, Some(two)), (Some(one), Some(TicketSource::MeasuredUrl))),
            (None, lent(Some(one), Some(two)), (Some(one), Some(TicketSource::Medium))),
            (None, lent(None, Some(two)), (Some(two), Some(TicketSource::Dhcp))),
            (None, lent(None, None), (None, None)),
        ] {
            assert_eq!(choose(measured, lent), expected);
        }
    }
}
