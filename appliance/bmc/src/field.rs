//! Reading fields out of JSON that may lack them, hold null, or hold another type.

use serde_json::Value;

/// Longest text taken over from an answer.
const TEXT_CHARS_MAX: usize = 256;

/// The value at a path of names.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// A text that says something: trimmed, not empty, no control characters.
pub(crate) fn text(value: &Value, path: &[&str]) -> Option<String> {
    let text = at(value, path)?.as_str()?.trim();
    let sane = !text.is_empty() && !text.contains(char::is_control);
    sane.then(|| text.chars().take(TEXT_CHARS_MAX).collect())
}

/// A whole number, also if it is written as a text or with a fraction.
pub(crate) fn number(value: &Value, path: &[&str]) -> Option<u64> {
    let value = at(value, path)?;
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()).or_else(|| whole(value.as_f64()?))
}

/// Controllers write `65536.0`.  The exact integers of a double end at 2^53.
fn whole(number: f64) -> Option<u64> {
    let exact = (0.0..=9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0;
    exact.then(|| format!("{number:.0}").parse().ok()).flatten()
}

/// A reading in thousandths.  Beyond nine digits before the point it is no reading.
pub(crate) fn milli(value: &Value, path: &[&str]) -> Option<i64> {
    let value = at(value, path)?;
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    let sane = number.abs() < 1e9;
    sane.then(|| format!("{:.0}", number * 1000.0).parse().ok()).flatten()
}

pub(crate) fn small(value: &Value, path: &[&str]) -> Option<u32> {
    number(value, path)?.try_into().ok()
}

pub(crate) fn flag(value: &Value, path: &[&str]) -> Option<bool> {
    at(value, path)?.as_bool()
}

/// The `@odata.id` of a link object.
pub(crate) fn link<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.get("@odata.id")?.as_str()
}

/// The `@odata.id`s of an array of link objects.
pub(crate) fn links<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    let array = at(value, path).and_then(Value::as_array);
    array.into_iter().flatten().filter_map(|link| link.get("@odata.id")?.as_str()).collect()
}

/// The texts of an array.
pub(crate) fn texts(value: &Value, path: &[&str]) -> Vec<String> {
    let array = at(value, path).and_then(Value::as_array);
    array.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).take(100).collect()
}

/// Whether the resource says that its slot is empty.
pub(crate) fn absent(value: &Value) -> bool {
    text(value, &["Status", "State"]).as_deref() == Some("Absent")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_fields_are_missing_fields() {
        let value = json!({ "a": null, "b": " x ", "c": "", "d": "12", "e": 65536.0, "f": -1, "g": 1e300,
            "h": {"@odata.id": 5}, "i": [null, {"@odata.id": "/x"}, 3], "j": "a\u{1}" });
        assert_eq!(text(&value, &["a"]), None);
        assert_eq!(text(&value, &["b"]).as_deref(), Some("x"));
        assert_eq!(
            (text(&value, &["c"]), text(&value, &["d", "e"]), text(&value, &["j"])),
            (None, None, None)
        );
        assert_eq!((number(&value, &["d"]), number(&value, &["e"])), (Some(12), Some(65536)));
        assert_eq!((number(&value, &["f"]), number(&value, &["g"])), (None, None));
        assert_eq!((link(&value, &["h"]), links(&value, &["i"])), (None, vec!["/x"]));
        assert!(links(&value, &["a"]).is_empty());
        let readings = json!({ "v": 12.176, "n": -0.5, "t": "21", "x": 1e300, "z": "hot" });
        let milli = |name| super::milli(&readings, &[name]);
        assert_eq!((milli("v"), milli("n"), milli("t")), (Some(12176), Some(-500), Some(21000)));
        assert_eq!((milli("x"), milli("z"), milli("gone")), (None, None, None));
    }
}
