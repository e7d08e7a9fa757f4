//! Lists of controllers as makers and movers deliver them: CSV or JSON, checked line by line, taken whole or not at all.
//!
//! A message names line, column and place, never a password.

use std::{collections::BTreeMap, net::IpAddr};

use appliance_model::{Mac, Serial};
use appliance_store::{AccountRow, NewAccount};
use serde::Deserialize;

use super::{Secret, Vault, VaultError};

/// Lines of a list at most: ten thousand racks of ten.
const LINES_MAX: usize = 100_000;
/// Longest text in a field, in bytes.
const FIELD_BYTES_MAX: usize = 256;
/// Problems told at most.
const PROBLEMS_MAX: usize = 50;
/// What a list may have.
const COLUMNS: [&str; 7] = ["mac", "serial", "password", "rack", "unit", "address", "user"];

/// One controller of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its line; for JSON its number in the list.
    pub line: usize,
    /// The controller's own port.
    pub mac: Option<Mac>,
    /// Serial of the machine.
    pub serial: Option<String>,
    /// Its password.
    pub password: Secret,
    /// Rack.
    pub rack: Option<String>,
    /// Unit in the rack.
    pub unit: Option<String>,
    /// `https://ADDRESS`.
    pub url: Option<String>,
    /// User.
    pub user: Option<String>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its line; for JSON its number in the list.
    pub line: usize,
    /// What.
    pub what: String,
}

/// Why a list was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the list was not imported, nothing was changed:{}", told(.0))]
pub struct RosterError(pub Vec<Problem>);

fn told(problems: &[Problem]) -> String {
    let lines = problems.iter().take(PROBLEMS_MAX);
    let mut text: String = lines.map(|one| format!("\n  line {}: {}", one.line, one.what)).collect();
    if problems.len() > PROBLEMS_MAX {
        text.push_str(&format!("\n  and {} more", problems.len() - PROBLEMS_MAX));
    }
    text
}

/// A line as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wire {
    mac: Option<String>,
    serial: Option<String>,
    password: Option<String>,
    rack: Option<String>,
    unit: Option<String>,
    address: Option<String>,
    user: Option<String>,
}

/// Reads a list and checks it against itself.
///
/// # Errors
/// With every problem that was found.
pub fn read_roster(text: &str, json: bool) -> Result<Vec<Entry>, RosterError> {
    let lines = if json { from_json(text)? } else { from_csv(text)? };
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for (line, wire) in lines {
        match wire.and_then(|wire| understand(line, wire)) {
            Ok(entry) => entries.push(entry),
            Err(what) => problems.push(Problem { line, what }),
        }
    }
    duplicates(&entries, &mut problems);
    if entries.is_empty() && problems.is_empty() {
        problems.push(Problem { line: 1, what: "it lists no controller".into() });
    }
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(entries) } else { Err(RosterError(problems)) }
}

type Lines = Vec<(usize, Result<Wire, String>)>;

fn whole(line: usize, what: impl Into<String>) -> RosterError {
    RosterError(vec![Problem { line, what: what.into() }])
}

fn from_json(text: &str) -> Result<Lines, RosterError> {
    // The parser's own words could repeat a password: only the place is told.
    let list: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| {
        whole(error.line(), format!("no JSON list of objects (column {})", error.column()))
    })?;
    if list.len() > LINES_MAX {
        return Err(whole(1, format!("more than {LINES_MAX} controllers; split it")));
    }
    let read = |value| {
        serde_json::from_value::<Wire>(value)
            .map_err(|_| format!("not an object of texts with some of the keys {}", COLUMNS.join(", ")))
    };
    Ok(list.into_iter().enumerate().map(|(at, value)| (at + 1, read(value))).collect())
}

fn from_csv(text: &str) -> Result<Lines, RosterError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (at, header) = lines.next().ok_or_else(|| whole(1, "it is empty"))?;
    let header = fields(header).map_err(|why| whole(at + 1, why))?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    for (column, name) in header.iter().enumerate() {
        if !COLUMNS.contains(&name.as_str()) {
            // A list without a header begins with a password somewhere: its words are not repeated.
            let what = format!("column {} has no known name; write {}", column + 1, COLUMNS.join(", "));
            return Err(whole(at + 1, what));
        }
        if header.iter().take(column).any(|other| other == name) {
            return Err(whole(at + 1, format!("column `{name}` is there twice")));
        }
    }
    let mut read = Vec::new();
    for (at, line) in lines {
        if read.len() >= LINES_MAX {
            return Err(whole(at + 1, format!("more than {LINES_MAX} controllers; split it")));
        }
        read.push((at + 1, one_line(&header, line)));
    }
    Ok(read)
}

fn one_line(header: &[String], line: &str) -> Result<Wire, String> {
    let fields = fields(line)?;
    if fields.len() != header.len() {
        return Err(format!("{} fields, the header has {}", fields.len(), header.len()));
    }
    let mut wire = Wire::default();
    for (name, text) in header.iter().zip(fields) {
        let place = match name.as_str() {
            "mac" => &mut wire.mac,
            "serial" => &mut wire.serial,
            "password" => &mut wire.password,
            "rack" => &mut wire.rack,
            "unit" => &mut wire.unit,
            "address" => &mut wire.address,
            _ => &mut wire.user,
        };
        *place = Some(text);
    }
    Ok(wire)
}

/// The fields of a line (RFC 4180, without line breaks in quotes).
fn fields(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut rest) = (Vec::new(), line);
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err("a quote inside a field that does not begin with one".into());
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        if after.is_empty() {
            return Ok(fields);
        }
        rest = after.strip_prefix(',').ok_or("text after a closing quote")?;
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"').ok_or("a quote that is not closed in its line")?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, after)),
        }
    }
}

fn understand(line: usize, wire: Wire) -> Result<Entry, String> {
    let text = |name: &str, text: Option<String>| match text.map(|text| text.trim().to_owned()) {
        Some(text) if text.len() > FIELD_BYTES_MAX || text.chars().any(char::is_control) => {
            Err(format!("{name} is longer than {FIELD_BYTES_MAX} bytes or has control characters"))
        }
        Some(text) if text.is_empty() => Ok(None),
        other => Ok(other),
    };
    // A password may begin or end with a space, which is not taken from it.
    let password = wire.password.filter(|text| !text.is_empty()).ok_or("no password")?;
    if password.len() > FIELD_BYTES_MAX || password.chars().any(char::is_control) {
        return Err(format!("the password is longer than {FIELD_BYTES_MAX} bytes or has control characters"));
    }
    let mac = text("mac", wire.mac)?
        .map(|mac| mac.parse::<Mac>().map_err(|_| "mac is none, such as 52:54:00:12:34:56"))
        .transpose()?;
    let serial = text("serial", wire.serial)?
        .map(|serial| Serial::parse(&serial).ok_or("serial is what firmware writes where there is none"))
        .transpose()?;
    if mac.is_none() && serial.is_none() {
        return Err("neither serial nor mac, so nobody knows whose password it is".into());
    }
    Ok(Entry {
        line,
        mac,
        serial: serial.map(|serial| serial.as_str().to_owned()),
        password: Secret::new(password),
        rack: text("rack", wire.rack)?,
        unit: text("unit", wire.unit)?,
        url: text("address", wire.address)?.map(|address| url_of(&address)).transpose()?,
        user: text("user", wire.user)?,
    })
}

/// `10.78.0.11` or `https://10.78.0.11[:PORT]` as the one way it is written in the store.
fn url_of(text: &str) -> Result<String, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(match ip {
            IpAddr::V4(ip) => format!("https://{ip}"),
            IpAddr::V6(ip) => format!("https://[{ip}]"),
        });
    }
    let place = text.strip_prefix("https://").unwrap_or_default().trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if place.is_empty() || !place.chars().all(plain) {
        return Err(
            "address is neither an IP address nor https://ADDRESS (passwords never travel in clear)".into()
        );
    }
    Ok(format!("https://{place}"))
}

fn duplicates(entries: &[Entry], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for entry in entries {
        let keys = [
            ("serial", entry.serial.clone()),
            ("mac", entry.mac.map(|mac| mac.to_string())),
            ("address", entry.url.clone()),
        ];
        for (column, text) in keys {
            let Some(text) = text else { continue };
            if let Some(first) = seen.get(&(column, text.clone())) {
                let what = format!("{column} {text} is in line {first} already");
                problems.push(Problem { line: entry.line, what });
            } else {
                seen.insert((column, text), entry.line);
            }
        }
    }
}

/// Entries that say of what is known already who else has it.
///
/// # Errors
/// With every clash.
pub(crate) fn clashes(entries: &[Entry], known: &[AccountRow]) -> Result<(), RosterError> {
    let mut problems = Vec::new();
    for entry in entries {
        let name = name_of(entry);
        for row in known.iter().filter(|row| row.account.name != name) {
            let account = &row.account;
            let same_mac = entry.mac.is_some() && entry.mac == account.mac;
            let same_url = entry.url.is_some() && entry.url == account.url;
            if same_mac || same_url {
                let column = if same_mac { "mac" } else { "address" };
                let what = format!("its {column} is known as that of {}", account.name);
                problems.push(Problem { line: entry.line, what });
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(RosterError(problems)) }
}

fn name_of(entry: &Entry) -> String {
    let mac = || entry.mac.map(|mac| mac.to_string()).unwrap_or_default();
    entry.serial.clone().unwrap_or_else(mac)
}

/// The accounts of a list, their passwords sealed.
///
/// # Errors
/// If the system gives no randomness.
pub(crate) fn accounts(vault: &Vault, entries: &[Entry], user: &str) -> Result<Vec<NewAccount>, VaultError> {
    let seal = |entry: &Entry| {
        let (name, user) = (name_of(entry), entry.user.clone().unwrap_or_else(|| user.to_owned()));
        let sealed = vault.seal(&name, &user, &entry.password)?;
        Ok(NewAccount {
            name,
            serial: entry.serial.clone(),
            mac: entry.mac,
            url: entry.url.clone(),
            user,
            rack: entry.rack.clone(),
            unit: entry.unit.clone(),
            sealed,
        })
    };
    entries.iter().map(seal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_delivered() {
        let csv = "\u{feff}Serial,MAC,password,rack,unit,address\r\n\
                   S1,52:54:00:00:00:01,\"a,\"\"b\",R1,7,10.78.0.11\r\n\r\nS2,,plain,,,https://bmc-2.example/\n";
        let entries = read_roster(csv, false).unwrap();
        assert_eq!(entries[0].password, Secret::new("a,\"b"));
        assert_eq!(entries[0].url.as_deref(), Some("https://10.78.0.11"));
        assert_eq!((entries[1].line, entries[1].url.as_deref()), (4, Some("https://bmc-2.example")));
        let json = r#"[{"mac":"52-54-00-00-00-01","password":"x","address":"fd78::11"}]"#;
        let entries = read_roster(json, true).unwrap();
        assert_eq!(entries[0].url.as_deref(), Some("https://[fd78::11]"));
    }

    #[test]
    fn every_bad_line_is_named_and_no_password_is_said() {
        let csv = "serial,mac,password,address\nS1,,sesame,10.78.0.11\nS1,,sesame,\n,,sesame,\nS3,zz,sesame,\n\
                   S4,,sesame,http://10.78.0.14\nS5,,,\nS6,,sesame\nS7,,\"sesame,\nNone,,sesame,\nS8,,sesame,10.78.0.11\n";
        let error = read_roster(csv, false).unwrap_err();
        let lines: Vec<usize> = error.0.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let text = error.to_string();
        assert!(text.contains("line 3: serial S1 is in line 2 already"), "{text}");
        assert!(!text.contains("sesame"), "{text}");
        for (text, json, words) in [
            ("S1,sesame\n", false, "line 1: column 1 has no known name"),
            ("", false, "it is empty"),
            ("serial,password\n", false, "lists no controller"),
            ("[{\"serial\":\"S1\",\"password\":\"sesame\",\"sesame\":1}]", true, "line 1: not an object"),
            ("{\"password\": sesame}", true, "line 1: no JSON list"),
        ] {
            let error = read_roster(text, json).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("sesame"), "{error}");
        }
    }
}
