//! Following links, within bounds: each resource once, so many in all, so many a collection.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    client::Bmc,
    error::BmcError,
    field,
    link::local,
    view::{Finding, Severity},
};

/// Resources read for one walk: a server with 32 modules, 24 drives and 12 adapters needs 150 for what it is made of;
/// with firmware, sensors and logs of an 8-GPU board 1,900 were counted.
const RESOURCES_MAX: usize = 4000;
/// Members of one collection: the largest real ones (memory of 8-socket servers) have 128.
const MEMBERS_MAX: usize = 512;
/// Pages of one collection.
const PAGES_MAX: usize = 32;

/// One walk through a controller's resources.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    bmc: &'a Bmc,
    /// Bodies as they came: parsed, a thousand controllers' would be four times as large.
    seen: HashMap<String, Arc<[u8]>>,
    /// What was read ahead and failed: told when somebody asks for it.
    failed_ahead: BTreeMap<String, Failure>,
    pub(crate) findings: Vec<Finding>,
    /// What it means when something cannot be read: an error for what the machine is, a warning for what it says besides.
    pub(crate) gravity: Severity,
    left: usize,
    until: Instant,
    late: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(bmc: &'a Bmc) -> Self {
        let until = Instant::now() + Duration::from_secs(bmc.inner.options.walk_seconds_max);
        Self {
            bmc,
            seen: HashMap::new(),
            failed_ahead: BTreeMap::new(),
            findings: Vec::new(),
            gravity: Severity::Error,
            left: RESOURCES_MAX,
            until,
            late: false,
        }
    }

    pub(crate) fn find(&mut self, severity: Severity, url: &str, what: impl Into<String>) {
        self.findings.push(Finding { severity, url: url.to_owned(), what: what.into() });
    }

    /// Where a link leads, if it stays on this controller.
    pub(crate) fn follow(&mut self, from: &str, link: &str) -> Option<String> {
        let path = local(&self.bmc.inner.base, link);
        if path.is_none() {
            let shown: String = link.chars().take(100).collect();
            self.find(Severity::Warning, from, format!("link `{shown}` leaves the controller; not followed"));
        }
        path
    }

    /// A resource; `None` with a finding when it cannot be read.
    pub(crate) async fn resource(&mut self, path: &str) -> Option<Arc<Value>> {
        self.all(&[path.to_owned()]).await.pop().map(|(_, value)| value)
    }

    /// The resource behind a link of `value`; `None` without a finding when there is no link.
    pub(crate) async fn linked(
        &mut self,
        from: &str,
        value: &Value,
        path: &[&str],
    ) -> Option<(String, Arc<Value>)> {
        let path = self.follow(from, field::link(value, path)?)?;
        let value = self.resource(&path).await?;
        Some((path, value))
    }

    /// The members of the collection behind a link of `value`; `None` when there is no such collection.
    pub(crate) async fn members(
        &mut self,
        from: &str,
        value: &Value,
        path: &[&str],
    ) -> Option<Vec<(String, Arc<Value>)>> {
        let (mut page, mut collection) = self.linked(from, value, path).await?;
        let mut members = Vec::new();
        let mut pages = BTreeSet::new();
        while pages.insert(page.clone()) && pages.len() <= PAGES_MAX {
            match collection.get("Members") {
                Some(Value::Array(array)) => {
                    let links: Vec<&str> =
                        array.iter().filter_map(|m| m.get("@odata.id")?.as_str()).collect();
                    if links.len() < array.len() {
                        self.find(Severity::Warning, &page, "some members of this collection are not links");
                    }
                    for link in links {
                        members.extend(self.follow(&page, link));
                    }
                }
                // An empty collection is `null` on some.
                Some(Value::Null) | None => {
                    self.find(Severity::Info, &page, "the collection has no members list")
                }
                Some(_) => self.find(Severity::Warning, &page, "the members list is not a list"),
            }
            let next = field::at(&collection, &["Members@odata.nextLink"]).and_then(Value::as_str);
            let Some(next) = next.and_then(|next| local(&self.bmc.inner.base, next)) else { break };
            let Some(value) = self.resource(&next).await else { break };
            (page, collection) = (next, value);
        }
        if members.len() > MEMBERS_MAX {
            let what = format!("{} members; only the first {MEMBERS_MAX} were read", members.len());
            self.find(Severity::Warning, &page, what);
            members.truncate(MEMBERS_MAX);
        }
        Some(self.all(&members).await)
    }

    /// Members of a collection as links only, for those that are too many to read.
    pub(crate) async fn member_paths(&mut self, from: &str, value: &Value, path: &[&str]) -> Vec<String> {
        let Some((page, collection)) = self.linked(from, value, path).await else { return Vec::new() };
        let links = field::links(&collection, &["Members"]);
        links.into_iter().filter_map(|link| self.follow(&page, link)).take(MEMBERS_MAX).collect()
    }

    /// The resources at `paths`, each once and in this order, without those that cannot be read.
    pub(crate) async fn all(&mut self, paths: &[String]) -> Vec<(String, Arc<Value>)> {
        for (path, failure) in self.read(paths, &[]).await {
            self.find(
                if failure.refused { self.gravity.min(Severity::Warning) } else { self.gravity },
                &path,
                failure.what,
            );
        }
        let mut once = BTreeSet::new();
        let fresh = paths.iter().filter(|path| once.insert(*path));
        let parsed = |path: &String| serde_json::from_slice(self.seen.get(path)?).ok();
        fresh.filter_map(|path| Some((path.clone(), Arc::new(parsed(path)?)))).collect()
    }

    /// Reads several collections of a resource, what some of its links lead to, and the members of all these, so that
    /// a slow controller always has as many requests as it is given at once.  Says nothing: what fails is told to who
    /// needs it.
    pub(crate) async fn ahead(&mut self, holder: &Value, collections: &[&str], links: &[&str]) {
        let base = &self.bmc.inner.base;
        let named = collections.iter().filter_map(|name| field::link(holder, &[name]));
        let first = links.iter().filter_map(|name| field::links(holder, &["Links", name]).first().copied());
        let paths: Vec<String> = named.chain(first).filter_map(|link| local(base, link)).collect();
        let failed = self.read(&paths, &["Members", "Drives"]).await;
        self.failed_ahead.extend(failed);
    }

    /// Reads what was not read yet, and what it links to in these lists; what cannot be read, in order.
    async fn read(&mut self, paths: &[String], lists: &[&str]) -> Vec<(String, Failure)> {
        let mut failed = Vec::new();
        let mut wanted = VecDeque::new();
        let mut asked = BTreeSet::new();
        for path in paths.iter().filter(|path| !self.seen.contains_key(*path)) {
            match self.failed_ahead.remove(path) {
                Some(failure) => failed.push((path.clone(), failure)),
                None if asked.insert(path.clone()) => wanted.push_back(path.clone()),
                None => {}
            }
        }
        let mut reads = JoinSet::new();
        loop {
            // No more than are sent at once: each that waits would hold its memory.
            while reads.len() < self.bmc.inner.options.requests_at_once.max(1)
                && let Some(path) = wanted.pop_front()
            {
                if self.exhausted(&path) {
                    wanted.clear();
                    break;
                }
                self.left -= 1;
                let (inner, until) = (self.bmc.inner.clone(), self.until);
                reads.spawn(async move {
                    let answer = tokio::time::timeout_at(until, inner.get_if_changed(&path)).await;
                    (path, answer)
                });
            }
            let Some(read) = reads.join_next().await else { break };
            let told = |what: &str| Failure { refused: false, what: what.to_owned() };
            match read {
                Ok((path, Ok(Ok(answer)))) if answer.body.is_object() => {
                    let linked = lists
                        .iter()
                        .flat_map(|list| field::links(&answer.body, &[list]).into_iter().take(MEMBERS_MAX));
                    let linked = linked.filter_map(|link| local(&self.bmc.inner.base, link));
                    wanted.extend(
                        linked.filter(|path| !self.seen.contains_key(path) && asked.insert(path.clone())),
                    );
                    self.seen.insert(path, answer.raw);
                }
                Ok((path, Ok(Ok(_)))) => failed.push((path, told("the answer is not an object"))),
                Ok((path, Ok(Err(error)))) => failed.push((path, Failure::of(&error))),
                Ok((path, Err(_))) => failed.push((path, told("the time for this walk was up"))),
                Err(error) => failed.push((String::new(), told(&format!("the read was lost: {error}")))),
            }
        }
        failed.sort();
        failed
    }

    /// Whether this walk has read enough or taken long enough; told once.
    fn exhausted(&mut self, path: &str) -> bool {
        let time_up = Instant::now() >= self.until;
        if self.left > 0 && !time_up {
            return false;
        }
        if !self.late {
            self.late = true;
            let what = match time_up {
                true => "the time for this walk was up; this resource and others were not read".to_owned(),
                false => format!("{RESOURCES_MAX} resources were read; this one and others were not"),
            };
            self.find(Severity::Error, path, what);
        }
        true
    }
}

/// Why a resource could not be read.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Failure {
    /// A link to nowhere and a refusal are the controller's inconsistency; silence and nonsense hide something.
    refused: bool,
    what: String,
}

impl Failure {
    fn of(error: &BmcError) -> Self {
        let refused = matches!(error, BmcError::Refused { status: 400..=499 | 501, .. });
        Self { refused, what: chain(error) }
    }
}

/// An error with its causes, for a finding's text.
fn chain(error: &BmcError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.chars().take(500).collect()
}
