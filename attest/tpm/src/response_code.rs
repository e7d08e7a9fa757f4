//! TPM_RC in words (Part 2, "Response Code Formats").

use std::fmt;

/// What a TPM answered, 0 aside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResponseCode(pub u32);

/// Whom a format-one code blames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blames {
    Nobody,
    Parameter(u32),
    Handle(u32),
    Session(u32),
}

impl ResponseCode {
    /// TPM_RC_INITIALIZE: started already, or not yet.
    pub const INITIALIZE: Self = Self(0x100);
    /// TPM_RC_OBJECT_MEMORY: no room for another key.
    pub const OBJECT_MEMORY: Self = Self(0x902);
    /// TPM_RC_INTEGRITY, blaming nobody: a credential made for another key.
    pub const INTEGRITY: Self = Self(0x09f);

    const FORMAT_ONE: u32 = 1 << 7;

    /// The code without the parameter, handle or session it blames: comparable with the constants.
    #[must_use]
    pub const fn plain(self) -> Self {
        if self.0 & Self::FORMAT_ONE == 0 { Self(self.0 & 0xfff) } else { Self(self.0 & 0x0bf) }
    }

    /// Whether the same command may succeed when sent again: RETRY, TESTING, YIELDED.
    #[must_use]
    pub const fn asks_again(self) -> bool {
        matches!(self.plain().0, 0x922 | 0x90a | 0x908)
    }

    /// The name in Part 2, without `TPM_RC_`, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let plain = self.plain().0;
        NAMES.iter().find(|(code, _)| *code == plain).map(|(_, name)| *name)
    }

    /// What to do about it, to be put behind the code.
    pub(crate) fn hint(self) -> &'static str {
        match self.name() {
            Some("AUTH_FAIL" | "BAD_AUTH") => {
                ": a hierarchy has a password; clear the TPM in the firmware setup to start with an empty one"
            }
            Some("LOCKOUT") => {
                ": too many failed authorisations; leave the machine on until the TPM recovers, or clear it"
            }
            Some("HIERARCHY") => ": the hierarchy is disabled; enable it in the firmware setup",
            Some("INTEGRITY") => ": the credential was made for another endorsement or attestation key",
            Some("FAILURE") => {
                ": the TPM failed its self-test; power-cycle the machine, then replace the TPM"
            }
            Some("INITIALIZE") => ": the TPM was not started; the firmware should have done that",
            Some(_) | None => "",
        }
    }

    const fn blames(self) -> Blames {
        let number = self.0 >> 8 & 0xf;
        if self.0 & Self::FORMAT_ONE == 0 {
            Blames::Nobody
        } else if self.0 & 1 << 6 != 0 {
            Blames::Parameter(number)
        } else if number == 0 {
            Blames::Nobody
        } else if number & 8 != 0 {
            Blames::Session(number & 7)
        } else {
            Blames::Handle(number)
        }
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "TPM_RC_{name}")?,
            None if self.0 & Self::FORMAT_ONE == 0 && self.0 & 1 << 10 != 0 => write!(f, "a vendor's code")?,
            None => write!(f, "an unknown code")?,
        }
        match self.blames() {
            Blames::Nobody => {}
            Blames::Parameter(number) => write!(f, " (parameter {number})")?,
            Blames::Handle(number) => write!(f, " (handle {number})")?,
            Blames::Session(number) => write!(f, " (session {number})")?,
        }
        write!(f, " [{:#05x}]", self.0)
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Part 2, table "TPM_RC Constants": format zero (0x1xx errors, 0x9xx warnings), then format one.
const NAMES: &[(u32, &str)] = &[
    (0x100, "INITIALIZE"),
    (0x101, "FAILURE"),
    (0x103, "SEQUENCE"),
    (0x10b, "PRIVATE"),
    (0x119, "HMAC"),
    (0x120, "DISABLED"),
    (0x121, "EXCLUSIVE"),
    (0x124, "AUTH_TYPE"),
    (0x125, "AUTH_MISSING"),
    (0x126, "POLICY"),
    (0x127, "PCR"),
    (0x128, "PCR_CHANGED"),
    (0x12d, "UPGRADE"),
    (0x12e, "TOO_MANY_CONTEXTS"),
    (0x12f, "AUTH_UNAVAILABLE"),
    (0x130, "REBOOT"),
    (0x131, "UNBALANCED"),
    (0x142, "COMMAND_SIZE"),
    (0x143, "COMMAND_CODE"),
    (0x144, "AUTHSIZE"),
    (0x145, "AUTH_CONTEXT"),
    (0x146, "NV_RANGE"),
    (0x147, "NV_SIZE"),
    (0x148, "NV_LOCKED"),
    (0x149, "NV_AUTHORIZATION"),
    (0x14a, "NV_UNINITIALIZED"),
    (0x14b, "NV_SPACE"),
    (0x14c, "NV_DEFINED"),
    (0x150, "BAD_CONTEXT"),
    (0x151, "CPHASH"),
    (0x152, "PARENT"),
    (0x153, "NEEDS_TEST"),
    (0x154, "NO_RESULT"),
    (0x155, "SENSITIVE"),
    (0x901, "CONTEXT_GAP"),
    (0x902, "OBJECT_MEMORY"),
    (0x903, "SESSION_MEMORY"),
    (0x904, "MEMORY"),
    (0x905, "SESSION_HANDLES"),
    (0x906, "OBJECT_HANDLES"),
    (0x907, "LOCALITY"),
    (0x908, "YIELDED"),
    (0x909, "CANCELED"),
    (0x90a, "TESTING"),
    (0x910, "REFERENCE_H0"),
    (0x911, "REFERENCE_H1"),
    (0x912, "REFERENCE_H2"),
    (0x918, "REFERENCE_S0"),
    (0x919, "REFERENCE_S1"),
    (0x91a, "REFERENCE_S2"),
    (0x920, "NV_RATE"),
    (0x921, "LOCKOUT"),
    (0x922, "RETRY"),
    (0x923, "NV_UNAVAILABLE"),
    (0x081, "ASYMMETRIC"),
    (0x082, "ATTRIBUTES"),
    (0x083, "HASH"),
    (0x084, "VALUE"),
    (0x085, "HIERARCHY"),
    (0x087, "KEY_SIZE"),
    (0x088, "MGF"),
    (0x089, "MODE"),
    (0x08a, "TYPE"),
    (0x08b, "HANDLE"),
    (0x08c, "KDF"),
    (0x08d, "RANGE"),
    (0x08e, "AUTH_FAIL"),
    (0x08f, "NONCE"),
    (0x090, "PP"),
    (0x092, "SCHEME"),
    (0x095, "SIZE"),
    (0x096, "SYMMETRIC"),
    (0x097, "TAG"),
    (0x098, "SELECTOR"),
    (0x09a, "INSUFFICIENT"),
    (0x09b, "SIGNATURE"),
    (0x09c, "KEY"),
    (0x09d, "POLICY_FAIL"),
    (0x09f, "INTEGRITY"),
    (0x0a0, "TICKET"),
    (0x0a1, "RESERVED_BITS"),
    (0x0a2, "BAD_AUTH"),
    (0x0a3, "EXPIRED"),
    (0x0a4, "POLICY_CC"),
    (0x0a5, "BINDING"),
    (0x0a6, "CURVE"),
    (0x0a7, "ECC_POINT"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_as_words() {
        for (code, words) in [
            (0x100, "TPM_RC_INITIALIZE [0x100]"),
            (0x922, "TPM_RC_RETRY [0x922]"),
            (0x921, "TPM_RC_LOCKOUT [0x921]"),
            (0x1df, "TPM_RC_INTEGRITY (parameter 1) [0x1df]"),
            (0x2d5, "TPM_RC_SIZE (parameter 2) [0x2d5]"),
            (0x18b, "TPM_RC_HANDLE (handle 1) [0x18b]"),
            (0x98e, "TPM_RC_AUTH_FAIL (session 1) [0x98e]"),
            (0x9a2, "TPM_RC_BAD_AUTH (session 1) [0x9a2]"),
            (0x085, "TPM_RC_HIERARCHY [0x085]"),
            (0x000b_0902, "TPM_RC_OBJECT_MEMORY [0xb0902]"),
            (0x500, "a vendor's code [0x500]"),
            (0x1ff, "an unknown code (parameter 1) [0x1ff]"),
        ] {
            assert_eq!(ResponseCode(code).to_string(), words);
        }
    }

    #[test]
    fn three_warnings_ask_again() {
        let again: Vec<u32> = (0..0x1000).filter(|code| ResponseCode(*code).asks_again()).collect();
        assert_eq!(again, [0x908, 0x90a, 0x922]);
    }
}
