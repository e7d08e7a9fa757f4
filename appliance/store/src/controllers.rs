//! Controllers that were seen, by whom and when, whether they can be used or not: what people look for when one is
//! missing.  Addresses are this table's keys and nothing else's; a controller is known by its key, its machine by its
//! serial.

use std::collections::BTreeMap;

use appliance_model::{Digest, Mac, Now};
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer, json, parse},
};

/// Controllers kept: more addresses than a site has are a fault or an attack.
const CONTROLLERS_MAX: i64 = 100_000;

/// Who has seen a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The site file names it.
    SiteFile,
    /// An imported list names it.
    Import,
    /// It answered in an address range.
    Range,
    /// Its lease.
    Dhcp,
    /// It answered an SSDP search.
    Ssdp,
    /// It answered a multicast DNS query.
    Mdns,
    /// The agent inside its machine was told by it.
    InBand,
}

impl Source {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::SiteFile => "site file",
            Self::Import => "import",
            Self::Range => "address range",
            Self::Dhcp => "DHCP",
            Self::Ssdp => "SSDP",
            Self::Mdns => "mDNS",
            Self::InBand => "its machine",
        }
    }
}

/// A controller as one source saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// `https://ADDRESS`.
    pub url: String,
    /// Its port's address, where the source tells.
    pub mac: Option<Mac>,
    /// Serial of its machine, where the source tells.
    pub serial: Option<String>,
    /// The key it showed.  Nothing is pinned by this.
    pub key: Option<Digest>,
    /// What its service root says of it.
    pub service: Option<String>,
    /// Who saw it.
    pub source: Source,
}

/// How the last visit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was read: the serial of its machine, and its key.
    Read(String, Option<Digest>),
    /// It was not, or not wholly; in words.
    Trouble(String),
}

/// A controller as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRow {
    /// `https://ADDRESS`.
    pub url: String,
    /// Its port's address.
    pub mac: Option<Mac>,
    /// Serial of its machine.
    pub serial: Option<String>,
    /// The key it showed last.
    pub key: Option<Digest>,
    /// What its service root says of it.
    pub service: Option<String>,
    /// Who saw it when, last.
    pub seen: BTreeMap<Source, Now>,
    /// What is wrong with it.
    pub trouble: Option<String>,
    /// When it was last read.
    pub read_at: Option<Now>,
}

impl Store {
    /// Writes down what was seen, in one transaction.  Returns how many found no room.
    ///
    /// # Errors
    /// If the store cannot write; then nothing was changed.
    pub fn sighted(&self, sightings: &[Sighting], now: Now) -> Result<usize, StoreError> {
        let sql = StoreError::sql("keep which controllers were seen");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let mut rows: i64 =
            transaction.query_row("SELECT count(*) FROM controller", [], |row| row.get(0)).map_err(&sql)?;
        let mut left_out = 0;
        for one in sightings {
            let seen: Option<String> = transaction
                .query_row("SELECT seen FROM controller WHERE url = ?1", [&one.url], |row| row.get(0))
                .optional()
                .map_err(&sql)?;
            if seen.is_none() {
                if rows >= CONTROLLERS_MAX {
                    left_out += 1;
                    continue;
                }
                rows += 1;
            }
            let mut seen: BTreeMap<Source, Now> = seen
                .map(|seen| parse(&seen, || "who saw a controller".into()))
                .transpose()?
                .unwrap_or_default();
            seen.insert(one.source, now);
            transaction
                .execute(
                    "INSERT INTO controller (url, mac, serial, key, service, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (url) DO UPDATE SET mac = coalesce(excluded.mac, mac),
                       serial = coalesce(excluded.serial, serial), key = coalesce(excluded.key, key),
                       service = coalesce(excluded.service, service), seen = excluded.seen",
                    params![
                        one.url,
                        one.mac.map(|mac| mac.to_string()),
                        one.serial,
                        one.key.map(|key| key.to_string()),
                        one.service,
                        json(&seen, "who saw a controller")?
                    ],
                )
                .map_err(&sql)?;
        }
        transaction.commit().map_err(&sql)?;
        Ok(left_out)
    }

    /// Writes down how visits ended, in one transaction; of controllers that were never seen nothing.
    ///
    /// # Errors
    /// If the store cannot write; then nothing was changed.
    pub fn visited(&self, ended: &[(String, Outcome)], now: Now) -> Result<(), StoreError> {
        let sql = StoreError::sql("keep how controllers were read");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        for (url, outcome) in ended {
            match outcome {
                Outcome::Read(serial, key) => transaction.execute(
                    "UPDATE controller SET serial = ?2, key = coalesce(?3, key), trouble = NULL, read_at = ?4
                     WHERE url = ?1",
                    params![url, serial, key.map(|key| key.to_string()), integer(now.0)],
                ),
                Outcome::Trouble(why) => transaction
                    .execute("UPDATE controller SET trouble = ?2 WHERE url = ?1", params![url, why]),
            }
            .map_err(&sql)?;
        }
        transaction.commit().map_err(sql)
    }

    /// All controllers that were seen, by address.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn controllers(&self) -> Result<Vec<ControllerRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the controllers");
        let mut statement = connection
            .prepare(
                "SELECT url, mac, serial, key, service, seen, trouble, read_at FROM controller ORDER BY url",
            )
            .map_err(&sql)?;
        let rows = statement.query_map([], raw).map_err(&sql)?;
        rows.map(|row| {
            let (mut row, mac, key, seen) = row.map_err(&sql)?;
            row.mac = mac.and_then(|mac| mac.parse().ok());
            row.key = key.and_then(|key| key.parse().ok());
            row.seen = parse(&seen, || format!("who saw {}", row.url))?;
            Ok(row)
        })
        .collect()
    }
}

type Raw = (ControllerRow, Option<String>, Option<String>, String);

fn raw(row: &Row<'_>) -> Result<Raw, rusqlite::Error> {
    let read_at: Option<i64> = row.get(7)?;
    let known = ControllerRow {
        url: row.get(0)?,
        mac: None,
        serial: row.get(2)?,
        key: None,
        service: row.get(4)?,
        seen: BTreeMap::new(),
        trouble: row.get(6)?,
        read_at: read_at.map(|at| Now(count(at))),
    };
    Ok((known, row.get(1)?, row.get(3)?, row.get(5)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(url: &str, source: Source) -> Sighting {
        let (mac, serial, key, service) = (None, None, None, None);
        Sighting { url: url.into(), mac, serial, key, service, source }
    }

    /// A command and the appliance start at once on a new site.
    #[test]
    fn many_may_be_the_first_to_open_a_store() {
        for _ in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("store");
            std::thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| Store::open(&file).unwrap().controllers().unwrap());
                }
            });
        }
    }

    #[test]
    fn what_one_source_told_is_kept_when_another_tells_less() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let (url, mac) = ("https://10.78.0.11", "52:54:00:00:00:01".parse().unwrap());
        let leased = Sighting { mac: Some(mac), ..sighting(url, Source::Dhcp) };
        let key = Digest::of(b"key");
        let probed =
            Sighting { key: Some(key), service: Some("a maker".into()), ..sighting(url, Source::Range) };
        store.sighted(&[leased, sighting("https://10.78.0.12", Source::Ssdp)], Now(1)).unwrap();
        assert_eq!(store.sighted(&[probed], Now(2)).unwrap(), 0);
        store.visited(&[(url.into(), Outcome::Trouble("no password".into()))], Now(3)).unwrap();
        let row = store.controllers().unwrap().remove(0);
        assert_eq!((row.mac, row.key, row.service.as_deref()), (Some(mac), Some(key), Some("a maker")));
        assert_eq!(row.seen, BTreeMap::from([(Source::Range, Now(2)), (Source::Dhcp, Now(1))]));
        assert_eq!(row.trouble.as_deref(), Some("no password"));
        store.visited(&[(url.into(), Outcome::Read("S1".into(), None))], Now(4)).unwrap();
        let row = store.controllers().unwrap().remove(0);
        assert_eq!((row.serial.as_deref(), row.key, row.trouble), (Some("S1"), Some(key), None));
        assert_eq!((row.read_at, store.controllers().unwrap().len()), (Some(Now(4)), 2));
    }
}
