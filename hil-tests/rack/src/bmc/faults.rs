//! How a test makes a BMC misbehave: rules (where, what, how often) and lies.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// One rule; the first that matches and has turns left is used.
#[derive(Clone, Debug)]
pub struct BmcFault {
    /// Part of the request path; empty matches every path.
    pub path_contains: String,
    /// What happens.
    pub action: BmcAction,
    /// How many times; `u32::MAX` is as good as forever.
    pub times: u32,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BmcAction {
    /// Connections are closed before TLS; the path is not looked at.
    RefuseConnection,
    /// The request is read and the connection is closed without an answer.
    DropRequest,
    /// This status with a Redfish error body, such as 503.
    Status(u16),
    /// The right answer, this much later.
    Delay(Duration),
    /// The right status with a JSON body that stops in the middle.
    TruncateBody,
}

/// The rules and lies of one BMC.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<BmcFault>>,
    lies: Mutex<BTreeMap<String, Value>>,
}

impl Faults {
    pub(crate) fn add(&self, rule: BmcFault) {
        self.rules().push(rule);
    }

    pub(crate) fn clear(&self) {
        self.rules().clear();
        self.lies().clear();
    }

    pub(crate) fn lie(&self, path: &str, patch: Value) {
        let mut lies = self.lies();
        merge(lies.entry(path.to_owned()).or_insert(Value::Null), patch);
    }

    /// Uses up one turn of a rule that acts before TLS.
    pub(crate) fn refuses_connection(&self) -> bool {
        self.take(|rule| rule.action == BmcAction::RefuseConnection).is_some()
    }

    /// Uses up one turn of a rule for this path.
    pub(crate) fn for_request(&self, path: &str) -> Option<BmcAction> {
        self.take(|rule| rule.action == BmcAction::RefuseConnection || path.contains(&rule.path_contains))
    }

    pub(crate) fn distort(&self, path: &str, truth: &mut Value) {
        if let Some(lie) = self.lies().get(path) {
            merge(truth, lie.clone());
        }
    }

    fn take(&self, matches: impl Fn(&BmcFault) -> bool) -> Option<BmcAction> {
        let mut rules = self.rules();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && matches(rule))?;
        rule.times -= 1;
        Some(rule.action)
    }

    fn rules(&self) -> MutexGuard<'_, Vec<BmcFault>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lies(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.lies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Merges as RFC 7396 does, but keeps nulls: a BMC that says `null` is a lie worth telling.
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}
