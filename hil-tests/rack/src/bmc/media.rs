//! Virtual media: the image is fetched by the BMC and put into the machine's drive.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::Answer;
use super::desk::Desk;
use super::journal::event;
use super::outbound;
use super::power::Medium;

/// Largest image.
const IMAGE_BYTES_MAX: u64 = 4 << 30;

/// The action InsertMedia.
pub(crate) async fn insert(desk: &Arc<Desk>, slot: &str, body: &Value) -> Result<Answer, Answer> {
    if desk.quirks.media_by_patch_only {
        return Err(Answer::missing(&format!("{slot}/Actions/VirtualMedia.InsertMedia")));
    }
    if desk.quirks.media_answers_405 {
        return Err(Answer::not_allowed("GET, HEAD"));
    }
    let refused = ["Inserted", "WriteProtected"].into_iter().find(|name| body.get(name).is_some());
    if let Some(name) = refused.filter(|_| desk.quirks.media_refuses_inserted) {
        let text = format!("The action parameter {name} is not supported.");
        return Err(Answer::bad("ActionParameterUnknown", text));
    }
    mount(desk, slot, body).await?;
    Ok(Answer::done())
}

/// PATCH of a slot: an image puts it in, null takes it out.
pub(crate) async fn patch(desk: &Arc<Desk>, slot: &str, body: &Value) -> Result<Answer, Answer> {
    let inserted = body.get("Inserted").and_then(Value::as_bool);
    match (body.get("Image"), inserted) {
        (Some(Value::String(image)), _) if image.is_empty() => unmount(desk, slot).await?,
        (Some(Value::String(_)), None | Some(true)) => mount(desk, slot, body).await?,
        (Some(Value::Null), _) | (_, Some(false)) => unmount(desk, slot).await?,
        (None, _) | (Some(_), _) => return Err(Answer::lacks("Image")),
    }
    Ok(Answer::ok(desk.resource(slot).unwrap_or_default()))
}

/// The action EjectMedia.
pub(crate) async fn eject(desk: &Arc<Desk>, slot: &str, bytes: &[u8]) -> Result<Answer, Answer> {
    if desk.quirks.media_by_patch_only {
        return Err(Answer::missing(&format!("{slot}/Actions/VirtualMedia.EjectMedia")));
    }
    if desk.quirks.eject_needs_body && bytes.is_empty() {
        return Err(Answer::bad("MalformedJSON", "The body is missing."));
    }
    unmount(desk, slot).await?;
    Ok(Answer::done())
}

async fn mount(desk: &Arc<Desk>, slot: &str, body: &Value) -> Result<(), Answer> {
    let state = desk.store.value(slot).ok_or_else(|| Answer::missing(slot))?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let image = text("Image").ok_or_else(|| {
        Answer::bad("ActionParameterMissing", "The action InsertMedia requires the parameter Image.")
    })?;
    if state.get("Inserted").and_then(Value::as_bool) == Some(true) {
        return Err(Answer::conflict("ResourceInUse", "There is a medium in this slot; eject it first."));
    }
    let optical = state.get("MediaTypes").and_then(Value::as_array).is_some_and(|kinds| {
        kinds.iter().filter_map(Value::as_str).any(|kind| kind == "CD" || kind == "DVD")
    });
    let file = desk.server.folder().map(|folder| folder.join(format!("media-{}.img", name_of(slot))));
    let credentials = text("UserName").zip(text("Password"));
    let bytes =
        outbound::fetch(image, credentials, IMAGE_BYTES_MAX, file.as_deref()).await.map_err(|error| {
            let text = format!("The image could not be fetched: {error}");
            Answer::error(StatusCode::BAD_REQUEST, "CouldNotEstablishConnection", text)
        })?;
    tracing::debug!(image, bytes, slot, "virtual medium fetched");
    let write_protected = body.get("WriteProtected").and_then(Value::as_bool).unwrap_or(true);
    if let Some(file) = file {
        let medium = Medium { file, optical, write_protected };
        change(desk, slot, Some(medium)).await?;
    }
    let name = image.split('?').next().unwrap_or(image).rsplit('/').next().unwrap_or_default().to_owned();
    let scheme = if image.starts_with("https") { "HTTPS" } else { "HTTP" };
    desk.store.edit(slot, |value| {
        for (key, new) in [
            ("Image", json!(image)),
            ("ImageName", json!(name)),
            ("Inserted", json!(true)),
            ("WriteProtected", json!(write_protected)),
            ("ConnectedVia", json!("URI")),
            ("TransferMethod", json!(text("TransferMethod").unwrap_or("Stream"))),
            ("TransferProtocolType", json!(text("TransferProtocolType").unwrap_or(scheme))),
        ] {
            value[key] = new;
        }
    });
    told(desk, slot, "A virtual medium was inserted.");
    Ok(())
}

async fn unmount(desk: &Arc<Desk>, slot: &str) -> Result<(), Answer> {
    if !desk.store.has(slot) {
        return Err(Answer::missing(slot));
    }
    change(desk, slot, None).await?;
    desk.store.edit(slot, |value| {
        for (key, new) in [("Inserted", json!(false)), ("ConnectedVia", json!("NotConnected"))] {
            value[key] = new;
        }
        for key in ["Image", "ImageName", "TransferMethod", "TransferProtocolType"] {
            value[key] = Value::Null;
        }
    });
    told(desk, slot, "A virtual medium was ejected.");
    Ok(())
}

async fn change(desk: &Arc<Desk>, slot: &str, medium: Option<Medium>) -> Result<(), Answer> {
    let work = Arc::clone(&desk.server).media(name_of(slot), medium);
    work.await.map_err(|error| Answer::internal(error.to_string()))
}

fn told(desk: &Desk, slot: &str, text: &str) {
    desk.journal.write("OK", text, event::OTHER);
    desk.tell("ResourceEvent.1.4.ResourceChanged", "OK", text, slot);
}

/// A slot's name for files and devices: owner and id, letters and digits only.
fn name_of(slot: &str) -> String {
    let words: Vec<&str> = slot.split('/').collect();
    let owner = if words.contains(&"Managers") { "m" } else { "s" };
    let id: String =
        words.last().into_iter().flat_map(|id| id.chars()).filter(char::is_ascii_alphanumeric).collect();
    format!("{owner}{}", id.to_ascii_lowercase())
}
