//! Making a captured tree fit to be shared: serials, identifiers, addresses, names and secrets become pseudonyms.
//!
//! One text has one pseudonym within a capture, by SHA-256 with the capture's salt, so that a tree still joins (the
//! drive under two controllers, the account in a link); without the salt nobody can try texts.  Pure: the salt comes
//! in, nothing goes out.  What is known as private by its field is replaced wherever it occurs, in other texts, keys
//! and paths too.  What looks like an address (MAC, IP, UUID) is replaced wherever it stands.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use appliance_model::Digest;
use serde_json::{Map, Value};

/// What a text is, which decides how its pseudonym looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Letters and digits stay letters and digits.
    Serial,
    /// `user-1a2b3c4d`.
    User,
    /// `host-1a2b3c4d`.
    Host,
    /// `place-1a2b3c4d`.
    Place,
    /// Not even a pseudonym.
    Secret,
}

/// Shortest text that is replaced wherever it occurs; shorter ones only in their own field.
const TOKEN_CHARS_MIN: usize = 5;
/// What joins a private text with others in one word (`bmc-7Z23-J105958B`).
const SEPARATORS: [char; 4] = ['-', '_', '.', ':'];
/// Texts remembered.
const TOKENS_MAX: usize = 20_000;
/// User names that are words: replaced in their own field only.
const COMMON: &[&str] =
    &["administrator", "operator", "readonly", "default", "service", "guest", "admin", "userid", "system"];
/// Texts that tell nothing.
const EMPTY: &[&str] = &[
    "",
    "n/a",
    "na",
    "none",
    "null",
    "unknown",
    "default string",
    "not specified",
    "to be filled by o.e.m.",
];

/// The pseudonyms of one capture.
#[derive(Debug, Clone)]
pub struct Redactor {
    salt: [u8; 32],
    tokens: BTreeMap<String, String>,
    /// Those that are more than one word.
    phrases: Vec<(String, String)>,
    /// `SKU` is the serial on the label.
    sku_is_serial: bool,
}

impl Redactor {
    /// For one capture; the salt must be random and is to be forgotten when the capture is complete.
    #[must_use]
    pub fn new(salt: [u8; 32]) -> Self {
        Self { salt, tokens: BTreeMap::new(), phrases: Vec::new(), sku_is_serial: false }
    }

    pub(crate) fn sku_is_serial(&mut self) {
        self.sku_is_serial = true;
    }

    pub(crate) fn salt(&self) -> [u8; 32] {
        self.salt
    }

    /// The texts known to be private, and their pseudonyms: for going on with an interrupted capture.
    pub(crate) fn tokens(&self) -> &BTreeMap<String, String> {
        &self.tokens
    }

    pub(crate) fn resume(&mut self, tokens: BTreeMap<String, String>) {
        for (token, pseudonym) in tokens {
            self.remember(token, pseudonym);
        }
    }

    fn remember(&mut self, token: String, pseudonym: String) {
        if !token.chars().all(word_char) && !self.tokens.contains_key(&token) {
            self.phrases.push((token.clone(), pseudonym.clone()));
        }
        self.tokens.insert(token, pseudonym);
    }

    /// Learns what is private in a resource, without changing it.
    pub fn learn(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    if let (Some(kind), Value::String(text)) = (self.kind(key), value) {
                        self.learn_text(kind, text);
                    } else if let (Some(kind), Value::Array(list)) = (self.kind(key), value) {
                        list.iter().filter_map(Value::as_str).for_each(|text| self.learn_text(kind, text));
                    }
                    self.learn(value);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| self.learn(value)),
            Value::String(text) => {
                for word in text.split(|c: char| c.is_whitespace() || ",;()[]".contains(c)) {
                    if let Some(bare) = mac(word) {
                        // The same address is written without separators elsewhere.
                        let pseudonym = bare_mac(&self.digest("mac", &bare));
                        self.tokens.insert(bare.clone(), pseudonym.clone());
                        self.tokens.insert(bare.to_uppercase(), pseudonym.to_uppercase());
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn learn_text(&mut self, kind: Kind, text: &str) {
        let text = text.trim();
        let common = COMMON.contains(&text.to_ascii_lowercase().as_str());
        let known = text.chars().count() < TOKEN_CHARS_MIN || nothing(text) || common;
        if known
            || kind == Kind::Secret
            || kind == Kind::Place
            || self.tokens.len() >= TOKENS_MAX
            || looks_like_address(text)
        {
            return;
        }
        let pseudonym = self.pseudonym(kind, text);
        self.remember(text.to_owned(), pseudonym);
    }

    /// Replaces what is private in a resource.
    pub fn redact(&mut self, value: &mut Value) {
        self.learn(value);
        self.replace(value, None);
    }

    /// Replaces in a resource, with what was learnt up to now.
    pub(crate) fn replace(&self, value: &mut Value, key: Option<&str>) {
        match value {
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                let mut new = Map::new();
                for (name, mut inner) in old {
                    // Lists of addresses and places inherit their field's meaning, objects do not.
                    self.replace(&mut inner, Some(&name));
                    new.insert(self.text(&name, true), inner);
                }
                *fields = new;
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.replace(value, key)),
            Value::String(text) => *text = self.field(key.unwrap_or_default(), text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn field(&self, key: &str, text: &str) -> String {
        // Some resources hold whole documents as texts.
        if text.starts_with('{')
            && let Ok(mut inner @ Value::Object(_)) = serde_json::from_str::<Value>(text)
        {
            self.replace(&mut inner, None);
            return inner.to_string();
        }
        match self.kind(key) {
            Some(Kind::Secret) if !text.is_empty() => "redacted".into(),
            Some(kind) if !nothing(text.trim()) && !looks_like_address(text) => {
                let text = text.trim();
                self.tokens.get(text).cloned().unwrap_or_else(|| self.pseudonym(kind, text))
            }
            // What looks like an IPv4 address in a version is a version.
            _ => self.text(text, !versioned(key)),
        }
    }

    /// Replaces addresses and known private texts in a text or a path.
    #[must_use]
    pub fn text(&self, text: &str, addresses: bool) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(word_char) {
            let (before, tail) = rest.split_at(at);
            out.push_str(before);
            let end = tail.find(|c| !word_char(c)).unwrap_or(tail.len());
            let (word, after) = tail.split_at(end);
            out.push_str(&self.word(word, addresses));
            rest = after;
        }
        out.push_str(rest);
        self.phrases(out)
    }

    /// Replaces known private texts only: what looks like an address was replaced before, and is a pseudonym now.
    pub(crate) fn known(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(word_char) {
            let (before, tail) = rest.split_at(at);
            out.push_str(before);
            let end = tail.find(|c| !word_char(c)).unwrap_or(tail.len());
            let (word, after) = tail.split_at(end);
            out.push_str(&self.known_word(word));
            rest = after;
        }
        out.push_str(rest);
        self.phrases(out)
    }

    fn known_word(&self, word: &str) -> String {
        if let Some(pseudonym) = self.tokens.get(word) {
            return pseudonym.clone();
        }
        for separator in SEPARATORS {
            if word.contains(separator) {
                let parts: Vec<String> = word.split(separator).map(|part| self.known_word(part)).collect();
                return parts.join(&separator.to_string());
            }
        }
        word.to_owned()
    }

    /// Private texts that are several words.
    fn phrases(&self, mut text: String) -> String {
        for (token, pseudonym) in &self.phrases {
            if text.contains(token.as_str()) {
                text = text.replace(token.as_str(), pseudonym);
            }
        }
        text
    }

    /// A run of letters, digits, `:`, `-`, `.` and `_`.
    fn word(&self, word: &str, addresses: bool) -> String {
        if let Some(pseudonym) = self.tokens.get(word) {
            return pseudonym.clone();
        }
        if let Some(bare) = mac(word) {
            let digits = bare_mac(&self.digest("mac", &bare));
            return like(word, &digits);
        }
        if let Some(bare) = uuid(word) {
            return like(word, &self.digest("uuid", &bare));
        }
        if addresses && let Some(other) = self.address(word) {
            return other;
        }
        // Parts: `NIC-94:6D:…`, `bmc-F54P1G3`.
        for separator in SEPARATORS {
            if word.contains(separator) {
                let parts: Vec<String> =
                    word.split(separator).map(|part| self.word(part, addresses)).collect();
                return parts.join(&separator.to_string());
            }
        }
        word.to_owned()
    }

    fn address(&self, word: &str) -> Option<String> {
        if let Ok(ip) = word.parse::<Ipv4Addr>() {
            let plain = ip.is_loopback() || ip.is_unspecified() || ip.octets()[0] == 255;
            let digest = self.digest_bytes("ip", &ip.to_string());
            // RFC 2544: addresses for tests, which nobody routes.
            return Some(if plain { word.to_owned() } else { format!("198.18.{}.{}", digest[0], digest[1]) });
        }
        let ip = word.matches(':').count().ge(&2).then(|| word.parse::<Ipv6Addr>().ok()).flatten()?;
        let plain = ip.is_loopback() || ip.is_unspecified();
        let hex = self.digest("ip", &ip.to_string());
        let part = |at: usize| hex.get(at..at + 4).unwrap_or("0");
        Some(if plain { word.to_owned() } else { format!("2001:db8::{}:{}:{}", part(0), part(4), part(8)) })
    }

    fn pseudonym(&self, kind: Kind, text: &str) -> String {
        let short = |prefix: &str| {
            let hex = self.digest(prefix, text);
            format!("{prefix}-{}", hex.get(..8).unwrap_or_default())
        };
        match kind {
            Kind::Serial => {
                let digest = self.digest_bytes("serial", text);
                let mut bytes = digest.iter().cycle();
                text.chars().map(|c| shape(c, *bytes.next().unwrap_or(&0))).collect()
            }
            Kind::User => short("user"),
            Kind::Host => short("host"),
            Kind::Place => short("place"),
            Kind::Secret => "redacted".into(),
        }
    }

    fn digest_bytes(&self, kind: &str, text: &str) -> [u8; 32] {
        let mut input = self.salt.to_vec();
        input.extend_from_slice(kind.as_bytes());
        input.push(0);
        input.extend_from_slice(text.as_bytes());
        Digest::of(&input).0
    }

    fn digest(&self, kind: &str, text: &str) -> String {
        self.digest_bytes(kind, text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What a field holds, by its name.
    fn kind(&self, key: &str) -> Option<Kind> {
        let key: String =
            key.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
        if self.sku_is_serial && key == "sku" {
            return Some(Kind::Serial);
        }
        let fits = |(_, parts, names): &&Fields| {
            parts.iter().any(|part| key.contains(part)) || names.contains(&key.as_str())
        };
        let (kind, ..) = FIELDS.iter().find(fits)?;
        let rule = RULES.iter().any(|part| key.contains(part));
        (*kind != Kind::Secret || !rule).then_some(*kind)
    }
}

/// A kind, parts of field names, whole field names: lower case, letters and digits only.
type Fields = (Kind, &'static [&'static str], &'static [&'static str]);

/// Parts of names that make a secret's field a rule about secrets.
const RULES: &[&str] = &["length", "expir", "policy", "complex", "count"];

/// Fields by name; the first that fits counts.
const FIELDS: &[Fields] = &[
    (
        Kind::Secret,
        &[
            "password",
            "passphrase",
            "secret",
            "certificatestring",
            "certificatechain",
            "communitystring",
            "licensekey",
            "licensestring",
            "privatekey",
            "publickey",
            "sshkey",
        ],
        &[
            "signature",
            "token",
            "keystring",
            "engineid",
            "privateenterpriseid",
            "architectureid",
            "authenticationkey",
            "encryptionkey",
            "signaturestring",
            "fingerprint",
            "kerberoskeytab",
        ],
    ),
    (
        Kind::Serial,
        &["serialnumber", "servicetag", "serialno"],
        &[
            "assettag",
            "entitlementid",
            "durablename",
            "expressservicecode",
            "nodeid",
            "licenseid",
            "chipid",
            "ppin",
            "protectedidentificationnumber",
            "systemid",
            "boardserial",
            "chassisserial",
            "productserial",
            "eid",
        ],
    ),
    (Kind::User, &["username", "loginid"], &["user", "createdby", "owner", "login"]),
    (
        Kind::Host,
        &[
            "hostname",
            "fqdn",
            "domainname",
            "searchdomain",
            "ntpserver",
            "nameserver",
            "serveraddress",
            "dnsname",
        ],
        &["serviceaddresses", "commonname", "alternativenames", "mailserver", "smtpserver"],
    ),
    (
        Kind::Place,
        &[],
        &[
            "row",
            "rack",
            "room",
            "building",
            "contactname",
            "emailaddress",
            "phonenumber",
            "street",
            "city",
            "contact",
            "organization",
            "organizationalunit",
            "datacenter",
            "location",
            "sitename",
            "email",
        ],
    ),
];

fn nothing(text: &str) -> bool {
    EMPTY.contains(&text.to_ascii_lowercase().as_str())
        || text.chars().all(|c| c == '0' || !c.is_alphanumeric())
}

fn versioned(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["version", "revision", "firmware", "release", "build"].iter().any(|part| key.contains(part))
}

fn word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.' | '_')
}

fn looks_like_address(text: &str) -> bool {
    mac(text).is_some() || uuid(text).is_some() || text.parse::<std::net::IpAddr>().is_ok()
}

/// The twelve digits of a MAC address with separators.
fn mac(word: &str) -> Option<String> {
    let separator = word.chars().find(|c| !c.is_ascii_hexdigit())?;
    let parts: Vec<&str> = word.split(separator).collect();
    let hex = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = matches!(separator, ':' | '-') && parts.len() == 6 && parts.iter().all(hex);
    let bare = parts.concat().to_ascii_lowercase();
    (fits && bare.bytes().any(|byte| byte != b'0')).then_some(bare)
}

/// The thirty-two digits of a UUID.
fn uuid(word: &str) -> Option<String> {
    let parts: Vec<&str> = word.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hex = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let fits = hex && lengths == [8, 4, 4, 4, 12];
    let bare = parts.concat().to_ascii_lowercase();
    (fits && bare.bytes().any(|byte| byte != b'0')).then_some(bare)
}

/// Twelve digits of a locally administered address, so that it is nobody's.
fn bare_mac(hex: &str) -> String {
    format!("02{}", hex.get(..10).unwrap_or("0000000000"))
}

/// The digits of `hex` in the form of `like`: its separators, its case.
fn like(like: &str, hex: &str) -> String {
    let mut digits = hex.chars();
    let upper = like.chars().any(|c| c.is_ascii_uppercase());
    let digit = |c: char| if upper { c.to_ascii_uppercase() } else { c };
    like.chars().map(|c| if c.is_ascii_alphanumeric() { digits.next().map_or(c, digit) } else { c }).collect()
}

/// A character of the same class.
fn shape(c: char, byte: u8) -> char {
    match c {
        '0'..='9' => char::from(b'0' + byte % 10),
        'a'..='z' => char::from(b'a' + byte % 26),
        'A'..='Z' => char::from(b'A' + byte % 26),
        other => other,
    }
}

#[cfg(test)]
mod tests;
