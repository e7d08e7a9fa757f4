//! The questions, in the order in which they are asked, and answers as texts: a line on the console, a field of the page,
//! a key of `first-run.toml`.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{Facts, Mode, Nic, lan, net::Home};

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Question {
    /// Its key: section and key of `first-run.toml`.
    pub key: &'static str,
    /// What is asked.
    pub label: &'static str,
    /// What to write.
    pub help: &'static str,
    /// Whether there must be an answer, given or proposed.
    pub needed: bool,
}

const fn ask(key: &'static str, label: &'static str, help: &'static str, needed: bool) -> Question {
    Question { key, label, help, needed }
}

/// All questions.  The admin's password is none of them: it is no text to be kept with the others.
pub const QUESTIONS: [Question; 20] = [
    ask("site.name", "Name of the site", "letters, digits, dots and dashes: rack-7", true),
    ask("site.region", "Region", "as the registry names it: eu-west", true),
    ask("site.class", "What its servers are for", "gpu, storage, compute, lab, or any", true),
    ask("site.hp_id", "ICN's number of the provider", "absent on a development chain", false),
    ask("site.location_code", "ICN's country code", "83 is Germany; absent on a development chain", false),
    ask("lan.interface", "Port to the servers", "the provisioning LAN", true),
    ask("lan.address", "Address there", "with its network's bits: 10.77.0.1/24", true),
    ask("lan.mode", "What the appliance does there", "listen, proxy, auto-proxy, full, reservation", true),
    ask("lan.pool", "Addresses to give", "FIRST-LAST: 10.77.0.100-10.77.0.199", false),
    ask("lan.router", "Router there", "absent: none", false),
    ask("lan.dns", "DNS servers there", "with commas between; absent: none", false),
    ask("lan.beside", "DHCP servers to stand beside", "only where two are meant to give addresses", false),
    ask(
        "uplink.interface",
        "Port to people and the chain",
        "absent: the servers' LAN is the only one",
        false,
    ),
    ask("uplink.address", "Address there", "dhcp, or with its network's bits: 192.0.2.7/24", false),
    ask("uplink.router", "Router there", "with a fixed address", false),
    ask("uplink.dns", "DNS servers there", "with commas between, with a fixed address", false),
    ask("time.servers", "Time servers", "with commas between; absent: those of DHCP, else Debian's", false),
    ask("burn_in.profile", "Burn-in", "demo (proves nothing), smoke, admit or soak", true),
    ask("chain.rpc_url", "Chain endpoint", "https://…; absent: a development chain in the appliance", false),
    ask("chain.chain_id", "Chain id", "with an endpoint", false),
];

/// Answers longer than this are a mistake.
pub const ANSWER_BYTES_MAX: usize = 256;

/// What people answered, by question.  Only questions of [`QUESTIONS`] are in it, and no empty text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<&'static str, String>);

/// Why a file of answers, or one answer, was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAnswers {
    /// Where: a key, or a line.
    pub at: String,
    /// Why not, and what to do.
    pub why: String,
}

impl fmt::Display for NoAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.why)
    }
}

impl std::error::Error for NoAnswers {}

impl Answers {
    /// Reads `first-run.toml`.
    ///
    /// # Errors
    /// If it is no TOML, or has something that nobody asked for.
    pub fn from_toml(text: &str) -> Result<Self, NoAnswers> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
            NoAnswers { at: format!("line {line}"), why: error.message().trim().replace('\n', ", ") }
        })?;
        let mut answers = Self::default();
        for (section, keys) in &table {
            let toml::Value::Table(keys) = keys else { return Err(unknown(section)) };
            for (key, value) in keys {
                let key = format!("{section}.{key}");
                let text = text_of(value).ok_or_else(|| NoAnswers {
                    at: key.clone(),
                    why: "is no text, number or list of texts; write it as in \"…\"".into(),
                })?;
                answers.set(&key, &text)?;
            }
        }
        Ok(answers)
    }

    /// Sets one answer; an empty one takes it back.
    ///
    /// # Errors
    /// If nobody asked, or the text cannot be an answer to anything.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), NoAnswers> {
        let question = QUESTIONS.iter().find(|question| question.key == key).ok_or_else(|| unknown(key))?;
        let text = text.trim();
        if text.len() > ANSWER_BYTES_MAX || !text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            let why = format!("is not printable ASCII of at most {ANSWER_BYTES_MAX} characters; correct it");
            return Err(NoAnswers { at: key.into(), why });
        }
        if text.is_empty() {
            self.0.remove(question.key);
        } else {
            self.0.insert(question.key, text.to_owned());
        }
        Ok(())
    }

    /// What was answered.
    #[must_use]
    pub fn given(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// What was answered, else what is proposed.
    pub(crate) fn holds(&self, key: &str, facts: &Facts) -> Option<String> {
        self.given(key).map(str::to_owned).or_else(|| proposed(key, self, facts))
    }
}

fn unknown(key: &str) -> NoAnswers {
    let key = key.chars().take(40).collect::<String>();
    let known: Vec<&str> = QUESTIONS.iter().map(|question| question.key).collect();
    let why = format!(
        "is not asked for; the keys are {}, admin.password_hash, admin.password_file and bmc.list_file",
        known.join(", ")
    );
    NoAnswers { at: key, why }
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(all) => {
            let all: Option<Vec<&str>> = all.iter().map(toml::Value::as_str).collect();
            all.map(|all| all.join(", "))
        }
        toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Table(_) => None,
    }
}

/// A question as a face shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// What was answered.
    pub given: Option<String>,
    /// What holds without an answer.
    pub proposal: Option<String>,
    /// What there is to choose from, where that is known.
    pub choices: Vec<String>,
}

/// All questions with what is proposed now: proposals follow from answers and from what was seen.
#[must_use]
pub fn form(answers: &Answers, facts: &Facts) -> Vec<Field> {
    let field = |question: &Question| Field {
        question: *question,
        given: answers.given(question.key).map(str::to_owned),
        proposal: proposed(question.key, answers, facts),
        choices: choices(question.key, facts),
    };
    QUESTIONS.iter().map(field).collect()
}

/// Classes of `firmware-checks/baseline/data/classes.toml`, and no wish.
pub(crate) const CLASSES: [&str; 5] = ["any", "gpu", "storage", "compute", "lab"];

/// Built-in burn-ins that a new server can go through, the shortest first.
pub(crate) const PROFILES: [&str; 4] = ["demo", "smoke", "admit", "soak"];

fn choices(key: &str, facts: &Facts) -> Vec<String> {
    match key {
        "site.class" => CLASSES.map(str::to_owned).to_vec(),
        "burn_in.profile" => PROFILES.map(str::to_owned).to_vec(),
        "lan.mode" => Mode::ALL.map(|mode| mode.as_str().to_owned()).to_vec(),
        "lan.interface" | "uplink.interface" => facts.nics.iter().map(|nic| nic.name.clone()).collect(),
        _ => Vec::new(),
    }
}

/// The LAN that we propose where nobody has one yet.
const NEW_LAN: Home = Home { address: std::net::Ipv4Addr::new(10, 77, 0, 1), bits: 24 };

fn proposed(key: &str, answers: &Answers, facts: &Facts) -> Option<String> {
    let lan = || {
        let name = answers.holds("lan.interface", facts)?;
        facts.nics.iter().find(|nic| nic.name == name)
    };
    match key {
        "site.class" => Some("any".into()),
        "burn_in.profile" => {
            let lab = answers.holds("site.class", facts).is_some_and(|class| class == "lab");
            Some(if lab { "smoke" } else { "admit" }.into())
        }
        "lan.interface" => servers_port(answers, facts).map(|nic| nic.name.clone()),
        "lan.address" => lan().and_then(|nic| own_address(nic, facts)).map(|home| home.to_string()),
        "lan.mode" => Some(lan::proposal(lan().and_then(|nic| nic.heard.as_ref())).to_string()),
        "lan.pool" => {
            let mode = answers.holds("lan.mode", facts)?;
            let has = Mode::ALL.into_iter().any(|one| one.as_str() == mode && one.has_pool());
            let home = Home::read(&answers.holds("lan.address", facts)?).filter(|_| has)?;
            Some(home.upper_half().to_string())
        }
        "uplink.interface" => people_port(answers, facts).map(|nic| nic.name.clone()),
        "uplink.address" => answers.holds("uplink.interface", facts).map(|_| "dhcp".into()),
        _ => None,
    }
}

/// The port to the servers: of those with a cable one that has no address, so that somebody else's network is left alone.
fn servers_port<'a>(answers: &Answers, facts: &'a Facts) -> Option<&'a Nic> {
    let taken = answers.given("uplink.interface");
    let free = || facts.nics.iter().filter(|nic| Some(nic.name.as_str()) != taken);
    let quiet = |nic: &&Nic| {
        nic.addresses.is_empty() && nic.heard.as_ref().is_none_or(|heard| heard.servers.is_empty())
    };
    let linked = |nic: &&Nic| nic.carrier;
    free().filter(linked).find(quiet).or_else(|| free().find(linked)).or_else(|| free().next())
}

/// The port to people: another one, which has an address or a server that would give it one.
fn people_port<'a>(answers: &Answers, facts: &'a Facts) -> Option<&'a Nic> {
    let lan = match answers.given("lan.interface") {
        Some(name) => Some(name),
        None => servers_port(answers, facts).map(|nic| nic.name.as_str()),
    };
    let useful = |nic: &&Nic| {
        !nic.addresses.is_empty() || nic.heard.as_ref().is_some_and(|heard| !heard.servers.is_empty())
    };
    facts.nics.iter().filter(|nic| Some(nic.name.as_str()) != lan).find(useful)
}

/// Our address on the servers' LAN: one that the port has, else a new network's, if nobody else is there.
fn own_address(nic: &Nic, facts: &Facts) -> Option<Home> {
    let written = nic.addresses.iter().map(|(address, bits)| Home { address: *address, bits: *bits });
    let others = nic.heard.as_ref().is_some_and(|heard| !heard.servers.is_empty());
    let elsewhere = |home: &Home| {
        let all = facts.nics.iter().filter(|other| other.name != nic.name).flat_map(|other| &other.addresses);
        all.clone().any(|(address, bits)| home.overlaps(Home { address: *address, bits: *bits }))
    };
    let mut written = written.filter(|home| Home::read(&home.to_string()).is_some());
    written.next().or_else(|| Some(NEW_LAN).filter(|home| !others && !elsewhere(home)))
}
