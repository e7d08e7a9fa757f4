//! Virtual media: an image by its address in a slot, as if somebody had put in a CD; and out again.
//!
//! Slots stand below the system, the manager, or both; some list the action and refuse it, some have none and are filled
//! by PATCH.  So every slot that takes a CD is tried, best first, and what counts is that the slot shows the image
//! afterwards (DSP0266; DSP2046, VirtualMedia).  Which target boots it differs, too: [`Inserted::boot`] says.

use std::time::Duration;

use appliance_model::BootTarget;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    boot::boot_targets,
    change::in_doubt,
    client::Bmc,
    error::BmcError,
    field, firmware_settings,
    inventory::Machine,
    link::local,
    quirks::{Quirks, Switch},
    view::MediaSlot,
    walk::Walk,
};

/// How long a task that inserts or ejects may take: controllers look at the image first, over slow links.
const TASK_SECONDS_MAX: u64 = 120;
/// How often a slot is looked at until it shows what was done.
const LOOKS_MAX: u32 = 10;

/// An image in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inserted {
    /// The slot.
    pub slot: String,
    /// The image, as the slot shows it.
    pub image: String,
    /// The boot target for it.
    pub boot: BootTarget,
}

impl Bmc {
    /// Slots that could take a CD by address, best first.
    ///
    /// # Errors
    /// When the controller cannot be asked, or has no such slot.
    pub async fn media_slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        let machine = self.machine().await?;
        let slots = self.slots(&machine).await?;
        if slots.is_empty() {
            let why = "it has no slot that takes a CD by address".to_owned();
            return Err(BmcError::NoMedia { url: self.inner.url(&machine.path), why });
        }
        Ok(slots)
    }

    /// Puts the image at `address` into a slot that takes it.
    ///
    /// # Errors
    /// When no slot takes it: what each of them answered.
    pub async fn insert_media(&self, address: &str) -> Result<Inserted, BmcError> {
        let machine = self.machine().await?;
        let url = self.inner.url(&machine.path);
        if machine.quirks.has(Switch::PlainImageUrl) && address.contains(['&', '?']) {
            let why = "this controller refuses image addresses with & or ?".to_owned();
            return Err(BmcError::NoMedia { url, why });
        }
        let slots = self.slots(&machine).await?;
        let holds =
            |slot: &&MediaSlot| slot.image.as_deref() == Some(address) && slot.inserted != Some(false);
        if let Some(slot) = slots.iter().find(holds) {
            return Ok(self.inserted(&machine, slot.clone(), address));
        }
        let mut refusals = Vec::new();
        for slot in slots {
            if slot.inserted == Some(true) || slot.image.is_some() {
                self.empty(&slot, &machine.quirks).await?;
            }
            match self.fill(&slot, address, &machine.quirks).await {
                Ok(()) => return Ok(self.inserted(&machine, slot, address)),
                // What a slot refuses, another may take.
                Err(
                    error @ (BmcError::Refused { .. }
                    | BmcError::NoMedia { .. }
                    | BmcError::TaskFailed { .. }),
                ) => {
                    refusals.push(format!("{}: {error}", slot.url));
                }
                Err(error) => return Err(error),
            }
        }
        if refusals.is_empty() {
            refusals.push("it has no slot that takes a CD by address".into());
        }
        Err(BmcError::NoMedia { url, why: refusals.join("; ") })
    }

    /// Empties a slot.  The machine should be off, or no longer read from it.
    ///
    /// # Errors
    /// When the controller refuses, or still shows the image.
    pub async fn eject_media(&self, slot: &str) -> Result<(), BmcError> {
        let machine = self.machine().await?;
        let known = self.slots(&machine).await?.into_iter().find(|known| known.url == slot);
        let Some(known) = known else {
            let why = format!("it has no slot {slot}");
            return Err(BmcError::NoMedia { url: self.inner.url(&machine.path), why });
        };
        self.empty(&known, &machine.quirks).await
    }

    async fn slots(&self, machine: &Machine) -> Result<Vec<MediaSlot>, BmcError> {
        if let Some(oem) = machine.quirks.switches().find_map(oem_place) {
            let why = format!("its virtual media is an OEM resource ({oem}) that takes SMB shares only");
            return Err(BmcError::NoMedia { url: self.inner.url(&machine.path), why });
        }
        let mut walk = Walk::new(self);
        let manager = match &machine.manager {
            Some(path) => self.inner.get(path).await.ok().map(|answer| (path.clone(), answer.body)),
            None => None,
        };
        let manager = manager.as_ref().map(|(path, body)| (path.as_str(), body));
        let slots = firmware_settings::media(&mut walk, (&machine.path, &machine.system), manager).await;
        Ok(best_first(slots, &machine.quirks))
    }

    fn inserted(&self, machine: &Machine, slot: MediaSlot, image: &str) -> Inserted {
        let boot = boot_target(&boot_targets(&machine.system), &machine.quirks);
        Inserted { slot: slot.url, image: image.to_owned(), boot }
    }

    async fn fill(&self, slot: &MediaSlot, image: &str, quirks: &Quirks) -> Result<(), BmcError> {
        if slot.insert && !quirks.has(Switch::InsertByPatch) {
            let mut body = Map::from_iter([("Image".to_owned(), Value::from(image))]);
            if !quirks.has(Switch::InsertWithoutFlags) {
                body.insert("Inserted".into(), true.into());
                body.insert("WriteProtected".into(), true.into());
            }
            if quirks.has(Switch::MediaNeedsCredentials) {
                body.insert("UserName".into(), "none".into());
                body.insert("Password".into(), "none".into());
            }
            let full = self.act(slot, "InsertMedia", Value::Object(body.clone()), quirks).await;
            // A service that does not know the optional parameters says so with 400.
            let result = match full {
                Err(BmcError::Refused { status: 400, .. }) if body.remove("Inserted").is_some() => {
                    body.remove("WriteProtected");
                    self.act(slot, "InsertMedia", Value::Object(body), quirks).await
                }
                other => other,
            };
            match result {
                Ok(()) => return self.shows(slot, Some(image)).await,
                Err(error) if in_doubt(&error) => return self.found(slot, Some(image), error).await,
                // The action is listed and not there: the slot itself may take it.
                Err(BmcError::Refused { status: 404 | 405 | 501, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let body = json!({ "Image": image, "Inserted": true, "WriteProtected": true });
        match self.patch_slot(slot, &body, quirks).await {
            Ok(()) => self.shows(slot, Some(image)).await,
            Err(error) if in_doubt(&error) => self.found(slot, Some(image), error).await,
            Err(error) => Err(error),
        }
    }

    /// A change whose answer was lost: done when the slot shows it.
    async fn found(&self, slot: &MediaSlot, wanted: Option<&str>, lost: BmcError) -> Result<(), BmcError> {
        self.shows(slot, wanted).await.map_err(|_| lost)
    }

    async fn empty(&self, slot: &MediaSlot, quirks: &Quirks) -> Result<(), BmcError> {
        let mut by_action = None;
        if slot.eject && !quirks.has(Switch::InsertByPatch) {
            by_action = Some(self.act(slot, "EjectMedia", json!({}), quirks).await);
        }
        match by_action {
            Some(Ok(())) => {}
            Some(Err(BmcError::Refused { status: 404 | 405 | 501, .. })) | None => {
                let body = json!({ "Image": null, "Inserted": false });
                match self.patch_slot(slot, &body, quirks).await {
                    Err(error) if in_doubt(&error) => return self.found(slot, None, error).await,
                    other => other?,
                }
            }
            Some(Err(error)) if in_doubt(&error) => return self.found(slot, None, error).await,
            Some(Err(error)) => return Err(error),
        }
        self.shows(slot, None).await
    }

    /// One action of a slot, followed to its end.
    async fn act(
        &self,
        slot: &MediaSlot,
        action: &str,
        body: Value,
        quirks: &Quirks,
    ) -> Result<(), BmcError> {
        let served = self.inner.get(&slot.url).await?.body;
        let named = field::at(&served, &["Actions", &format!("#VirtualMedia.{action}"), "target"]);
        let named = named.and_then(Value::as_str).and_then(|link| local(&self.inner.base, link));
        let target = named
            .unwrap_or_else(|| format!("{}/Actions/VirtualMedia.{action}", slot.url.trim_end_matches('/')));
        let answer = self.inner.change("POST", &target, &body, None).await?;
        self.end_of(&answer, quirks).await
    }

    async fn patch_slot(&self, slot: &MediaSlot, body: &Value, quirks: &Quirks) -> Result<(), BmcError> {
        let served = self.inner.get(&slot.url).await?;
        let tag = served.etag.or_else(|| field::text(&served.body, &["@odata.etag"]));
        let mut last = None;
        for if_match in quirks.entity_tags(tag.as_deref()) {
            match self.inner.change("PATCH", &slot.url, body, if_match).await {
                Ok(answer) => return self.end_of(&answer, quirks).await,
                Err(error @ BmcError::Refused { status: 412 | 428, .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    async fn end_of(&self, answer: &crate::exchange::Answer, quirks: &Quirks) -> Result<(), BmcError> {
        if answer.status != 202 || quirks.has(Switch::AcceptedWithoutTask) {
            return Ok(());
        }
        let accepted = self.accepted(answer);
        let followed = self.follow(&accepted, Duration::from_secs(TASK_SECONDS_MAX)).await?;
        if followed.outcome == crate::task::Outcome::Failed {
            return Err(BmcError::TaskFailed {
                url: followed.url.unwrap_or_default(),
                said: followed.messages.join("; "),
            });
        }
        // What nobody tells is seen in the slot.
        Ok(())
    }

    /// Waits until the slot shows the image, or none.
    async fn shows(&self, slot: &MediaSlot, wanted: Option<&str>) -> Result<(), BmcError> {
        let mut found = String::new();
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            let shown = self.inner.get(&slot.url).await?.body;
            let (image, inserted) = (field::text(&shown, &["Image"]), field::flag(&shown, &["Inserted"]));
            if state_fits(wanted, image.as_deref(), inserted) {
                return Ok(());
            }
            found = format!("image {image:?}, inserted {inserted:?}");
        }
        let wanted = wanted.unwrap_or("nothing");
        let why = format!("slot {} was to hold {wanted} and shows {found}", slot.url);
        Err(BmcError::NoMedia { url: self.inner.url(&slot.url), why })
    }
}

/// Whether a slot shows what was wanted.  Some controllers show another spelling of the address, some only the flag.
fn state_fits(wanted: Option<&str>, image: Option<&str>, inserted: Option<bool>) -> bool {
    match wanted {
        Some(wanted) => match (image, inserted) {
            (Some(image), None | Some(true)) => image == wanted || image.ends_with(file_name(wanted)),
            (None, Some(true)) => true,
            (Some(_) | None, Some(false)) | (None, None) => false,
        },
        None => inserted == Some(false) || (image.is_none() && inserted != Some(true)),
    }
}

fn file_name(address: &str) -> &str {
    address.rsplit('/').next().unwrap_or(address)
}

/// Slots for a CD: the system's before the manager's where both show the same, those with the action first, empty ones
/// before full ones, sticks last.
fn best_first(slots: Vec<MediaSlot>, quirks: &Quirks) -> Vec<MediaSlot> {
    let has = |slot: &MediaSlot, names: &[&str]| {
        slot.kinds.iter().any(|kind| names.iter().any(|name| kind.eq_ignore_ascii_case(name)))
    };
    let of_system = quirks.has(Switch::TwoMediaCollections) && slots.iter().any(|slot| slot.of_system);
    let mut fit: Vec<MediaSlot> = slots
        .into_iter()
        .filter(|slot| !of_system || slot.of_system)
        .filter(|slot| slot.kinds.is_empty() || has(slot, &["CD", "DVD", "USBStick"]))
        .collect();
    fit.sort_by_key(|slot| {
        let stick = !slot.kinds.is_empty() && !has(slot, &["CD", "DVD"]);
        (stick, !slot.insert, slot.inserted == Some(true), !slot.of_system)
    });
    fit
}

/// The target that boots a virtual CD.
fn boot_target(offered: &[String], quirks: &Quirks) -> BootTarget {
    let offers = |name: &str| offered.iter().any(|target| target == name);
    if quirks.has(Switch::VirtualCdIsCd) {
        return BootTarget::Cd;
    }
    if quirks.has(Switch::VirtualCdIsUsbCd) && (offered.is_empty() || offers("UsbCd")) {
        return BootTarget::UsbCd;
    }
    if !offers("Cd") && offers("UsbCd") { BootTarget::UsbCd } else { BootTarget::Cd }
}

fn oem_place(switch: Switch) -> Option<&'static str> {
    if let Switch::MediaByOem(place) = switch { Some(place) } else { None }
}
