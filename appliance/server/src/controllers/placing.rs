//! Whose controller is at an address that was found.
//!
//! An account goes to another address only with a reason that the finder cannot make up alone: the key that was pinned,
//! which the handshake has proved, or, before there is one, the port's address or the serial that the list was imported
//! with.  At an address that shows another key than its account knows, no password is said.

use std::collections::HashMap;

use appliance_model::{Digest, Mac};
use appliance_store::{AccountRow, ControllerRow};

/// What follows from a controller that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placing {
    /// This account is of this controller.
    Place(String),
    /// Somebody must look.
    Finding(String),
    /// No password is known of it.
    Unknown,
    /// All is as it was.
    Settled,
}

/// Accounts by all that a controller may be known by.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    url: HashMap<&'a str, &'a AccountRow>,
    /// `None` where several have the key: some makers ship one with all controllers, and then it names none.
    key: HashMap<Digest, Option<&'a AccountRow>>,
    serial: HashMap<&'a str, &'a AccountRow>,
    mac: HashMap<Mac, &'a AccountRow>,
}

impl<'a> Index<'a> {
    pub(crate) fn of(accounts: &'a [AccountRow]) -> Self {
        let mut key = HashMap::new();
        for row in accounts {
            if let Some(pin) = row.pin {
                key.entry(pin).and_modify(|known| *known = None).or_insert(Some(row));
            }
        }
        let text = |of: fn(&AccountRow) -> Option<&str>| {
            accounts.iter().filter_map(|row| Some((of(row)?, row))).collect()
        };
        Self {
            url: text(|row| row.account.url.as_deref()),
            serial: text(|row| row.account.serial.as_deref()),
            mac: accounts.iter().filter_map(|row| Some((row.account.mac?, row))).collect(),
            key,
        }
    }
}

/// Says whose `found` is.  `lost` tells whether a controller is gone from an address where it was known.
pub(crate) fn place(found: &ControllerRow, accounts: &Index<'_>, lost: impl Fn(&str) -> bool) -> Placing {
    // What did not answer is nowhere.
    let Some(key) = found.key else { return Placing::Settled };
    let keyed = accounts.key.get(&key).copied().flatten();
    if let Some(holder) = accounts.url.get(found.url.as_str()) {
        if holder.pin.is_none_or(|pin| pin == key) {
            return Placing::Settled;
        }
        return match keyed {
            Some(row) => Placing::Place(row.account.name.clone()),
            None => Placing::Finding(other_key(&holder.account.name)),
        };
    }
    let of_serial = found.serial.as_deref().and_then(|serial| accounts.serial.get(serial));
    let named = of_serial.or_else(|| accounts.mac.get(&found.mac?)).copied();
    let of_mac = |row: &AccountRow| found.mac.filter(|mac| row.account.mac == Some(*mac));
    match (keyed, named) {
        // Two ways to the same controller: the one that is known and works stays.
        (Some(row), _) | (None, Some(row)) if row.account.url.as_deref().is_some_and(|url| !lost(url)) => {
            Placing::Settled
        }
        (Some(row), _) => Placing::Place(row.account.name.clone()),
        (None, Some(row)) if row.pin.is_some_and(|pin| pin != key) => {
            Placing::Finding(other_key(&row.account.name))
        }
        // An agent that has proved nothing yet says whose it is: enough for a password that only it knows beside us.
        (None, Some(row)) if !row.ours && of_mac(row).is_none() => Placing::Finding(offer(&row.account.name)),
        (None, Some(row)) => Placing::Place(row.account.name.clone()),
        (None, None) => Placing::Unknown,
    }
}

fn offer(name: &str) -> String {
    format!(
        "the agent inside {name} says that this is its controller, which anybody could say; if that is right, import \
         the account again with this address"
    )
}

fn other_key(name: &str) -> String {
    format!(
        "it shows another key than the controller of {name} did, so no password is sent; if board or certificate was \
         replaced on purpose, `scalerforge bmc forget {name}`, else somebody is in between"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vault::tests::row;

    const HERE: &str = "https://10.78.0.12";
    const THERE: &str = "https://10.78.0.11";

    fn account(name: &str, url: Option<&str>, key: Option<&str>, mac: Option<&str>) -> AccountRow {
        let mut row = row(name, "ADMIN");
        row.account.url = url.map(str::to_owned);
        row.account.mac = mac.map(|mac| mac.parse().unwrap());
        row.pin = key.map(|key| Digest::of(key.as_bytes()));
        row
    }

    fn found(key: &str, serial: Option<&str>, mac: Option<&str>) -> ControllerRow {
        ControllerRow {
            url: HERE.into(),
            mac: mac.map(|mac| mac.parse().unwrap()),
            serial: serial.map(str::to_owned),
            key: Some(Digest::of(key.as_bytes())),
            service: None,
            seen: BTreeMap::new(),
            trouble: None,
            read_at: None,
        }
    }

    fn check(name: &str, found: &ControllerRow, accounts: &[AccountRow], lost: bool, wanted: &Placing) {
        let placing = match place(found, &Index::of(accounts), |_| lost) {
            Placing::Finding(_) => Placing::Finding(String::new()),
            other @ (Placing::Place(_) | Placing::Unknown | Placing::Settled) => other,
        };
        assert_eq!(placing, *wanted, "{name}");
    }

    #[test]
    fn an_account_follows_its_key_and_never_a_claim_against_it() {
        const MAC: &str = "52:54:00:00:00:01";
        let s1 = || Placing::Place("S1".into());
        let finding = || Placing::Finding(String::new());
        let known = || account("S1", Some(THERE), Some("k1"), Some(MAC));
        let fresh = || account("S1", None, None, Some(MAC));
        let silent = ControllerRow { key: None, ..found("k1", None, None) };
        for (name, found, accounts, lost, wanted) in [
            ("moved", found("k1", None, None), vec![known()], true, s1()),
            ("second way to it", found("k1", None, None), vec![known()], false, Placing::Settled),
            ("silent", silent, vec![known()], true, Placing::Settled),
            ("stranger", found("k9", None, None), vec![known()], true, Placing::Unknown),
            ("claims a known MAC", found("k9", None, Some(MAC)), vec![known()], true, finding()),
            ("claims a known serial", found("k9", Some("S1"), None), vec![known()], true, finding()),
            ("claims while it works", found("k9", Some("S1"), None), vec![known()], false, Placing::Settled),
            ("first contact by MAC", found("k1", None, Some(MAC)), vec![fresh()], true, s1()),
            ("an agent's word", found("k1", Some("S1"), None), vec![fresh()], true, finding()),
            ("an agent's word, and its MAC", found("k1", Some("S1"), Some(MAC)), vec![fresh()], true, s1()),
            (
                "made by that agent",
                found("k1", Some("S1"), None),
                vec![AccountRow { ours: true, ..fresh() }],
                true,
                s1(),
            ),
            ("first contact of nobody", found("k1", None, None), vec![fresh()], true, Placing::Unknown),
            (
                "at home",
                found("k1", None, None),
                vec![account("S1", Some(HERE), Some("k1"), None)],
                false,
                Placing::Settled,
            ),
            (
                "not met at home",
                found("k1", None, None),
                vec![account("S1", Some(HERE), None, None)],
                false,
                Placing::Settled,
            ),
            (
                "another key at home",
                found("k9", None, None),
                vec![account("S1", Some(HERE), Some("k1"), None)],
                false,
                finding(),
            ),
            (
                "two have changed places",
                found("k1", None, None),
                vec![known(), account("S2", Some(HERE), Some("k2"), None)],
                false,
                s1(),
            ),
            (
                "one key for all",
                found("k1", None, None),
                vec![known(), account("S2", None, Some("k1"), None)],
                true,
                Placing::Unknown,
            ),
        ] {
            check(name, &found, &accounts, lost, &wanted);
        }
    }
}
