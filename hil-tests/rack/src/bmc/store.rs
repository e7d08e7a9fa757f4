//! The resources of one BMC: a base tree that many BMCs may share, and what was written on this one since.
//!
//! The base is either made from a description ([`super::tree`]) or captured from a real BMC ([`super::load`]); nothing
//! here knows which.  A resource nobody wrote to is served from bytes made once, which is what lets one process play a
//! thousand controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use serde_json::{Value, json};

/// Most resources that clients can make on one BMC; beyond it a write is refused.
const WRITTEN_MAX: usize = 4096;

/// One resource of the base.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) text: Bytes,
    pub(crate) kind: String,
}

/// The base: paths without trailing slash.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<String, Entry>,
    kinds: BTreeMap<String, Vec<String>>,
}

impl Tree {
    pub(crate) fn new(values: BTreeMap<String, Value>) -> Self {
        let mut tree = Self::default();
        for (path, value) in values {
            let kind = kind_of(&value);
            tree.kinds.entry(kind.clone()).or_default().push(path.clone());
            let text = Bytes::from(value.to_string());
            tree.entries.insert(path, Entry { value, text, kind });
        }
        tree
    }

    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), &entry.value))
    }

    /// How many resources there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The schema's name, such as `ComputerSystem`; empty for what has no type.
pub(crate) fn kind_of(value: &Value) -> String {
    let full = value.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
    full.trim_start_matches('#').split('.').next().unwrap_or_default().to_owned()
}

/// The base and what was written.
#[derive(Debug)]
pub(crate) struct Store {
    base: Arc<Tree>,
    written: Mutex<BTreeMap<String, Option<Value>>>,
}

impl Store {
    pub(crate) fn new(base: Arc<Tree>) -> Self {
        Self { base, written: Mutex::default() }
    }

    pub(crate) fn base(&self) -> &Tree {
        &self.base
    }

    /// The bytes of a resource that nobody wrote to.
    pub(crate) fn untouched(&self, path: &str) -> Option<&Entry> {
        if self.written().contains_key(path) { None } else { self.base.entry(path) }
    }

    pub(crate) fn value(&self, path: &str) -> Option<Value> {
        if let Some(written) = self.written().get(path) {
            return written.clone();
        }
        self.base.entry(path).map(|entry| entry.value.clone())
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.written().get(path).map_or_else(|| self.base.entry(path).is_some(), Option::is_some)
    }

    /// The schema's name of the resource at this path.
    pub(crate) fn kind(&self, path: &str) -> Option<String> {
        match self.written().get(path) {
            Some(written) => written.as_ref().map(kind_of),
            None => self.base.entry(path).map(|entry| entry.kind.clone()),
        }
    }

    /// Writes a resource; false when the BMC is full.
    pub(crate) fn put(&self, path: &str, value: Value) -> bool {
        let mut written = self.written();
        if written.len() >= WRITTEN_MAX && !written.contains_key(path) {
            return false;
        }
        written.insert(path.to_owned(), Some(value));
        true
    }

    /// Changes a resource; false when there is none.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) -> bool {
        let Some(mut value) = self.value(path) else { return false };
        change(&mut value);
        self.put(path, value)
    }

    /// Paths of all resources of a schema, base first.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<String> {
        let written = self.written();
        let base = self.base.kinds.get(kind).into_iter().flatten();
        let mut paths: Vec<String> =
            base.filter(|path| !matches!(written.get(*path), Some(None))).cloned().collect();
        let known: BTreeSet<&String> = self.base.kinds.get(kind).into_iter().flatten().collect();
        for (path, value) in written.iter() {
            if !known.contains(path) && value.as_ref().is_some_and(|value| kind_of(value) == kind) {
                paths.push(path.clone());
            }
        }
        paths
    }

    /// Adds a member to a collection; fills in `@odata.id` and `Id`.
    pub(crate) fn add_member(&self, collection: &str, id: &str, mut value: Value) -> Option<String> {
        let path = format!("{collection}/{id}");
        if let Some(fields) = value.as_object_mut() {
            fields.insert("@odata.id".to_owned(), json!(path));
            fields.insert("Id".to_owned(), json!(id));
        }
        if !self.put(&path, value) {
            return None;
        }
        self.edit(collection, |value| {
            let link = json!({ "@odata.id": path });
            match value.get_mut("Members").and_then(Value::as_array_mut) {
                Some(members) => {
                    members.retain(|member| member != &link);
                    members.push(link);
                }
                None => value["Members"] = json!([link]),
            }
            count(value);
        });
        Some(path)
    }

    /// Takes a member out of its collection.
    pub(crate) fn remove_member(&self, path: &str) -> bool {
        if !self.has(path) {
            return false;
        }
        self.written().insert(path.to_owned(), None);
        if let Some((collection, _)) = path.rsplit_once('/') {
            self.edit(collection, |value| {
                if let Some(members) = value.get_mut("Members").and_then(Value::as_array_mut) {
                    let gone = |member: &Value| {
                        let id = member.get("@odata.id").and_then(Value::as_str);
                        id.is_some_and(|id| id.trim_end_matches('/') == path)
                    };
                    members.retain(|member| !gone(member));
                }
                count(value);
            });
        }
        true
    }

    /// Paths of a collection's members, without trailing slash.
    pub(crate) fn members(&self, collection: &str) -> Vec<String> {
        let value = self.value(collection).unwrap_or_default();
        let members = value.get("Members").and_then(Value::as_array);
        let ids = members.into_iter().flatten().filter_map(|member| member.get("@odata.id")?.as_str());
        ids.map(|id| id.trim_end_matches('/').to_owned()).collect()
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<String, Option<Value>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the member count up to date.
pub(crate) fn count(collection: &mut Value) {
    let count = collection.get("Members").and_then(Value::as_array).map_or(0, Vec::len);
    if let Some(fields) = collection.as_object_mut() {
        fields.insert("Members@odata.count".to_owned(), json!(count));
    }
}

/// Where a link of a resource leads, such as `link(system, "Bios")`.
pub(crate) fn link_of(value: &Value, name: &str) -> Option<String> {
    let id = value.get(name)?.get("@odata.id")?.as_str()?;
    Some(id.trim_end_matches('/').to_owned())
}
