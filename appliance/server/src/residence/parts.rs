//! `GET /agent/v1/part/SHA256`: the parts of the release that hosts get, and the programs of images that servers run, whole
//! or in a range.
//!
//! Only agents with a session get them, and only what an order can name: a digest is looked up, never a path.

use std::{io::SeekFrom, sync::Arc};

use appliance_model::Digest;
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::{
    agent_api::{Refused, authenticate},
    app::App,
};

/// What is read from the file and sent at once.
const PIECE_BYTES: usize = 256 << 10;

pub(crate) async fn part(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    authenticate(&app, &headers).await?;
    let none = || {
        Refused(
            StatusCode::NOT_FOUND,
            "no part of the release that hosts get has this digest, and no programs of an image that is served here; ask \
             for the order again, or restart the server so that it gets today's image"
                .into(),
        )
    };
    let digest: Digest = name.parse().map_err(|_| none())?;
    let part = app.releases.current().and_then(|current| current.part(digest));
    let part = part.map(|(part, path)| (part.bytes, path.to_owned()));
    let (bytes, path) = part.or_else(|| app.programs.find(digest)).ok_or_else(none)?;
    let gone = |error: std::io::Error| {
        tracing::error!(file = %path.display(), %error, "a part of the release cannot be read");
        Refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the appliance cannot read that part; asking again is safe".into(),
        )
    };
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((from, to)) = asked.map_or(Some((0, bytes)), |text| range(text, bytes)) else {
        let all = format!("bytes */{bytes}");
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, all)]).into_response());
    };
    let mut file = tokio::fs::File::open(&path).await.map_err(gone)?;
    file.seek(SeekFrom::Start(from)).await.map_err(gone)?;
    let pieces = futures_util::stream::try_unfold(file.take(to - from), |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((piece, file)))
    });
    let length =
        [(header::CONTENT_LENGTH, (to - from).to_string()), (header::ACCEPT_RANGES, "bytes".to_owned())];
    let body = Body::from_stream(pieces);
    Ok(if asked.is_some() {
        let range = format!("bytes {from}-{}/{bytes}", to.saturating_sub(1));
        (StatusCode::PARTIAL_CONTENT, length, [(header::CONTENT_RANGE, range)], body).into_response()
    } else {
        (length, body).into_response()
    })
}

/// The bytes that a `Range` asks for, first and behind the last: one range, as agents ask.
fn range(text: &str, bytes: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (first, last) {
        ("", last) => (bytes.saturating_sub(last.parse().ok()?), bytes),
        (first, "") => (first.parse().ok()?, bytes),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?.min(bytes)),
    };
    (from < to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn one_range_as_agents_ask() {
        for (text, expected) in [
            ("bytes=0-", Some((0, 10))),
            ("bytes=4-", Some((4, 10))),
            ("bytes=4-7", Some((4, 8))),
            ("bytes=4-99", Some((4, 10))),
            ("bytes=-3", Some((7, 10))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=10-", None),
            ("bytes=7-4", None),
            ("bytes=0-18446744073709551615", None),
            ("bytes=0-1,4-5", None),
            ("pages=0-1", None),
            ("bytes=", None),
            ("bytes=-0", None),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
    }
}
