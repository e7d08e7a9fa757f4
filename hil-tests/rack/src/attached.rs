//! What the BMC gave the machine beside its hardware: virtual media and Secure Boot keys.
//!
//! Media are real USB drives.  They are on the command line of the next QEMU; one that runs gets them plugged in if it
//! has a USB controller, which it has when there was a medium at power-on (a controller that is always there would be
//! hardware that no description names).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::bmc::{Medium, SecureBootKeys};
use crate::spec::BootTarget;

/// Media by slot, and keys.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    media: Mutex<BTreeMap<String, Medium>>,
    keys: Mutex<Keys>,
}

/// Keys that were given, and those that wait for the next start.
#[derive(Debug, Default)]
struct Keys {
    last: SecureBootKeys,
    next: Option<SecureBootKeys>,
}

impl Attached {
    pub(crate) fn set_medium(&self, slot: &str, medium: Option<Medium>) {
        let mut media = self.media();
        match medium {
            Some(medium) => drop(media.insert(slot.to_owned(), medium)),
            None => drop(media.remove(slot)),
        }
    }

    /// Keys from the next start on; the same as before, or none where there were none, change nothing.
    pub(crate) fn set_keys(&self, keys: SecureBootKeys) {
        let mut held = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if held.last != keys {
            held.last = keys.clone();
            held.next = Some(keys);
        }
    }

    /// The keys, once for each change.
    pub(crate) fn take_keys(&self) -> Option<SecureBootKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).next.take()
    }

    /// Arguments for a QEMU that starts now.
    pub(crate) fn arguments(&self, boot: BootTarget) -> Vec<String> {
        let media = self.media();
        let mut words = Vec::new();
        if media.is_empty() {
            return words;
        }
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        add("-device", "qemu-xhci,id=media".to_owned());
        for (number, (slot, medium)) in media.iter().enumerate() {
            let file = medium.file.display().to_string().replace(',', ",,");
            let read_only = if medium.optical || medium.write_protected { "on" } else { "off" };
            add(
                "-blockdev",
                format!(
                    "driver=raw,node-name={slot},read-only={read_only},file.driver=file,file.filename={file}"
                ),
            );
            let order =
                if boot == BootTarget::Cd { format!(",bootindex={}", number + 1) } else { String::new() };
            add("-device", format!("usb-bot,id=bot-{slot},bus=media.0"));
            let kind = if medium.optical { "scsi-cd" } else { "scsi-hd" };
            add("-device", format!("{kind},id=lun-{slot},bus=bot-{slot}.0,drive={slot}{order}"));
        }
        words
    }

    fn media(&self) -> MutexGuard<'_, BTreeMap<String, Medium>> {
        self.media.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// QMP commands that plug a medium into a QEMU that runs and has a controller.
pub(crate) fn plug(slot: &str, medium: &Medium) -> Vec<(&'static str, Value)> {
    let read_only = medium.optical || medium.write_protected;
    let file = json!({ "driver": "file", "filename": medium.file });
    let kind = if medium.optical { "scsi-cd" } else { "scsi-hd" };
    vec![
        ("blockdev-add", json!({ "driver": "raw", "node-name": slot, "read-only": read_only, "file": file })),
        ("device_add", json!({ "driver": "usb-bot", "id": format!("bot-{slot}"), "bus": "media.0" })),
        (
            "device_add",
            json!({ "driver": kind, "id": format!("lun-{slot}"), "bus": format!("bot-{slot}.0"), "drive": slot }),
        ),
        (
            "qom-set",
            json!({ "path": format!("/machine/peripheral/bot-{slot}"), "property": "attached", "value": true }),
        ),
    ]
}

/// QMP command that unplugs it; the block node follows when QEMU says that the device is gone.
pub(crate) fn unplug(slot: &str) -> (&'static str, Value) {
    ("device_del", json!({ "id": format!("bot-{slot}") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_on_the_command_line_and_first_when_asked() {
        let attached = Attached::default();
        assert!(attached.arguments(BootTarget::Cd).is_empty());
        let medium = Medium { file: "/tmp/a,b.iso".into(), optical: true, write_protected: true };
        attached.set_medium("scd", Some(medium));
        let line = attached.arguments(BootTarget::Cd).join(" ");
        assert!(line.contains("scsi-cd,id=lun-scd,bus=bot-scd.0,drive=scd,bootindex=1"), "{line}");
        assert!(line.contains("a,,b.iso"), "{line}");
        assert!(!attached.arguments(BootTarget::Disk).join(" ").contains("bootindex"));
        attached.set_medium("scd", None);
        assert!(attached.arguments(BootTarget::Cd).is_empty());
    }
}
