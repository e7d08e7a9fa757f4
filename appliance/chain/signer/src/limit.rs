//! Permissions to spend: the words that a person types, what they allow, and whether something is within them.

use std::{fmt, str::FromStr};

use appliance_model::{Day, Icnt, Now};

use crate::{Ask, Spend};

/// What counts against a day's limits is what was signed in so many milliseconds before: no midnight to wait for.
pub const WINDOW_MILLISECONDS: u64 = 86_400_000;
/// One of the chain's coins, wei.
const COIN: u128 = 1_000_000_000_000_000_000;
const DECIMALS: usize = 18;

/// What may be spent in any 24 hours, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Tokens staked; the same again moved, and allowed to others.
    pub tokens: Icnt,
    /// The chain's coin for gas, wei.
    pub gas_wei: u128,
    /// Nodes registered.
    pub nodes: u32,
    /// The last day (UTC).
    pub until: Day,
}

/// Words that are no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a permission is words such as \"SPEND 500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-12-31\"; these are none: `{text}`. \
     Nothing was allowed"
)]
pub struct NoPermission {
    /// What was said.
    pub text: String,
}

/// Why something is not within any permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It could cost anything.
    #[error(
        "what it asks of the chain is not understood, so that nobody can say what it costs; it was not signed"
    )]
    Unknown,
    /// There is no permission now.
    #[error(
        "nobody allowed this account to spend on chain {chain_id}; `scalerforge chain permit` shows the costs and takes the \
         permission"
    )]
    Nothing {
        /// The chain.
        chain_id: u64,
    },
    /// There is one, and it is used up.
    #[error(
        "it takes {needed} and {used} were signed for in the last 24 hours, above the {limit} a day that are allowed; wait, \
         or allow at least {least} by `scalerforge chain permit`"
    )]
    Above {
        /// What it takes.
        needed: String,
        /// What is used.
        used: String,
        /// What is allowed.
        limit: String,
        /// What would be enough.
        least: String,
    },
}

impl Permission {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Now) -> bool {
        now.0 / 1000 < self.until.unix().0.saturating_add(86_400)
    }

    /// What it still allows when `used` was signed for in the window.
    #[must_use]
    pub fn left(&self, used: Spend) -> Spend {
        let tokens = |used: Icnt| Icnt(self.tokens.0.saturating_sub(used.0));
        Spend {
            staked: tokens(used.staked),
            moved: tokens(used.moved),
            allowed: tokens(used.allowed),
            gas_wei: self.gas_wei.saturating_sub(used.gas_wei),
            registrations: self.nodes.saturating_sub(used.registrations),
        }
    }

    fn covers(&self, used: Spend, spend: Spend) -> Result<(), Denied> {
        let tokens = |used: Icnt, needed: Icnt, what: &str| {
            let least = used.0.saturating_add(needed.0);
            above(least > self.tokens.0 && needed.0 > 0, [needed, used, self.tokens, Icnt(least)], what)
        };
        tokens(used.staked, spend.staked, "staked")?;
        tokens(used.moved, spend.moved, "moved")?;
        tokens(used.allowed, spend.allowed, "allowed to others")?;
        let least = used.gas_wei.saturating_add(spend.gas_wei);
        let shown = [spend.gas_wei, used.gas_wei, self.gas_wei, least].map(coin);
        above(least > self.gas_wei && spend.gas_wei > 0, shown, "for gas")?;
        let least = used.registrations.saturating_add(spend.registrations);
        let shown = [spend.registrations, used.registrations, self.nodes, least];
        above(least > self.nodes && spend.registrations > 0, shown, "node(s) registered")
    }
}

fn above<T: fmt::Display>(is: bool, [needed, used, limit, least]: [T; 4], what: &str) -> Result<(), Denied> {
    if !is {
        return Ok(());
    }
    Err(Denied::Above {
        needed: format!("{needed} {what}"),
        used: used.to_string(),
        limit: limit.to_string(),
        least: least.to_string(),
    })
}

/// Which of `permissions` (newest last) allows `ask`, when `used` was signed for in the window before `now`, the ask's
/// own slot left out.  All that is used counts against each of them: two permissions are not added up.
///
/// # Errors
/// [`Denied`], in the newest permission's numbers.
pub fn judge<Id: Copy>(
    permissions: &[(Id, Permission)],
    used: Spend,
    ask: &Ask,
    now: Now,
) -> Result<Id, Denied> {
    if !ask.understood {
        return Err(Denied::Unknown);
    }
    let mut denied = Denied::Nothing { chain_id: ask.chain_id };
    for (id, permission) in permissions {
        if !permission.holds(now) {
            continue;
        }
        match permission.covers(used, ask.spend) {
            Ok(()) => return Ok(*id),
            Err(why) => denied = why,
        }
    }
    Err(denied)
}

/// Wei as whole coins.
#[must_use]
pub fn coin(wei: u128) -> String {
    format!("{} coin", decimal(wei))
}

fn decimal(parts: u128) -> String {
    let (whole, part) = (parts / COIN, format!("{:018}", parts % COIN));
    let part = part.trim_end_matches('0');
    if part.is_empty() { whole.to_string() } else { format!("{whole}.{part}") }
}

fn parts(text: &str) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > DECIMALS || !digits(whole) || !digits(part) {
        return None;
    }
    let part: u128 = format!("{part:0<DECIMALS$}").parse().ok()?;
    whole.parse::<u128>().ok()?.checked_mul(COIN)?.checked_add(part)
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tokens, gas) = (decimal(self.tokens.0), decimal(self.gas_wei));
        write!(f, "SPEND {tokens} ICNT {gas} COIN {} NODES A DAY UNTIL {}", self.nodes, self.until)
    }
}

impl FromStr for Permission {
    type Err = NoPermission;

    fn from_str(text: &str) -> Result<Self, NoPermission> {
        let words: Vec<&str> = text.split_whitespace().take(12).collect();
        let found =
            if let ["SPEND", tokens, "ICNT", gas, "COIN", nodes, "NODES", "A", "DAY", "UNTIL", until] =
                words.as_slice()
            {
                let nodes = nodes.parse().ok();
                match (parts(tokens), parts(gas), nodes, until.parse().ok()) {
                    (Some(tokens), Some(gas_wei), Some(nodes), Some(until)) => {
                        Some(Self { tokens: Icnt(tokens), gas_wei, nodes, until })
                    }
                    _ => None,
                }
            } else {
                None
            };
        found.ok_or_else(|| NoPermission {
            text: text.chars().filter(|c| !c.is_control()).take(120).collect(),
        })
    }
}
