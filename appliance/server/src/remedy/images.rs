//! Firmware images on their way to controllers: checked against the catalogue's digest before they are sent, and served
//! by a path that nobody can guess and that is good for one order.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::Arc,
};

use appliance_enrol::{Change, FirmwareChange, ImageWay};
use appliance_model::{Digest, Ticket};
use appliance_store::RemedyRow;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path as Place, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::{app::App, chain_of, plain};

/// A piece of an image in memory.
const PIECE_BYTES: usize = 128 << 10;
/// How long one controller may take for one image: 1.2 GB over the slowest port that was ever fast enough to use.
const FETCH_SECONDS_MAX: u64 = 3600;
/// Longest image that is pushed: it is held in memory.
const PUSH_BYTES_MAX: u64 = 512 << 20;

/// Serves images until the appliance ends; a site without a listener for them serves none.
pub(crate) async fn serve(listener: Option<TcpListener>, app: Arc<App>) {
    let router = Router::new().route("/firmware/{key}/{file}", get(image)).with_state(app);
    plain::serve_for(listener, router, FETCH_SECONDS_MAX).await;
}

/// The path of an order's image.
pub(crate) fn path(key: Ticket, file: &str) -> String {
    format!("/firmware/{key}/{file}")
}

/// An image that is what the catalogue says.
pub(crate) struct Checked {
    file: File,
    bytes: u64,
}

/// Opens an image and checks it.  Blocks for as long as reading it takes.
pub(crate) fn open(dir: &Path, change: &FirmwareChange) -> Result<Checked, String> {
    let path = dir.join(&change.file);
    let failed = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let mut file = File::open(&path).map_err(failed)?;
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], 0_u64);
    loop {
        let read = file.read(&mut piece).map_err(failed)?;
        let Some(part) = piece.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    let found: [u8; 32] = hash.finish().as_ref().try_into().unwrap_or_default();
    if Digest(found) != change.sha256 {
        return Err(format!(
            "{} is not what was allowed: its SHA-256 is {}, the plan says {}; put the right file there",
            path.display(),
            Digest(found),
            change.sha256
        ));
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(Checked { file, bytes })
}

/// The whole of a checked image, to be pushed.
pub(crate) fn whole(dir: &Path, change: &FirmwareChange) -> Result<Vec<u8>, String> {
    let mut checked = open(dir, change)?;
    if checked.bytes > PUSH_BYTES_MAX {
        return Err(format!("{} is too long to be pushed; let controllers fetch it", change.file));
    }
    let mut bytes = Vec::new();
    checked.file.read_to_end(&mut bytes).map_err(|error| format!("{}: {error}", change.file))?;
    // What was read twice may have changed in between.
    if Digest::of(&bytes) == change.sha256 {
        Ok(bytes)
    } else {
        Err(format!("{} changed while it was read", change.file))
    }
}

async fn image(
    State(app): State<Arc<App>>,
    method: Method,
    Place((key, file)): Place<(String, String)>,
) -> Response {
    let Ok(key) = key.parse::<Ticket>() else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(rows) = app.db(appliance_store::Store::open_remedies).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let ordered = rows.iter().find_map(|row| Some((row, fetched_by(row, key, &file)?)));
    let Some((row, change)) = ordered else { return StatusCode::NOT_FOUND.into_response() };
    let Some(firmware) = &app.config.firmware else { return StatusCode::NOT_FOUND.into_response() };
    let (dir, change) = (firmware.dir.clone(), change.clone());
    let checked = match tokio::task::spawn_blocking(move || open(&dir, &change)).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(why)) => {
            tracing::error!(host = %row.host, why, "an image is not served");
            return StatusCode::CONFLICT.into_response();
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    if method == Method::GET {
        // Written down before the first byte leaves: it is the trace of an order whose answer was lost.
        let id = row.id;
        if let Err(error) = app.db(move |store| store.remedy_fetched(id, key)).await {
            tracing::error!(host = %row.host, error = %chain_of(&error), "an image is not served");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        tracing::info!(host = %row.host, file, "a controller fetches its image");
    }
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, checked.bytes.to_string()),
    ];
    (headers, body(checked)).into_response()
}

/// The change whose image may be fetched by this path now.
fn fetched_by<'a>(row: &'a RemedyRow, key: Ticket, file: &str) -> Option<&'a FirmwareChange> {
    if row.state.key() != Some(key) {
        return None;
    }
    match &row.plan.steps.get(row.state.step()?)?.change {
        Change::Firmware(change) if change.way == ImageWay::Fetch && change.file == file => Some(change),
        Change::Firmware(_) | Change::Settings { .. } => None,
    }
}

fn body(checked: Checked) -> Body {
    let file = tokio::fs::File::from_std(checked.file).take(checked.bytes);
    Body::from_stream(futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok::<_, io::Error>((read > 0).then(|| (Bytes::from(piece), file)))
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use appliance_enrol::{Remedy, RemedyHappened, RemedyPlan, RemedyStep, Restart, Sight};
    use appliance_model::{Now, Serial};

    use super::*;

    fn change(sha256: Digest) -> FirmwareChange {
        FirmwareChange {
            component: "BMC".into(),
            target: "/BMC".into(),
            from: "1.0".into(),
            to: "2.0".into(),
            downgrade: false,
            file: "bmc.bin".into(),
            sha256,
            way: ImageWay::Fetch,
            catalogue: Digest::of(b""),
        }
    }

    #[test]
    fn only_the_file_that_was_allowed_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let missing = open(dir.path(), &change(Digest::of(b"image"))).err().unwrap();
        assert!(missing.contains("cannot be read"), "{missing}");
        std::fs::write(dir.path().join("bmc.bin"), b"image").unwrap();
        assert_eq!(whole(dir.path(), &change(Digest::of(b"image"))).unwrap(), b"image");
        let other = whole(dir.path(), &change(Digest::of(b"other"))).unwrap_err();
        assert!(other.contains("is not what was allowed"), "{other}");
    }

    #[test]
    fn a_path_is_good_for_its_order_and_no_longer() {
        let step = RemedyStep {
            what: "update".into(),
            because: vec![],
            change: Change::Firmware(change(Digest::of(b"image"))),
            restart: Restart::No,
        };
        let plan = RemedyPlan { serial: Serial::parse("S1").unwrap(), steps: vec![step] };
        let sight = Sight {
            there: false,
            waiting: false,
            tasks: BTreeSet::new(),
            fetched: false,
            shows: String::new(),
            reset: None,
        };
        let (key, other) = (Ticket([1; 16]), Ticket([2; 16]));
        let sent = Remedy::start().turn(&plan, RemedyHappened::Looked(sight, key), Now(1)).to;
        let mut row = RemedyRow {
            id: 1,
            host: "h-0123456789ab".parse().unwrap(),
            digest: plan.digest(),
            plan,
            allowed_by: "ada".into(),
            allowed_at: Now(1),
            state: Remedy::start(),
            percent: None,
            fetched: None,
            ended_at: None,
        };
        assert!(fetched_by(&row, key, "bmc.bin").is_none(), "nothing is ordered yet");
        row.state = sent;
        assert!(fetched_by(&row, key, "bmc.bin").is_some());
        assert!(fetched_by(&row, other, "bmc.bin").is_none());
        assert!(fetched_by(&row, key, "bios.bin").is_none());
        row.state = Remedy::Failed { step: 0, why: String::new() };
        assert!(fetched_by(&row, key, "bmc.bin").is_none());
    }
}
