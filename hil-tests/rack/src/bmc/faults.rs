//! How a test makes a BMC misbehave: rules (where, what, how often) and lies.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// One rule; the first that matches and has turns left is used.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BmcFault {
    /// Part of the request's method and path, such as `/Bios` or `PATCH /redfish/v1/Systems/1`; empty matches all.
    #[serde(default)]
    pub path_contains: String,
    /// What happens.
    pub action: BmcAction,
    /// How many times; `u32::MAX` is as good as forever.
    #[serde(default = "forever")]
    pub times: u32,
}

fn forever() -> u32 {
    u32::MAX
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BmcAction {
    /// Connections are closed before TLS; the path is not looked at.
    RefuseConnection,
    /// The request is read and the connection is closed without an answer.
    DropRequest,
    /// The request is carried out and the connection is closed without an answer.
    DropAnswer,
    /// This status with a Redfish error body, such as 503.
    Status(u16),
    /// The right answer, so many milliseconds later.
    #[serde(rename = "delay_ms", deserialize_with = "milliseconds")]
    Delay(Duration),
    /// The right status with a JSON body that stops in the middle.
    TruncateBody,
    /// Every value of the answer gets another type: strings become numbers, numbers and objects strings.
    WrongTypes,
    /// `Members` and other lists are null.
    NullMembers,
    /// The right answer with so many bytes of blank after it.
    HugeBody(usize),
    /// 302 to this address.
    Redirect(String),
    /// Every link of the answer points at the resource itself.
    CyclicLinks,
    /// A body that is not JSON at all.
    NotJson,
    /// What a write wanted is answered with success and not done.
    Lie,
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
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

    pub(crate) fn has_lie(&self, path: &str) -> bool {
        self.lies().contains_key(path)
    }

    /// Uses up one turn of a rule that acts before TLS.
    pub(crate) fn refuses_connection(&self) -> bool {
        self.take(|rule| rule.action == BmcAction::RefuseConnection).is_some()
    }

    /// Uses up one turn of a rule for this request.
    pub(crate) fn for_request(&self, method: &str, path: &str) -> Option<BmcAction> {
        let line = format!("{method} {path}");
        self.take(|rule| rule.action == BmcAction::RefuseConnection || line.contains(&rule.path_contains))
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
        Some(rule.action.clone())
    }

    fn rules(&self) -> MutexGuard<'_, Vec<BmcFault>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lies(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.lies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives every value another type; links and types stay, or nobody would look further.
pub(crate) fn wrong_types(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    for (key, value) in fields.iter_mut().filter(|(key, _)| !key.starts_with('@')) {
        *value = match value {
            Value::String(_) => json!(7),
            Value::Number(_) | Value::Object(_) => json!("seven"),
            Value::Array(_) => json!({ key.as_str(): true }),
            Value::Bool(_) | Value::Null => json!([]),
        };
    }
}

/// Makes lists null, as BlueField's BMC does with `Members`.
pub(crate) fn null_lists(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    for value in fields.values_mut().filter(|value| value.is_array()) {
        *value = Value::Null;
    }
}

/// Turns every link within to `path`.
pub(crate) fn turn_links(value: &mut Value, path: &str) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("@odata.id") {
                fields.insert("@odata.id".to_owned(), json!(path));
            }
            fields.values_mut().for_each(|value| turn_links(value, path));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| turn_links(value, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Merges as RFC 7396 does, but keeps nulls: a BMC that says `null` is a lie worth telling.
pub(crate) fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}
