//! Who this machine says it is in its hello: the ticket it was booted with, serial, UUID, port addresses.

use std::path::Path;

use appliance_api::agent::{Hello, PROTOCOL};
use appliance_model::{Digest, Ticket};
use attest_wire::eventlog::{EventLog, boot_url};

use crate::{say, system};

/// Makes the hello from what the machine below `root` tells.
pub fn hello(root: &Path, boot_nonce: Digest) -> Hello {
    let boot_url = booted_from(root);
    let inventory = firmware_checks_probe::probe(root);
    Hello {
        protocol: PROTOCOL,
        agent: crate::VERSION.into(),
        ticket: boot_url.as_deref().and_then(ticket_in),
        boot_url,
        serial: inventory.system.serial.map(|serial| serial.to_string()),
        uuid: inventory.system.uuid,
        macs: inventory.nics.iter().filter_map(|nic| nic.mac).collect(),
        boot_nonce,
    }
}

/// The URL the firmware measured when it loaded this image.
fn booted_from(root: &Path) -> Option<String> {
    let log = match system::event_log(root) {
        Ok(log) => log,
        Err(error) => {
            say!("no event log of the TPM ({error}): no boot ticket can be shown");
            return None;
        }
    };
    match EventLog::parse(&log) {
        Ok(log) => boot_url(&log),
        Err(error) => {
            say!("the event log of the TPM makes no sense ({error}): no boot ticket can be shown");
            None
        }
    }
}

/// `http://10.77.0.1:8080/boot/TICKET/discovery.efi`.
fn ticket_in(url: &str) -> Option<Ticket> {
    let (_, path) = url.split_once("/boot/")?;
    path.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets() {
        let hex = "00112233445566778899aabbccddeeff";
        let ticket: Ticket = hex.parse().unwrap();
        for (url, expected) in [
            (format!("http://10.77.0.1:8080/boot/{hex}/discovery.efi"), Some(ticket)),
            (format!("http://10.77.0.1:8080/boot/{hex}"), Some(ticket)),
            (format!("http://10.77.0.1:8080/boot/{hex}0/discovery.efi"), None),
            (format!("http://10.77.0.1:8080/image/{hex}/discovery.efi"), None),
        ] {
            assert_eq!(ticket_in(&url), expected, "{url}");
        }
    }
}
