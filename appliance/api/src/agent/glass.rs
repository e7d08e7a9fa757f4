//! Break-glass on the agent's side: a host opens SSH for one key and some minutes, because its command line says so and its
//! appliance, having seen its quote, says so too.
//!
//! Three orders: [`PlantOrder`] puts an addon beside the UKI and a restart follows, so that what is measured changes
//! before anything opens; [`UnlockOrder`] opens; `Lock` ends it, takes the addon away, and a restart follows.  The words
//! on the command line bind server, end and key: an addon of another server opens nothing.

use appliance_model::{Digest, HostId, SshKey};
use serde::{Deserialize, Serialize};

/// The longest that a door is open, minutes: half a working day; who needs more asks again.
pub const MINUTES_MAX: u64 = 240;
/// `POST /agent/v1/glass`: what the SSH server said.
pub const GLASS: &str = "glass";
/// Lines of one call.
pub const LINES_MAX: usize = 64;
/// Lines of one opening that are told at all: a port that is open is knocked at.
pub const LINES_ALL_MAX: u64 = 1000;
/// Characters of a line.
pub const LINE_CHARS_MAX: usize = 300;

const PARAMETER: &str = "scalerforge.break-glass=";

/// What an addon says on the kernel's command line: `scalerforge.break-glass=HOST,UNTIL,DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The server that it is for.
    pub host: HostId,
    /// When it ends, seconds since 1970.
    pub until_seconds: u64,
    /// [`grant`] of server, end and key.
    pub grant: Digest,
}

impl Words {
    /// For this key.
    #[must_use]
    pub fn new(host: HostId, until_seconds: u64, key: &SshKey) -> Self {
        let grant = grant(&host, until_seconds, key);
        Self { host, until_seconds, grant }
    }

    /// Those on a command line; the first, should there be two.
    #[must_use]
    pub fn read(command_line: &str) -> Option<Self> {
        let value = command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(PARAMETER))?;
        let mut parts = value.split(',');
        let words = Self {
            host: parts.next()?.parse().ok()?,
            until_seconds: parts.next()?.parse().ok()?,
            grant: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(words)
    }

    /// Whether a command line has any, be they readable or not.
    #[must_use]
    pub fn are_on(command_line: &str) -> bool {
        command_line.split_ascii_whitespace().any(|word| word.starts_with(PARAMETER))
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PARAMETER}{},{},{}", self.host, self.until_seconds, self.grant)
    }
}

/// What binds a key to a server and an end.
#[must_use]
pub fn grant(host: &HostId, until_seconds: u64, key: &SshKey) -> Digest {
    Digest::of(format!("scalerforge/break-glass/v1\n{host}\n{until_seconds}\n{}\n", key.as_str()).as_bytes())
}

/// Puts an addon beside the UKI that runs, in place of any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlantOrder {
    /// The file, lower-case hex.
    pub addon: String,
}

/// Opens SSH for one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlockOrder {
    /// The key; the command line's grant is over it.
    pub key: SshKey,
    /// Seconds that are left, counted by the appliance: the host's own clock is not asked.
    pub seconds: u64,
}

/// What the SSH server said since the last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlassWord {
    /// Fingerprint of the server's key, which is another at each opening.
    pub host_key: String,
    /// How many lines there were before these: what came twice counts once.
    pub from: u64,
    /// At most [`LINES_MAX`] of at most [`LINE_CHARS_MAX`] characters.
    pub lines: Vec<String>,
}

#[cfg(test)]
mod tests {
    use appliance_model::Serial;

    use super::*;
    use crate::agent::{Order, Report};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgjaIe0y3qBzXnh3ZfnhcS4JyLqfWSWk0mkedqXqmLF";

    /// The wire, byte by byte.  **If this fails, change your code, not this test**: images with these bytes are served.
    #[test]
    fn protocol_1_break_glass() {
        for work in [
            r#"{"kind":"plant","addon":"4d5a"}"#.to_owned(),
            format!(r#"{{"kind":"unlock","key":"{KEY}","seconds":600}}"#),
            r#"{"kind":"lock"}"#.to_owned(),
        ] {
            let order = format!(r#"{{"id":7,"work":{work}}}"#);
            let parsed: Order = serde_json::from_str(&order).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), order);
        }
        for outcome in [
            r#"{"kind":"planted"}"#,
            r#"{"kind":"unlocked","host_key":"SHA256:x"}"#,
            r#"{"kind":"locked","restart":true}"#,
        ] {
            let report = format!(r#"{{"order":7,"outcome":{outcome}}}"#);
            let parsed: Report = serde_json::from_str(&report).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), report);
        }
        let word = r#"{"host_key":"SHA256:x","from":2,"lines":["a"]}"#;
        let parsed: GlassWord = serde_json::from_str(word).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), word);
    }

    #[test]
    fn words_are_read_as_they_were_written_and_bind_server_end_and_key() {
        let host = |serial: &str| HostId::of_serial(&Serial::parse(serial).unwrap());
        let key = SshKey::parse(KEY).unwrap();
        let words = Words::new(host("S1"), 1_795_243_403, &key);
        let line = format!("quiet {words} roothash=ab\n");
        assert_eq!(Words::read(&line), Some(words.clone()));
        assert!(words.to_string().starts_with("scalerforge.break-glass=h-"));
        assert_ne!(Words::new(host("S2"), 1_795_243_403, &key).grant, words.grant);
        assert_ne!(Words::new(host("S1"), 1_795_243_404, &key).grant, words.grant);
        for odd in ["scalerforge.break-glass=", "scalerforge.break-glass=h-1,2", &format!("{words},more")] {
            assert!(Words::read(odd).is_none() && Words::are_on(odd), "{odd}");
        }
        assert!(Words::read("quiet").is_none() && !Words::are_on("quiet"));
    }
}
