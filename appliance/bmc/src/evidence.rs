//! What a controller said, word for word: a digest of every body, and the bodies themselves within a bound.  Also what
//! conditional requests are made from.

use std::{collections::BTreeMap, sync::Arc};

use appliance_model::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::exchange::Answer;

/// How much of what a controller said is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Digests only.
    Digests,
    /// Digests, and bodies up to this many bytes together; later bodies are digests again.
    Bodies {
        /// The bound, in bytes.
        bytes_max: usize,
    },
}

/// The digest of one body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Body {
    /// The resource.
    pub url: String,
    /// SHA-256 of the body as it came.
    pub sha256: Digest,
    /// Its length.
    pub bytes: usize,
}

#[derive(Debug)]
struct Kept {
    sha256: Digest,
    bytes: usize,
    etag: Option<String>,
    raw: Option<Arc<[u8]>>,
}

/// The last body of each resource.
#[derive(Debug)]
pub(crate) struct Bodies {
    keep: Keep,
    held: usize,
    by_path: BTreeMap<String, Kept>,
}

/// Most resources remembered: more than a walk reads.
const ENTRIES_MAX: usize = 20_000;

impl Bodies {
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, held: 0, by_path: BTreeMap::new() }
    }

    /// Remembers an answer to a GET.
    pub(crate) fn put(&mut self, path: &str, answer: &Answer) {
        if answer.raw.is_empty() {
            return;
        }
        self.drop_one(path);
        if self.by_path.len() >= ENTRIES_MAX {
            return;
        }
        let raw = Arc::clone(&answer.raw);
        let room = match self.keep {
            Keep::Digests => false,
            Keep::Bodies { bytes_max } => self.held.saturating_add(raw.len()) <= bytes_max,
        };
        let (sha256, bytes) = (Digest::of(&raw), raw.len());
        self.held += if room { bytes } else { 0 };
        let kept = Kept { sha256, bytes, etag: answer.etag.clone(), raw: room.then_some(raw) };
        self.by_path.insert(path.to_owned(), kept);
    }

    /// The tag to ask with: only where the body is still there to be used.
    pub(crate) fn tag(&self, path: &str) -> Option<String> {
        let kept = self.by_path.get(path)?;
        kept.raw.as_ref()?;
        kept.etag.clone().filter(|tag| well_formed(tag))
    }

    /// The kept body, parsed anew.
    pub(crate) fn body(&self, path: &str) -> Option<Value> {
        serde_json::from_slice(&self.raw(path)?).ok()
    }

    pub(crate) fn raw(&self, path: &str) -> Option<Arc<[u8]>> {
        self.by_path.get(path)?.raw.clone()
    }

    /// After a change nothing is asked for conditionally: tags of neighbours may not follow.
    pub(crate) fn forget_tags(&mut self) {
        for kept in self.by_path.values_mut() {
            kept.etag = None;
        }
    }

    pub(crate) fn digests(&self) -> Vec<Body> {
        let body =
            |(url, kept): (&String, &Kept)| Body { url: url.clone(), sha256: kept.sha256, bytes: kept.bytes };
        self.by_path.iter().map(body).collect()
    }

    fn drop_one(&mut self, path: &str) {
        if let Some(old) = self.by_path.remove(path) {
            self.held -= old.raw.map_or(0, |raw| raw.len());
        }
    }
}

/// An entity tag as RFC 9110 writes it; controllers also serve bare words, which must not be sent back.
fn well_formed(tag: &str) -> bool {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')
}

/// The strong form of a tag, for `If-Match`: RFC 9110 never matches weak ones there, and controllers that serve weak
/// tags take the strong form.
pub(crate) fn strong(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, tag: &str) -> Answer {
        Answer { status: 200, etag: Some(tag.into()), raw: text.as_bytes().into(), ..Answer::default() }
    }

    #[test]
    fn bodies_are_bounded_and_digests_are_not_lost() {
        let mut bodies = Bodies::new(Keep::Bodies { bytes_max: 10 });
        bodies.put("/a", &answer(r#"{"a":1}"#, "\"1\""));
        bodies.put("/b", &answer(r#"{"b":1}"#, "\"2\""));
        assert_eq!((bodies.tag("/a").as_deref(), bodies.tag("/b")), (Some("\"1\""), None), "no body, no tag");
        assert_eq!(bodies.digests().len(), 2);
        bodies.put("/a", &answer("{}", "W/\"3\""));
        bodies.put("/b", &answer(r#"{"b":2}"#, "bare"));
        assert_eq!((bodies.tag("/a").as_deref(), bodies.tag("/b")), (Some("W/\"3\""), None));
        assert_eq!(bodies.body("/b"), Some(serde_json::json!({ "b": 2 })));
        bodies.forget_tags();
        assert_eq!(bodies.tag("/a"), None);
        assert_eq!((strong("W/\"3\""), strong("\"3\"")), ("\"3\"", "\"3\""));
    }
}
