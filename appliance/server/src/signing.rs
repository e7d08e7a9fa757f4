//! The operator's key, wherever it is, and the book that says what it may sign.
//!
//! The book is in the store: it allows, counts and writes down in one transaction before anything is signed.  On
//! development chains nobody has to allow anything, because a signature for their ids is good nowhere else.  Read next:
//! `signing/api.rs` (people).

use std::{path::Path, sync::Arc};

use alloy::consensus::TxEip1559;
use appliance_model::{Address, Digest, Now};
use appliance_store::{Admitted, Books, NewSignature, ProposalRow, Signer, Store, StoreError};
use chain_client::{
    KeyError, OperatorKey,
    signer::{
        Ask, Book, BookError, KmsSettings, LedgerSettings, Line, Passphrase, Permission, Proposal,
        RemoteSettings, Spend, WINDOW_MILLISECONDS, judge,
    },
};

use crate::{
    app::{App, now},
    config,
};

pub(crate) mod api;
#[cfg(test)]
mod tests;

/// Chain ids of chains that are worth nothing: ours, and anvil's and hardhat's.
const DEVELOPMENT: [u64; 2] = [chain_devnet::CHAIN_ID, 31_337];

/// How long a proposal may wait for whoever signs it: a week end and a bank holiday.
const PROPOSAL_SECONDS: u64 = 5 * 86_400;

/// The name under which systemd hands us the keystore's passphrase (`LoadCredential=`).
const CREDENTIAL: &str = "operator-passphrase";

/// Whether somebody has to allow what is signed for this chain.
pub(crate) fn demanded(chain_id: u64) -> bool {
    !DEVELOPMENT.contains(&chain_id)
}

/// The operator's key as the site file says it.  It has no book yet.
///
/// # Errors
/// [`KeyError`]: a file is missing, can be read by others, or is no key.
pub(crate) fn key(chain: &config::Chain) -> Result<OperatorKey, KeyError> {
    match &chain.signer {
        config::Signer::SecretFile => OperatorKey::read(&chain.operator_key_file),
        config::Signer::Keystore { file, passphrase_file } => {
            if let Some(weakness) = OperatorKey::keystore(file)?.weakness() {
                tracing::warn!(file = %file.display(), weakness, "the operator's keystore file is weak");
            }
            let credential =
                || std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(CREDENTIAL));
            let from = passphrase_file
                .clone()
                .or_else(credential)
                .unwrap_or_else(|| file.with_extension("passphrase"));
            let passphrase = Passphrase::read(&from)
                .map_err(|source| KeyError::Passphrase { path: file.clone(), source })?;
            OperatorKey::open(file, &passphrase)
        }
        config::Signer::Remote { url, account, authority_file, identity_file } => {
            let read = |path: &Path| {
                std::fs::read(path).map_err(|source| KeyError::File {
                    path: path.into(),
                    doing: "read",
                    source,
                })
            };
            OperatorKey::remote(RemoteSettings {
                url: url.clone(),
                account: *account,
                authority_pem: authority_file.as_deref().map(read).transpose()?,
                identity_pem: identity_file.as_deref().map(read).transpose()?.map(Into::into),
            })
        }
        config::Signer::Kms { cloud, account, credentials_file, endpoint } => OperatorKey::kms(KmsSettings {
            cloud: cloud.clone(),
            account: *account,
            credentials_file: credentials_file.clone(),
            endpoint: endpoint.clone(),
            authority_pem: None,
            clock: now,
        }),
        config::Signer::Ledger { account, path, device } => Ok(OperatorKey::ledger(LedgerSettings {
            account: *account,
            path: path.clone(),
            device: device.clone(),
            root: "/".into(),
        })),
        config::Signer::Offline { account } => Ok(OperatorKey::elsewhere(*account)),
    }
}

/// The book, with a connection of its own to the store's file.
#[derive(Debug)]
pub(crate) struct StoreBook(Store);

impl StoreBook {
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        Store::open(&dir.join("store.sqlite")).map(Self)
    }
}

/// What was spent in the last 24 hours starts here.
pub(crate) fn window(now: Now) -> Now {
    Now(now.0.saturating_sub(WINDOW_MILLISECONDS))
}

pub(crate) fn signer(account: Address, chain: u64) -> Signer {
    Signer { account, chain }
}

/// What each permission that holds still allows the operator's account in this window; `None` where nobody has to allow
/// anything.
pub(crate) async fn left(app: &Arc<App>) -> Result<Option<Vec<Spend>>, StoreError> {
    if !demanded(app.config.chain.chain_id) {
        return Ok(None);
    }
    let (signer, at) = (signer(app.chain.operator().address(), app.config.chain.chain_id), now());
    let (spent, rows) =
        app.db(move |store| Ok((store.spent(signer, window(at))?, store.permissions(signer)?))).await?;
    // What cannot be read could be anything: then nothing is left, and who signs says why.
    let Ok(spent) = spent.iter().map(|text| read_spend(text)).collect::<Result<Vec<_>, _>>() else {
        return Ok(Some(Vec::new()));
    };
    let used = spent.into_iter().fold(Spend::NONE, Spend::plus);
    let words = rows.into_iter().filter(|row| row.revoked_at.is_none()).map(|row| row.words);
    let permissions = words.filter_map(|words| words.parse::<Permission>().ok());
    Ok(Some(permissions.filter(|one| one.holds(at)).map(|one| one.left(used)).collect()))
}

/// A spend as the store keeps it.
pub(crate) fn read_spend(text: &str) -> Result<Spend, String> {
    serde_json::from_str(text)
        .map_err(|_| "the book of signatures holds a spend that cannot be read".to_owned())
}

fn new_line(ask: &Ask) -> NewSignature {
    NewSignature {
        slot: ask.slot.clone(),
        digest: Digest(ask.digest),
        words: ask.words.clone(),
        spend: serde_json::json!(ask.spend).to_string(),
    }
}

/// What the book says: the slot's worst counts, whatever was signed for it before.
fn verdict(books: &Books, ask: &Ask, now: Now) -> Result<Admitted, String> {
    let before = books.before.as_deref().map(read_spend).transpose()?;
    let spend = before.map_or(ask.spend, |before| before.worse(ask.spend));
    let mut permission = None;
    if demanded(ask.chain_id) {
        let mut used = Spend::NONE;
        for spent in &books.used {
            used = used.plus(read_spend(spent)?);
        }
        let allowed = books.permissions.iter();
        let allowed: Vec<(u64, Permission)> =
            allowed.filter_map(|(id, words)| words.parse().ok().map(|words| (*id, words))).collect();
        let ask = Ask { spend, ..ask.clone() };
        permission = Some(judge(&allowed, used, &ask, now).map_err(|denied| denied.to_string())?);
    }
    Ok(Admitted { permission, spend: serde_json::json!(spend).to_string() })
}

fn unwritten(error: StoreError) -> BookError {
    BookError::Unwritten(Box::new(error))
}

impl Book for StoreBook {
    fn admit(&self, ask: &Ask) -> Result<Line, BookError> {
        let now = now();
        let rule = |books: &Books| verdict(books, ask, now);
        let signer = signer(ask.account, ask.chain_id);
        let line =
            self.0.admit_signature(signer, &new_line(ask), window(now), &rule, now).map_err(unwritten)?;
        match line {
            Ok(line) => {
                tracing::info!(line, slot = ask.slot, words = ask.words.join("; "), "signing");
                Ok(Line(line))
            }
            Err(why) => Err(BookError::Denied(why)),
        }
    }

    fn signed(&self, line: Line, _signature: &[u8]) -> Result<(), BookError> {
        self.0.signature_made(line.0, now()).map_err(unwritten)
    }

    fn brought(&self, ask: &Ask, transaction: &TxEip1559) -> Result<Vec<u8>, BookError> {
        let (now, signer) = (now(), signer(ask.account, ask.chain_id));
        let call = call(transaction);
        if let Some(row) = self.0.proposal(signer, &ask.slot).map_err(unwritten)?
            && row.call == call
        {
            if let Some(raw) = row.raw {
                return Ok(raw);
            }
            if row.at.0.saturating_add(PROPOSAL_SECONDS * 1000) > now.0 {
                return Err(waits(&row));
            }
        }
        let expires = now.0 / 1000 + PROPOSAL_SECONDS;
        let Some(made) = Proposal::new(ask.account, transaction, expires) else {
            return Err(BookError::Denied("contracts are not made off line".into()));
        };
        let row = ProposalRow {
            id: made.sha256,
            slot: ask.slot.clone(),
            json: serde_json::to_string_pretty(&made).unwrap_or_default(),
            call,
            raw: None,
            at: now,
        };
        self.0.propose(signer, &row).map_err(unwritten)?;
        tracing::info!(proposal = %row.id, slot = row.slot, words = ask.words.join("; "), "waits to be signed elsewhere");
        Err(waits(&row))
    }
}

fn waits(row: &ProposalRow) -> BookError {
    BookError::Elsewhere(format!(
        "it waits to be signed elsewhere: `scalerforge chain export {}`, then `chain sign` where the key is, then `chain \
         import`",
        row.id
    ))
}

/// What a transaction does, whatever it pays for gas.
fn call(transaction: &TxEip1559) -> Digest {
    let to = transaction.to.to().map_or([0; 20], |to| to.into_array());
    Digest::of(&[&to[..], &transaction.value.to_be_bytes::<32>(), &transaction.input].concat())
}

/// Writes down what somebody signed elsewhere, and keeps it for whoever sends it.  Whoever signed allowed it: the words
/// were before his eyes.
pub(crate) fn brought_back(store: &Store, ask: &Ask, id: Digest, raw: &[u8]) -> Result<bool, StoreError> {
    let now = now();
    let rule = |books: &Books| {
        let before = books.before.as_deref().map(read_spend).transpose()?;
        let spend = before.map_or(ask.spend, |before| before.worse(ask.spend));
        Ok(Admitted { permission: None, spend: serde_json::json!(spend).to_string() })
    };
    let signer = signer(ask.account, ask.chain_id);
    if let Ok(line) = store.admit_signature(signer, &new_line(ask), window(now), &rule, now)? {
        store.signature_made(line, now)?;
    }
    store.bring(id, raw)
}
