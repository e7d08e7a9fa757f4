//! Keys in a Ledger: the device shows what is signed, and a person at it presses the button.
//!
//! Crates that speak with it go over libusb or libudev, which are C; a file of the kernel's and Ledger's documented
//! commands are enough.  `frame.rs` and `app.rs` decide, `hidraw.rs` reads and writes.  Before anything is signed, the
//! device's account at the path is compared with the one that was configured.

mod app;
mod error;
mod frame;
mod hidraw;
mod path;
mod typed;

use std::{path::PathBuf, sync::Arc};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559},
    dyn_abi::TypedData,
    primitives::{B256, Signature},
};
use appliance_model::Address;

pub use error::LedgerError;
pub use path::{KeyPath, NoPath};

use crate::SignError;

/// Which key of which device.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// The account that the key signs for.
    pub account: Address,
    /// Where it is in the seed's tree.
    pub path: KeyPath,
    /// The device's node; absent: the only Ledger that is plugged in.
    pub device: Option<PathBuf>,
    /// What `sys` and `dev` are below: `/`.
    pub root: PathBuf,
}

/// A key in a Ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    settings: LedgerSettings,
}

impl Ledger {
    pub(crate) fn new(settings: LedgerSettings) -> Self {
        Self { settings }
    }

    pub(crate) async fn transaction(self: &Arc<Self>, asked: &TxEip1559) -> Result<Signature, SignError> {
        let unsigned = asked.encoded_for_signing();
        self.converse(asked.signature_hash(), move |app| app.transaction(&unsigned)).await
    }

    pub(crate) async fn typed(
        self: &Arc<Self>,
        data: &TypedData,
        hash: B256,
    ) -> Result<Signature, SignError> {
        let odd = |_| self.failed(LedgerError::Odd { what: "typed data that has no hash" });
        let hashes = (data.domain.separator(), data.hash_struct().map_err(odd)?);
        let steps = typed::steps(data);
        self.converse(hash, move |app| app.typed(steps.as_deref(), hashes)).await
    }

    /// Opens the device, makes sure that it is the one, and signs.
    async fn converse(
        self: &Arc<Self>,
        hash: B256,
        ask: impl FnOnce(&mut app::App<'_, hidraw::Hidraw>) -> Result<Rs, LedgerError> + Send + 'static,
    ) -> Result<Signature, SignError> {
        let this = Arc::clone(self);
        let conversation = move || {
            let mut app = open(&this.settings)?;
            app.demand(this.settings.account)?;
            ask(&mut app)
        };
        let done = tokio::task::spawn_blocking(conversation).await;
        let found = done.map_err(LedgerError::BrokeOff).flatten().map_err(|source| self.failed(source))?;
        let account = self.settings.account;
        app::with_parity(found, hash, account).ok_or(SignError::Stranger { account })
    }

    fn failed(&self, source: LedgerError) -> SignError {
        SignError::Ledger { account: self.settings.account, source }
    }
}

/// r and s.
type Rs = (alloy::primitives::U256, alloy::primitives::U256);

fn open(settings: &LedgerSettings) -> Result<app::App<'_, hidraw::Hidraw>, LedgerError> {
    let link = hidraw::Hidraw::open(&settings.root, settings.device.as_deref())?;
    Ok(app::App { link, path: &settings.path })
}

impl LedgerSettings {
    /// The account of the device's key at the path, whatever `account` says; `shown` asks whoever holds the device to
    /// compare it on its screen.  Blocks.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn found(&self, shown: bool) -> Result<Address, LedgerError> {
        open(self)?.account(shown)
    }
}
