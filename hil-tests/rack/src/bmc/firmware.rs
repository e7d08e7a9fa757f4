//! Firmware updates: by address or by push, as a task after which the version is another.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::answer::Answer;
use super::desk::Desk;
use super::journal::event;
use super::{outbound, tasks};

/// Largest image.
pub(crate) const IMAGE_BYTES_MAX: u64 = 256 << 20;

/// How much of a pushed image is looked at: its head tells the version, its multipart parameters the targets.
const HEAD_BYTES: usize = 64 * 1024;

/// How long an update takes.
const UPDATE: Duration = Duration::from_millis(800);

/// Whether a POST to this path pushes an image.
pub(crate) fn is_push(desk: &Desk, path: &str) -> bool {
    let service = desk.store.of_kind("UpdateService").into_iter().next();
    let value = service.and_then(|path| desk.store.value(&path)).unwrap_or_default();
    ["HttpPushUri", "MultipartHttpPushUri"]
        .iter()
        .filter_map(|key| value.get(key)?.as_str())
        .any(|uri| uri.trim_end_matches('/') == path)
}

/// A pushed image, plain or multipart.
pub(crate) async fn push(desk: &Arc<Desk>, path: &str, headers: &HeaderMap, body: Body) -> Answer {
    let multipart = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("multipart/form-data"));
    let mut stream = body.into_data_stream();
    let (mut head, mut total) = (Vec::new(), 0_u64);
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            return Answer::bad("MalformedJSON", "The upload ended early.");
        };
        total += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if total > IMAGE_BYTES_MAX {
            let text = format!("The image is longer than {IMAGE_BYTES_MAX} bytes.");
            return Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", text);
        }
        let room = HEAD_BYTES.saturating_sub(head.len()).min(chunk.len());
        head.extend_from_slice(chunk.get(..room).unwrap_or_default());
    }
    if total == 0 {
        return Answer::bad("PropertyMissing", "There is no image in the request.");
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    if multipart && (!text.contains("name=\"UpdateFile\"") || !text.contains("name=\"UpdateParameters\"")) {
        let text = "A multipart push has the parts UpdateParameters and UpdateFile.";
        return Answer::bad("PropertyMissing", text);
    }
    let target = text.split("\"Targets\"").nth(1).and_then(|rest| {
        let list = rest.split(['[', ']']).nth(1)?;
        list.split('"').nth(1).map(ToOwned::to_owned)
    });
    tracing::debug!(path, total, multipart, "firmware pushed");
    let version = version_in(&text);
    update(desk, target, version, Box::pin(async { Ok(()) }))
}

/// The action SimpleUpdate.
pub(crate) fn simple_update(desk: &Arc<Desk>, body: &Value) -> Result<Answer, Answer> {
    let image = body.get("ImageURI").and_then(Value::as_str);
    let image =
        image.ok_or_else(|| Answer::bad("ActionParameterMissing", "The action requires ImageURI."))?;
    if let Some(protocol) =
        body.get("TransferProtocol").filter(|given| **given != "HTTP" && **given != "HTTPS")
    {
        return Err(Answer::bad(
            "ActionParameterValueNotInList",
            format!("{protocol} is not HTTP or HTTPS."),
        ));
    }
    let image = if image.contains("://") { image.to_owned() } else { format!("http://{image}") };
    let target = body.pointer("/Targets/0").and_then(Value::as_str).map(ToOwned::to_owned);
    let version = version_in(&image);
    let fetch = Box::pin(async move {
        let fetched = outbound::fetch(&image, None, IMAGE_BYTES_MAX, None).await;
        fetched.map(drop).map_err(|error| error.to_string())
    });
    Ok(update(desk, target, version, fetch))
}

/// `VERSION=x.y.z` in an image's head, or the digits and dots in its name.
fn version_in(text: &str) -> Option<String> {
    let dotted = |text: &str| {
        let version: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        Some(version.trim_end_matches('.').to_owned())
            .filter(|version| version.contains('.') && version.len() <= 32)
    };
    if let Some(rest) = text.split("VERSION=").nth(1) {
        return dotted(rest);
    }
    let name = text.rsplit('/').next()?.trim_end_matches(".bin").trim_end_matches(".img");
    dotted(name.rsplit(['-', '_']).next()?)
}

fn update(desk: &Arc<Desk>, target: Option<String>, version: Option<String>, fetch: tasks::Work) -> Answer {
    let place = target
        .map(|target| target.trim_end_matches('/').to_owned())
        .filter(|target| desk.store.kind(target).as_deref() == Some("SoftwareInventory"))
        .or_else(|| desk.store.of_kind("SoftwareInventory").into_iter().find(|path| path.ends_with("/BMC")))
        .or_else(|| desk.store.of_kind("SoftwareInventory").into_iter().next());
    let inner = Arc::clone(desk);
    let work = Box::pin(async move {
        fetch.await?;
        let Some(place) = place else { return Err("there is no firmware to update".to_owned()) };
        let old = inner.store.value(&place).unwrap_or_default();
        let old = old.get("Version").and_then(Value::as_str).unwrap_or_default().to_owned();
        let new = version.unwrap_or_else(|| format!("{old}+1"));
        inner.store.edit(&place, |value| value["Version"] = json!(new));
        mirror(&inner, &place, &new);
        inner.journal.write("OK", &format!("Firmware of {place} is now {new}."), event::OTHER);
        Ok(())
    });
    tasks::start(desk, "Firmware update", UPDATE, work)
}

/// The version is also told by what the firmware belongs to.
fn mirror(desk: &Desk, place: &str, version: &str) {
    let (kind, key) = match place.rsplit('/').next() {
        Some("BMC") => ("Manager", "FirmwareVersion"),
        Some("BIOS") => ("ComputerSystem", "BiosVersion"),
        Some(_) | None => return,
    };
    for path in desk.store.of_kind(kind).into_iter().take(1) {
        desk.store.edit(&path, |value| value[key] = json!(version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_images_and_names() {
        for (text, wanted) in [
            ("noise VERSION=2.0.1\nmore", Some("2.0.1")),
            ("http://h/fw/bmc-01.02.04.bin", Some("01.02.04")),
            ("http://h/fw/bmc.bin", None),
            ("nothing", None),
        ] {
            assert_eq!(version_in(text).as_deref(), wanted, "{text}");
        }
    }
}
