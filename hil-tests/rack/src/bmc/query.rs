//! The query parameters that this BMC takes: `$expand`, `$top`, `$skip` and `only`.

use serde_json::Value;

use super::answer::Answer;
use super::desk::Desk;

/// Most levels that are expanded.
const LEVELS_MAX: u8 = 3;

/// Most resources that one answer may be expanded with.
const EXPANDED_MAX: usize = 2000;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    expand: u8,
    top: Option<usize>,
    skip: usize,
    only: bool,
}

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Answer> {
        let mut query = Self::default();
        for part in text.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let part = part.replace("%24", "$").replace("%28", "(").replace("%29", ")").replace("%3D", "=");
            let (key, value) = part.split_once('=').unwrap_or((&part, ""));
            let wrong = || {
                let text = format!("The value {value} for the query parameter {key} is out of range.");
                Answer::bad("QueryParameterValueFormatError", text)
            };
            match key {
                "$expand" => query.expand = levels(value).ok_or_else(wrong)?,
                "$top" => query.top = Some(value.parse().map_err(|_| wrong())?),
                "$skip" => query.skip = value.parse().map_err(|_| wrong())?,
                "only" => query.only = true,
                _ if key.starts_with('$') => {
                    let text = format!("The query parameter {key} is not supported.");
                    let status = axum::http::StatusCode::NOT_IMPLEMENTED;
                    return Err(Answer::error(status, "QueryParameterUnsupported", text));
                }
                _ => {}
            }
        }
        Ok(query)
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn apply(self, desk: &Desk, path: &str, mut value: Value) -> Result<Value, Answer> {
        if self.is_empty() {
            return Ok(value);
        }
        let members = value.get("Members").and_then(Value::as_array).cloned();
        if (self.only || self.top.is_some() || self.skip > 0) && members.is_none() {
            let text = format!("{path} is not a collection.");
            return Err(Answer::bad("QueryNotSupportedOnResource", text));
        }
        let mut members = members.unwrap_or_default();
        if self.only {
            if let [one] = members.as_slice() {
                let path = one.get("@odata.id").and_then(Value::as_str).unwrap_or_default();
                return desk.resource(path.trim_end_matches('/')).ok_or_else(|| Answer::missing(path));
            }
            return Ok(value);
        }
        if self.top.is_some() || self.skip > 0 {
            let left: Vec<Value> =
                members.drain(..).skip(self.skip).take(self.top.unwrap_or(usize::MAX)).collect();
            value["Members"] = Value::Array(left);
        }
        let mut room = EXPANDED_MAX;
        if self.expand > 0 {
            expand(desk, &mut value, self.expand, &mut room, true);
        }
        Ok(value)
    }
}

/// `*`, `.` or `~`, each with or without `($levels=N)`.
fn levels(value: &str) -> Option<u8> {
    let rest = value.strip_prefix(['*', '.', '~'])?;
    if rest.is_empty() {
        return Some(1);
    }
    let count = rest.strip_prefix("($levels=")?.strip_suffix(')')?.parse::<u8>().ok()?;
    if count == 0 { None } else { Some(count.min(LEVELS_MAX)) }
}

/// Puts the resources behind links in their place; what is under `Links` stays a link.
fn expand(desk: &Desk, value: &mut Value, levels: u8, room: &mut usize, top: bool) {
    match value {
        Value::Object(fields) => {
            let link = fields.get("@odata.id").and_then(Value::as_str);
            if let Some(path) = link.filter(|_| !top && fields.len() == 1).map(ToOwned::to_owned) {
                if *room == 0 {
                    return;
                }
                if let Some(mut whole) = desk.resource(path.trim_end_matches('/')) {
                    *room -= 1;
                    if levels > 1 {
                        expand(desk, &mut whole, levels - 1, room, true);
                    }
                    *value = whole;
                }
                return;
            }
            for (_, value) in fields.iter_mut().filter(|(key, _)| *key != "Links" && !key.starts_with('@')) {
                expand(desk, value, levels, room, false);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|value| expand(desk, value, levels, room, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood_or_refused() {
        let ok = |text: &str| Query::parse(Some(text)).unwrap();
        assert_eq!(ok("$expand=.($levels=2)").expand, 2);
        assert_eq!(ok("$expand=*").expand, 1);
        assert_eq!(ok("%24expand=.%28%24levels=1%29").expand, 1);
        assert_eq!((ok("$top=3&$skip=1").top, ok("$skip=1").skip), (Some(3), 1));
        assert!(ok("x=y").is_empty());
        for text in ["$expand=", "$expand=x", "$expand=.($levels=0)", "$top=-1", "$filter=x", "$select=Id"] {
            assert!(Query::parse(Some(text)).is_err(), "{text}");
        }
        assert!(ok("only").only);
    }
}
