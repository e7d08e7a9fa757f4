//! A controller's whole tree as files that others can replay: one `index.json` a resource, laid out as DMTF's mockup
//! server wants them, redacted (`redact.rs`), bounded, and gone on with after an interruption.
//!
//! While it is incomplete the folder holds `capture.state` (readable by its owner only), which knows the real names;
//! the last thing a capture does is to go through all files once more with everything it has learnt, and to remove it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::{Bmc, ROOT},
    error::BmcError,
    field,
    link::local,
    quirks::Switch,
    redact::Redactor,
};

/// What to capture, and where to.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The folder: new, empty, or one with an interrupted capture of the same controller.
    pub into: PathBuf,
    /// Random bytes that make the pseudonyms unguessable.
    pub salt: [u8; 32],
    /// Most resources.
    pub documents_max: usize,
    /// Most bytes written.
    pub bytes_max: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Resources written.
    pub documents: usize,
    /// Resources known and not yet read.
    pub waiting: usize,
    /// Bytes written.
    pub bytes: u64,
}

/// What was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Captured {
    /// Resources written, those of an interrupted run included.
    pub documents: usize,
    /// Bytes written by this run.
    pub bytes: u64,
    /// Private texts that have a pseudonym now.
    pub pseudonyms: usize,
    /// What was linked and could not be read: resource, why.
    pub not_read: BTreeMap<String, String>,
    /// Whether an interrupted capture was gone on with.
    pub resumed: bool,
    /// Whether a bound ended it before everything was read.
    pub cut: bool,
}

/// Why a capture ended.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The controller cannot be asked.
    #[error("the capture could not begin")]
    Bmc(#[source] BmcError),
    /// A file.
    #[error("the capture cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What came back.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds something else.
    #[error("{} holds {holds}; capture into a new folder", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        holds: String,
    },
}

/// What an interrupted capture needs to go on.  It holds real names.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    url: String,
    salt: Vec<u8>,
    done: BTreeSet<String>,
    waiting: VecDeque<String>,
    pseudonyms: BTreeMap<String, String>,
    not_read: BTreeMap<String, String>,
}

const STATE: &str = "capture.state";
/// Resources read between two saves of the state.
const SAVE_EVERY: usize = 64;
/// Resources asked for together; the client's own permits bound what is under way.
const BATCH: usize = 16;
/// Log entries that are resources of their own.
const ENTRIES_MAX: usize = 100;
/// Longest part of a path that becomes a file name.
const NAME_BYTES_MAX: usize = 200;
/// Pages of one collection that are joined.
const PAGES_MAX: usize = 32;

struct Run<'a> {
    bmc: &'a Bmc,
    plan: &'a Capture,
    state: State,
    redactor: Redactor,
    /// Done or waiting.
    known: BTreeSet<String>,
    entries: usize,
    bytes: u64,
}

impl Bmc {
    /// Captures the controller's tree.
    ///
    /// # Errors
    /// When the controller cannot be asked, or the folder cannot be written or holds something else.  What single
    /// resources answer is no error.
    pub async fn capture(
        &self,
        plan: &Capture,
        mut progress: impl FnMut(Progress),
    ) -> Result<Captured, CaptureError> {
        let mut run = Run::begin(self, plan)?;
        let resumed = !run.state.done.is_empty();
        let machine = self.machine().await.map_err(CaptureError::Bmc)?;
        if machine.quirks.has(Switch::LabelSerialInSku) {
            run.redactor.sku_is_serial();
        }
        run.save()?;
        let mut since_saved = 0;
        let mut cut = false;
        while !run.state.waiting.is_empty() {
            cut = run.state.done.len() >= plan.documents_max || run.bytes >= plan.bytes_max;
            if cut {
                break;
            }
            since_saved += run.batch().await?;
            let (documents, waiting, bytes) = (run.state.done.len(), run.state.waiting.len(), run.bytes);
            progress(Progress { documents, waiting, bytes });
            if since_saved >= SAVE_EVERY {
                run.save()?;
                since_saved = 0;
            }
        }
        run.finish(resumed, cut)
    }
}

impl<'a> Run<'a> {
    fn begin(bmc: &'a Bmc, plan: &'a Capture) -> Result<Self, CaptureError> {
        let url = bmc.inner.base.to_string();
        let at = plan.into.join(STATE);
        fs::create_dir_all(&plan.into)
            .map_err(|source| CaptureError::File { path: plan.into.clone(), source })?;
        let folder = |holds: &str| CaptureError::Folder { path: plan.into.clone(), holds: holds.into() };
        let state = match fs::read(&at) {
            Ok(bytes) => {
                let state: State =
                    serde_json::from_slice(&bytes).map_err(|_| folder("a capture.state that is not ours"))?;
                if state.url != url {
                    return Err(folder("an interrupted capture of another controller"));
                }
                state
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if plan.into.join("redfish").exists() {
                    return Err(folder("a finished capture"));
                }
                State {
                    url,
                    salt: plan.salt.to_vec(),
                    done: BTreeSet::new(),
                    waiting: VecDeque::from([ROOT.to_owned()]),
                    pseudonyms: BTreeMap::new(),
                    not_read: BTreeMap::new(),
                }
            }
            Err(source) => return Err(CaptureError::File { path: at, source }),
        };
        let salt = state.salt.clone().try_into().map_err(|_| folder("a capture.state that is not ours"))?;
        let mut redactor = Redactor::new(salt);
        redactor.resume(state.pseudonyms.clone());
        let known = state.done.iter().chain(&state.waiting).cloned().collect();
        Ok(Self { bmc, plan, state, redactor, known, entries: 0, bytes: 0 })
    }

    /// Reads some resources and writes them; gives how many were taken from those that waited.
    async fn batch(&mut self) -> Result<usize, CaptureError> {
        let mut reads = JoinSet::new();
        let mut taken = 0;
        while taken < BATCH
            && let Some(path) = self.state.waiting.pop_front()
        {
            taken += 1;
            let (bmc, path) = (self.bmc.clone(), path);
            reads.spawn(async move {
                let answer = whole(&bmc, &path).await;
                (path, answer)
            });
        }
        while let Some(read) = reads.join_next().await {
            let Ok((path, answer)) = read else { continue };
            self.state.done.insert(path.clone());
            match answer {
                Ok(body) if body.is_object() => {
                    for link in links(&body) {
                        self.enqueue(&link);
                    }
                    self.write(&path, body)?;
                }
                Ok(_) => drop(self.state.not_read.insert(path, "not an object".into())),
                Err(error) => drop(self.state.not_read.insert(path, why(&error))),
            }
        }
        Ok(taken)
    }

    fn enqueue(&mut self, link: &str) {
        let Some(path) = local(&self.bmc.inner.base, link) else { return };
        let path =
            if path.trim_end_matches('/') == ROOT.trim_end_matches('/') { ROOT.to_owned() } else { path };
        // With and without the slash it is one resource; the first spelling is the one that is asked for.
        let other = match path.strip_suffix('/') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{path}/"),
        };
        if self.known.contains(&path) || self.known.contains(&other) || skipped(&path) {
            return;
        }
        if path.contains("/Entries/") {
            if self.entries >= ENTRIES_MAX {
                return;
            }
            self.entries += 1;
        }
        self.known.insert(path.clone());
        self.state.waiting.push_back(path);
    }

    fn write(&mut self, path: &str, mut body: Value) -> Result<(), CaptureError> {
        self.redactor.redact(&mut body);
        let Some(at) = place(&self.plan.into, &self.redactor.text(path, true)) else {
            self.state.not_read.insert(path.to_owned(), "its path is no file name".into());
            return Ok(());
        };
        self.bytes += store(&at, &body)?;
        Ok(())
    }

    fn save(&mut self) -> Result<(), CaptureError> {
        self.state.pseudonyms = self.redactor.tokens().clone();
        self.state.salt = self.redactor.salt().to_vec();
        let (at, fresh) = (self.plan.into.join(STATE), self.plan.into.join("capture.state.new"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CaptureError::File { path, source }
        };
        let bytes = serde_json::to_vec(&self.state).unwrap_or_default();
        let mut file = fs::OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600).open(&fresh);
        let mut file = file.map_err(failed(&fresh))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed(&fresh))?;
        fs::rename(&fresh, &at).map_err(failed(&at))
    }

    /// Goes through all files with everything that was learnt, says what there is, and forgets the real names.
    fn finish(mut self, resumed: bool, cut: bool) -> Result<Captured, CaptureError> {
        if cut {
            self.save()?;
        }
        let mut files = Vec::new();
        listed(&self.plan.into.join("redfish"), &mut files);
        let version = self.plan.into.join("redfish/index.json");
        files.retain(|file| *file != version);
        for file in &files {
            let failed = |source| CaptureError::File { path: file.clone(), source };
            let bytes = fs::read(file).map_err(failed)?;
            let Ok(was) = serde_json::from_slice::<Value>(&bytes) else { continue };
            let now = settled(&was, &self.redactor);
            let inside = file.strip_prefix(&self.plan.into).unwrap_or(file).to_string_lossy().into_owned();
            let renamed = self.plan.into.join(self.redactor.known(&inside));
            if renamed != *file {
                fs::remove_file(file).map_err(failed)?;
            }
            if renamed != *file || now != was {
                store(&renamed, &now)?;
            }
        }
        let clean = |(path, why): (&String, &String)| (self.redactor.text(path, true), why.clone());
        let not_read: BTreeMap<String, String> = self.state.not_read.iter().map(clean).collect();
        let captured = Captured {
            documents: files.len(),
            bytes: self.bytes,
            pseudonyms: self.redactor.tokens().len(),
            not_read,
            resumed,
            cut,
        };
        store(&version, &json!({ "v1": "/redfish/v1/" }))?;
        store(&self.plan.into.join("capture.json"), &json!({ "format": 1, "capture": captured }))?;
        if !cut {
            let state = self.plan.into.join(STATE);
            fs::remove_file(&state).map_err(|source| CaptureError::File { path: state, source })?;
        }
        Ok(captured)
    }
}

/// Replaces what was learnt after a resource was written: texts only, since fields have their pseudonyms already.
fn settled(was: &Value, redactor: &Redactor) -> Value {
    match was {
        Value::Object(fields) => {
            let each = fields.iter().map(|(key, value)| (redactor.known(key), settled(value, redactor)));
            Value::Object(each.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(|value| settled(value, redactor)).collect()),
        Value::String(text) => Value::String(redactor.known(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => was.clone(),
    }
}

/// A resource, a collection with all its pages.
async fn whole(bmc: &Bmc, path: &str) -> Result<Value, BmcError> {
    let mut body = bmc.inner.get(path).await?.body;
    let mut pages = BTreeSet::from([path.to_owned()]);
    let mut next = follow(bmc, &body);
    while let Some(page) = next.filter(|page| pages.len() < PAGES_MAX && pages.insert(page.clone())) {
        let Ok(more) = bmc.inner.get(&page).await else { break };
        next = follow(bmc, &more.body);
        let members =
            field::at(&more.body, &["Members"]).and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(all) = body.get_mut("Members").and_then(Value::as_array_mut) {
            all.extend(members);
        }
    }
    if let Some(fields) = body.as_object_mut() {
        fields.remove("Members@odata.nextLink");
    }
    Ok(body)
}

fn follow(bmc: &Bmc, body: &Value) -> Option<String> {
    local(&bmc.inner.base, field::at(body, &["Members@odata.nextLink"])?.as_str()?)
}

/// Every link in a resource.
fn links(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        // Log entries stand whole in their collection; many controllers have no resource of their own for them.
        Value::Object(fields)
            if field::text(value, &["@odata.type"]).is_some_and(|kind| kind.contains("#LogEntry.")) =>
        {
            for value in fields.values().filter(|value| value.is_object()) {
                found.extend(links(value));
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text)
                        if matches!(key.as_str(), "@odata.id" | "@Redfish.ActionInfo" | "Uri") =>
                    {
                        found.push(text.clone());
                    }
                    Value::Object(_) | Value::Array(_) => found.extend(links(value)),
                    Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| found.extend(links(value))),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    found
}

/// What is not captured: published elsewhere (schemas), somebody's presence (sessions, subscriptions), files (dumps),
/// and what does something when it is asked for.
fn skipped(path: &str) -> bool {
    let parts = [
        "/JsonSchemas/",
        "/Sessions/",
        "/Subscriptions/",
        "/Dump",
        "/Actions/",
        "/$metadata",
        "/odata",
        "/Jobs/",
    ];
    parts.iter().any(|part| path.contains(part)) || path.contains('?')
}

fn why(error: &BmcError) -> String {
    if let BmcError::Refused { status, .. } = error {
        return format!("answered {status}");
    }
    let reasons = [
        (matches!(error, BmcError::TooLong { .. }), "too long"),
        (matches!(error, BmcError::NotJson { .. }), "not JSON"),
        (matches!(error, BmcError::Elsewhere { .. }), "redirects elsewhere"),
        (matches!(error, BmcError::Login { .. } | BmcError::Revoked { .. }), "this user may not read it"),
    ];
    reasons.iter().find(|(holds, _)| *holds).map_or("no answer", |(_, why)| why).to_owned()
}

/// The file of a resource; `None` where the path is not made of names.
fn place(into: &Path, path: &str) -> Option<PathBuf> {
    let mut at = into.to_owned();
    for part in path.trim_matches('/').split('/') {
        let name = !part.is_empty() && part != "." && part != ".." && part.len() <= NAME_BYTES_MAX;
        if !name || part.contains(['\\', '\0']) {
            return None;
        }
        at.push(part);
    }
    at.push("index.json");
    Some(at)
}

fn store(at: &Path, body: &Value) -> Result<u64, CaptureError> {
    let failed = |source| CaptureError::File { path: at.to_owned(), source };
    if let Some(folder) = at.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut bytes = serde_json::to_vec_pretty(body).unwrap_or_default();
    bytes.push(b'\n');
    fs::write(at, &bytes).map_err(failed)?;
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// All files below a folder.
fn listed(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { listed(&path, into) } else { into.push(path) }
    }
}
