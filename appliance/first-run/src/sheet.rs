//! A file of answers, `first-run.toml`, as it comes from a medium: bytes of unknown origin, read strictly, with the line
//! of whatever is wrong.
//!
//! Beside answers it may name the admin's password, as a hash or as a file, and a list of controllers.  A password itself
//! is refused: a medium that anybody may read is no place for one.

use std::{collections::BTreeMap, fmt};

use crate::{Answers, NoAnswers, Problem};

/// A file of answers is some hundred bytes.
pub const SHEET_BYTES_MAX: usize = 1 << 16;

/// A file of answers that could be read.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    /// The answers.
    pub answers: Answers,
    /// `admin.password_file`: the file with the admin's password, beside this one.
    pub password_file: Option<String>,
    /// `admin.password_hash`: the hash of it, as `scalerforge site password --print` says it.
    pub password_hash: Option<String>,
    /// `bmc.list_file`: controllers and their passwords, beside this one.
    pub list_file: Option<String>,
    lines: BTreeMap<String, usize>,
}

/// What is wrong with a file of answers, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The key, where it is one.
    pub key: Option<String>,
    /// What is wrong, and what to write.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, &self.key) {
            (Some(line), Some(key)) => write!(f, "line {line}, {key}: {}", self.why),
            (Some(line), None) => write!(f, "line {line}: {}", self.why),
            (None, Some(key)) => write!(f, "{key}: {}", self.why),
            (None, None) => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for Fault {}

impl Sheet {
    /// Reads the bytes of `first-run.toml`.
    ///
    /// # Errors
    /// If they are too many, no UTF-8, no TOML, or say something that nobody asked for.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let text = text(bytes)?;
        let mut table: toml::Table = match text.parse() {
            Ok(table) => table,
            // The same words for the same fault, with or without sections of its own.
            Err(_) => return Err(Answers::from_toml(text).err().map_or_else(no_toml, of_line)),
        };
        let mut sheet = Self { lines: lines(text), ..Self::default() };
        sheet.admin(table.remove("admin"))?;
        sheet.list(table.remove("bmc"))?;
        let answers = Answers::from_toml(&table.to_string());
        sheet.answers = answers.map_err(|NoAnswers { at, why }| sheet.fault(&at, why))?;
        Ok(sheet)
    }

    fn admin(&mut self, section: Option<toml::Value>) -> Result<(), Fault> {
        for (key, value) in self.section("admin", section)? {
            match (key.as_str(), value) {
                ("password_file", toml::Value::String(name)) => self.password_file = Some(name),
                ("password_hash", toml::Value::String(hash)) => self.password_hash = Some(hash),
                (_, _) => {
                    let why = "is not asked for; write admin.password_hash (`scalerforge site password --print` makes \
                               one) or admin.password_file, and the password itself nowhere in this file";
                    return Err(self.fault(&format!("admin.{key}"), why.into()));
                }
            }
        }
        if self.password_file.is_some() && self.password_hash.is_some() {
            let why = "is one password too many; write either admin.password_hash or admin.password_file";
            return Err(self.fault("admin.password_hash", why.into()));
        }
        Ok(())
    }

    fn list(&mut self, section: Option<toml::Value>) -> Result<(), Fault> {
        for (key, value) in self.section("bmc", section)? {
            match (key.as_str(), value) {
                ("list_file", toml::Value::String(name)) => self.list_file = Some(name),
                (_, _) => {
                    let why = "is not asked for; write bmc.list_file = \"NAME OF A FILE\"";
                    return Err(self.fault(&format!("bmc.{key}"), why.into()));
                }
            }
        }
        Ok(())
    }

    fn section(&self, name: &str, section: Option<toml::Value>) -> Result<toml::Table, Fault> {
        match section {
            None => Ok(toml::Table::new()),
            Some(toml::Value::Table(keys)) => Ok(keys),
            Some(_) => Err(self.fault(name, format!("is a section; write [{name}] on a line of its own"))),
        }
    }

    /// This key's fault, with its line.
    #[must_use]
    pub fn fault(&self, key: &str, why: String) -> Fault {
        Fault { line: self.lines.get(key).copied(), key: Some(key.to_owned()), why }
    }

    /// A problem of the plan, with the line of its answer where it was given here.
    #[must_use]
    pub fn placed(&self, problem: &Problem) -> Fault {
        self.fault(problem.key, format!("{}; {}", problem.what, problem.next))
    }

    /// What of this file is a secret in clear, each with its line: whoever holds the medium reads it.
    #[must_use]
    pub fn secrets(&self) -> Vec<Fault> {
        let mut secrets = Vec::new();
        let mut say = |key: &str, why: String| secrets.push(self.fault(key, why));
        for (key, file) in [("admin.password_file", &self.password_file), ("bmc.list_file", &self.list_file)]
        {
            if let Some(file) = file {
                say(
                    key,
                    format!(
                        "{file} has passwords in clear; erase it from the medium now that they are taken"
                    ),
                );
            }
        }
        if self.answers.given("chain.rpc_url").is_some_and(has_a_key) {
            let why = "the endpoint's address has a key in it, in clear; erase this file from the medium now that it is taken";
            say("chain.rpc_url", why.into());
        }
        secrets
    }
}

/// Whether a URL has more than a host and a port: user, path or question, where providers put their keys.
fn has_a_key(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.contains(['@', '?']) || rest.split_once('/').is_some_and(|(_, path)| !path.is_empty())
}

fn of_line(NoAnswers { at, why }: NoAnswers) -> Fault {
    let line = at.strip_prefix("line ").and_then(|number| number.parse().ok());
    let why = format!("{why}; write [section] lines, and under each KEY = \"TEXT\"");
    Fault { line, key: line.is_none().then_some(at), why }
}

fn no_toml() -> Fault {
    Fault {
        line: None,
        key: None,
        why: "it is no TOML; write KEY = \"TEXT\" lines under [section] lines".into(),
    }
}

/// The bytes as text: not too many, UTF-8, without the mark that some editors put before it.
fn text(bytes: &[u8]) -> Result<&str, Fault> {
    let fault = |line, why: String| Err(Fault { line, key: None, why });
    if bytes.len() > SHEET_BYTES_MAX {
        let why = format!(
            "it has more than {SHEET_BYTES_MAX} bytes, and no file of answers has; put the right one there"
        );
        return fault(None, why);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return fault(None, "it was saved as UTF-16 (Notepad's \"Unicode\"); save it as UTF-8".into());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            fault(
                Some(line),
                "there is a letter that is no UTF-8; save the file as UTF-8, or write the letter in ASCII"
                    .into(),
            )
        }
    }
}

/// Where each key stands, from 1: good enough for words to a person, and never for reading.
fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.trim().to_owned();
            found.entry(section.clone()).or_insert(number);
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let key = key.trim().trim_matches('"');
            let whole = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            found.entry(whole).or_insert(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "# rack 7\n[site]\nname = \"rack-7\"\nregion = \"eu-west\"\n\n[admin]\npassword_hash = \"h\"\n";

    #[test]
    fn a_sheet_is_answers_and_what_it_names() {
        let sheet =
            Sheet::read(format!("\u{feff}{GOOD}[bmc]\nlist_file = \"bmc.csv\"\n").as_bytes()).unwrap();
        assert_eq!(sheet.answers.given("site.name"), Some("rack-7"));
        assert_eq!((sheet.password_hash.as_deref(), sheet.password_file), (Some("h"), None));
        assert_eq!(sheet.list_file.as_deref(), Some("bmc.csv"));
        assert!(Sheet::read(b"").is_ok(), "no answer is an answer that the plan refuses");
    }

    #[test]
    fn what_is_wrong_is_said_with_line_field_and_what_to_write() {
        for (text, at, what) in [
            ("[site]\nname = rack\n", "line 2: ", "KEY = \"TEXT\""),
            ("[site]\nname = \"a\"\nname = \"b\"\n", "line 3: ", "duplicate"),
            ("[site]\n\ncolour = 1\n", "line 3, site.colour: ", "the keys are site.name"),
            ("[lan]\naddress = 1.5\n", "line 2, lan.address: ", "write it as in"),
            ("colour = 1\n", "line 1, colour: ", "is not asked for"),
            ("[admin]\npassword = \"sesame open\"\n", "line 2, admin.password: ", "admin.password_hash"),
            ("[admin]\npassword_file = 7\n", "line 2, admin.password_file: ", "admin.password_file"),
            (
                "[admin]\npassword_file = \"p\"\npassword_hash = \"h\"\n",
                "line 3, admin.password_hash",
                "either",
            ),
            ("[bmc]\nlist = \"x\"\n", "line 2, bmc.list: ", "bmc.list_file"),
            ("admin = 1\n", "line 1, admin: ", "[admin]"),
        ] {
            let fault = Sheet::read(text.as_bytes()).unwrap_err().to_string();
            assert!(fault.starts_with(at) && fault.contains(what), "{text}: {fault}");
            assert!(!fault.contains("sesame"), "{fault}");
        }
    }

    #[test]
    fn bytes_of_any_kind_end_in_words() {
        let utf16: Vec<u8> =
            b"\xff\xfe".iter().copied().chain(GOOD.bytes().flat_map(|byte| [byte, 0])).collect();
        for (bytes, words) in [
            (vec![b'#'; SHEET_BYTES_MAX + 1], "more than 65536 bytes"),
            (utf16, "save it as UTF-8"),
            (b"[site]\nname = \"r\xe4ck\"\n".to_vec(), "line 2: there is a letter that is no UTF-8"),
            (vec![0; 64], "line 1: "),
        ] {
            let fault = Sheet::read(&bytes).unwrap_err().to_string();
            assert!(fault.contains(words), "{fault}");
        }
        assert!(Sheet::read(&vec![b'#'; SHEET_BYTES_MAX]).is_ok());
    }

    #[test]
    fn problems_and_secrets_have_their_lines() {
        let more = "[chain]\nrpc_url = \"https://rpc.example/v2/KEY\"\nchain_id = 1\n";
        let file = "[admin]\npassword_file = \"pw\"\n";
        let sheet = Sheet::read(format!("{file}{more}").as_bytes()).unwrap();
        let said: Vec<String> = sheet.secrets().iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("line 2, admin.password_file: pw has passwords in clear"), "{said:?}");
        assert!(said[1].starts_with("line 4, chain.rpc_url: ") && !said[1].contains("KEY"), "{said:?}");
        let quiet = format!("{GOOD}[chain]\nrpc_url = \"https://rpc.example:8545/\"\n");
        assert_eq!(Sheet::read(quiet.as_bytes()).unwrap().secrets(), []);
        let wrong = Problem { key: "chain.rpc_url", what: "is wrong".into(), next: "write another".into() };
        assert_eq!(sheet.placed(&wrong).to_string(), "line 4, chain.rpc_url: is wrong; write another");
        let absent = Problem { key: "site.name", what: "has no answer".into(), next: "write one".into() };
        assert_eq!(sheet.placed(&absent).to_string(), "site.name: has no answer; write one");
    }
}
