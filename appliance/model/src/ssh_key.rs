//! A person's public SSH key, as it stands in a `.pub` file: one key, read whole, or none.
//!
//! What is kept is kind and key alone.  Options and a second line would be orders to an SSH server, and a comment is
//! somebody's text; neither is taken along.

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The longest line that is read: RSA with 8192 bits fits twice.
const LINE_BYTES_MAX: usize = 4096;
/// Shorter RSA keys are not taken: NIST SP 800-131A allows none since 2013.
const RSA_BITS_MIN: usize = 2048;
/// What dropbear cannot hold is no key to it.
const RSA_BITS_MAX: usize = 8192;
const ED25519_BYTES: usize = 32;

/// Why a text is not a public SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("this is not one public SSH key as a .pub file has it (`ssh-ed25519 AAAA… comment`): {why}")]
pub struct NoSshKey {
    /// What is wrong.
    pub why: &'static str,
}

/// A public SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshKey {
    /// Kind and key, as an `authorized_keys` file has them.
    line: String,
    fingerprint: String,
}

impl SshKey {
    /// Reads the content of a `.pub` file.
    ///
    /// # Errors
    /// [`NoSshKey`] for anything but exactly one key of a kind that hosts' SSH server knows.
    pub fn parse(text: &str) -> Result<Self, NoSshKey> {
        let no = |why| NoSshKey { why };
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(no(
                "it is a private key; give the file beside it that ends in .pub, and keep this one",
            ));
        }
        if text.len() > LINE_BYTES_MAX {
            return Err(no("it is longer than any key"));
        }
        if text.chars().any(char::is_control) {
            return Err(no("it has more than one line"));
        }
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let (Some(kind), Some(key)) = (words.next(), words.next()) else {
            return Err(no("a kind and a key are two words"));
        };
        let blob = STANDARD.decode(key).map_err(|_| no("its second word is not base64"))?;
        check(kind, &blob)?;
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob)));
        Ok(Self { line: format!("{kind} {key}"), fingerprint })
    }

    /// Kind and key, as an `authorized_keys` file has them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.line
    }

    /// As `ssh-keygen -l` shows it: `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl TryFrom<String> for SshKey {
    type Error = NoSshKey;

    fn try_from(text: String) -> Result<Self, NoSshKey> {
        Self::parse(&text)
    }
}

impl From<SshKey> for String {
    fn from(key: SshKey) -> Self {
        key.line
    }
}

/// RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4.
fn check(kind: &str, blob: &[u8]) -> Result<(), NoSshKey> {
    let no = |why| NoSshKey { why };
    let (inside, rest) = field(blob).ok_or(no("its key ends early"))?;
    if inside != kind.as_bytes() {
        return Err(no("its key is of another kind than it says"));
    }
    let (first, rest) = field(rest).ok_or(no("its key ends early"))?;
    let second = field(rest);
    match (kind, second) {
        ("ssh-ed25519", None) if first.len() == ED25519_BYTES && rest.is_empty() => Ok(()),
        ("ecdsa-sha2-nistp256", Some((point, []))) if point_is(first, b"nistp256", point, 65) => Ok(()),
        ("ecdsa-sha2-nistp384", Some((point, []))) if point_is(first, b"nistp384", point, 97) => Ok(()),
        ("ecdsa-sha2-nistp521", Some((point, []))) if point_is(first, b"nistp521", point, 133) => Ok(()),
        ("ssh-rsa", Some((modulus, []))) => {
            let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
            let top = digits.first().map_or(8, |byte| byte.leading_zeros() as usize);
            let bits = (digits.len() * 8).saturating_sub(top);
            if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                Ok(())
            } else {
                Err(no("an RSA key needs 2048 to 8192 bits"))
            }
        }
        ("ssh-ed25519" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521", _) => {
            Err(no("its key has another form than its kind has"))
        }
        (_, _) => Err(no("hosts take ssh-ed25519, ecdsa-sha2-nistp256, -384, -521 and ssh-rsa")),
    }
}

fn point_is(curve: &[u8], wanted: &[u8], point: &[u8], bytes: usize) -> bool {
    curve == wanted && point.len() == bytes && point.first() == Some(&4)
}

/// A string of RFC 4251, 5, and what is behind it.
fn field(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgjaIe0y3qBzXnh3ZfnhcS4JyLqfWSWk0mkedqXqmLF";

    fn blob(fields: &[&[u8]]) -> String {
        let mut out = Vec::new();
        for field in fields {
            out.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            out.extend_from_slice(field);
        }
        STANDARD.encode(out)
    }

    #[test]
    fn keys_are_read_and_nothing_else_of_a_line() {
        let key = SshKey::parse(&format!("{ED25519} ann@desk\n")).unwrap();
        assert_eq!(key.as_str(), ED25519);
        // As `ssh-keygen -l` says it.
        assert_eq!(key.fingerprint(), "SHA256:qPKfx+rPGSntJoaLVTjuK3FPfiRUIG4NSl32H25Lt9I");
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{ED25519}\""));
        let rsa = |bytes: usize| blob(&[b"ssh-rsa", &[1, 0, 1], &[&[0][..], &vec![0x80; bytes]].concat()]);
        let point = |bytes: usize| [&[4][..], &vec![1; bytes - 1]].concat();
        for (line, taken) in [
            (format!("ssh-rsa {}", rsa(256)), true),
            (format!("ssh-rsa {}", rsa(255)), false),
            (format!("ssh-rsa {}", rsa(1025)), false),
            (
                format!("ecdsa-sha2-nistp256 {}", blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point(65)])),
                true,
            ),
            (
                format!("ecdsa-sha2-nistp256 {}", blob(&[b"ecdsa-sha2-nistp256", b"nistp384", &point(65)])),
                false,
            ),
            (format!("ssh-dss {}", blob(&[b"ssh-dss", b"1", b"2"])), false),
            (format!("ssh-ed25519 {}", rsa(256)), false),
            (format!("ssh-ed25519 {}", blob(&[b"ssh-ed25519", &[1; 32], b"more"])), false),
            (format!("command=\"x\" {ED25519}"), false),
            (format!("{ED25519}\n{ED25519}"), false),
            (format!("{ED25519}\r{ED25519}"), false),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".into(), false),
            ("ssh-ed25519".into(), false),
            ("ssh-ed25519 !!".into(), false),
            ("ssh-ed25519 AAAA".into(), false),
            (String::new(), false),
            (format!("{ED25519} {}", "x".repeat(LINE_BYTES_MAX)), false),
        ] {
            assert_eq!(SshKey::parse(&line).is_ok(), taken, "{line}");
        }
    }
}
