//! The key that callers hold, wherever its secret is.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use alloy::{
    consensus::{SignableTransaction as _, Signed, TxEip1559, TxEnvelope},
    eips::eip2718::Decodable2718 as _,
    primitives::{B256, Signature},
    signers::{SignerSync as _, local::PrivateKeySigner},
};
use appliance_model::Address;
use zeroize::Zeroizing;

use crate::{
    Ask, Book, BookError, Entropy, KeyError, Keystore, KmsSettings, LedgerSettings, Line, Passphrase,
    RemoteSettings, SignError, Typed, kms::Kms, ledger::Ledger, meaning, remote::Remote,
};

/// A keystore of other tools is some 500 bytes, a secret 67.
const FILE_BYTES_MAX: u64 = 8192;

/// Signs for one account.  Never printed; `Debug` shows its address.
#[derive(Clone)]
pub struct OperatorKey {
    address: Address,
    way: Way,
    book: Option<Arc<dyn Book>>,
}

/// Where the secret is.
#[derive(Clone)]
enum Way {
    Here(PrivateKeySigner),
    Remote(Arc<Remote>),
    Kms(Arc<Kms>),
    /// In a device, which somebody holds.
    Ledger(Arc<Ledger>),
    /// With a person, who carries files.
    Elsewhere,
}

impl OperatorKey {
    /// The key with this secret.
    ///
    /// # Errors
    /// [`KeyError::Secret`] for zero and for numbers above the curve's order.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let signer = PrivateKeySigner::from_bytes(&B256::new(*secret)).map_err(|_| KeyError::Secret)?;
        let address = Address(signer.address().into_array());
        Ok(Self { address, way: Way::Here(signer), book: None })
    }

    /// Reads 64 hex digits from a file that nobody else can read.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or not a key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_secret(&*Self::secret(path)?).map_err(|_| KeyError::Content { path: path.into() })
    }

    /// The secret in such a file, for whoever writes it elsewhere.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or not 64 hex digits.
    pub fn secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let bytes = closed_file(path)?;
        let content = || KeyError::Content { path: path.into() };
        let digits = std::str::from_utf8(&bytes).map_err(|_| content())?.trim();
        let mut secret = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut *secret)
            .map_err(|_| content())?;
        Ok(secret)
    }

    /// Writes a new key file with mode 0600 and never over an existing one.
    ///
    /// # Errors
    /// [`KeyError`]: the file exists, cannot be written, or `secret` is no key.
    pub fn create(path: &Path, secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = Self::from_secret(secret)?;
        let text = Zeroizing::new(format!("{}\n", hex::encode(secret)));
        write_new(path, text.as_bytes())?;
        Ok(key)
    }

    /// Reads a keystore file and says what makes it weak, without opening it.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or no keystore file.
    pub fn keystore(path: &Path) -> Result<Keystore, KeyError> {
        Keystore::parse(&closed_file(path)?)
            .map_err(|source| KeyError::Keystore { path: path.into(), source })
    }

    /// Opens a keystore file.  Takes about a second.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or the passphrase does not open it.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Keystore { path: path.into(), source };
        let keystore = Self::keystore(path)?;
        let key = Self::from_secret(&*keystore.open(passphrase).map_err(failed)?)?;
        match keystore.address() {
            Some(said) if said != key.address => {
                Err(failed(crate::KeystoreError::Account { said, found: key.address }))
            }
            Some(_) | None => Ok(key),
        }
    }

    /// Writes `secret`, or a fresh one, to a new keystore file with mode 0600.  Takes about a second.
    ///
    /// # Errors
    /// [`KeyError`]: the file exists or cannot be written, or `secret` is no key.
    pub fn create_keystore(
        path: &Path,
        secret: Option<&[u8; 32]>,
        passphrase: &Passphrase,
    ) -> Result<Self, KeyError> {
        let random = || KeyError::Random { path: path.into() };
        let mut fresh = Zeroizing::new([0_u8; 32]);
        match secret {
            Some(secret) => fresh.copy_from_slice(secret),
            None => getrandom::fill(&mut *fresh).map_err(|_| random())?,
        }
        let key = Self::from_secret(&fresh)?;
        let mut entropy = Entropy { salt: [0; 32], iv: [0; 16], id: [0; 16] };
        for bytes in [&mut entropy.salt[..], &mut entropy.iv, &mut entropy.id] {
            getrandom::fill(bytes).map_err(|_| random())?;
        }
        let text = Keystore::write(&fresh, key.address, passphrase, &entropy)
            .map_err(|source| KeyError::Keystore { path: path.into(), source })?;
        write_new(path, text.as_bytes())?;
        Ok(key)
    }

    /// The account that the key signs for.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The key of an account whose signer is another machine.
    ///
    /// # Errors
    /// [`KeyError::Remote`] if it cannot be asked so; whether it answers shows when it is asked.
    pub fn remote(settings: RemoteSettings) -> Result<Self, KeyError> {
        let address = settings.account;
        Ok(Self { address, way: Way::Remote(Arc::new(Remote::new(&settings)?)), book: None })
    }

    /// The key of an account in a cloud's KMS.
    ///
    /// # Errors
    /// [`KeyError::Remote`] if it cannot be asked so; whether it answers shows when it is asked.
    pub fn kms(settings: KmsSettings) -> Result<Self, KeyError> {
        let address = settings.account;
        Ok(Self { address, way: Way::Kms(Arc::new(Kms::new(settings)?)), book: None })
    }

    /// The key of an account in a Ledger; whether it is there shows when it is asked.
    #[must_use]
    pub fn ledger(settings: LedgerSettings) -> Self {
        let address = settings.account;
        Self { address, way: Way::Ledger(Arc::new(Ledger::new(settings))), book: None }
    }

    /// The key of an account that signs elsewhere; its book makes proposals and takes what comes back.  Without a book it
    /// signs nothing.
    #[must_use]
    pub fn elsewhere(address: Address) -> Self {
        Self { address, way: Way::Elsewhere, book: None }
    }

    /// The same key, which signs only what `book` allows.
    #[must_use]
    pub fn with_book(mut self, book: Arc<dyn Book>) -> Self {
        self.book = Some(book);
        self
    }

    /// Signs an EIP-1559 transaction.  What comes back is this account's and says what was asked, or it is an error; of a
    /// key that is elsewhere, gas and fees are those that were signed.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign(&self, transaction: TxEip1559) -> Result<Signed<TxEip1559>, SignError> {
        let hash = transaction.signature_hash();
        let Some(book) = &self.book else {
            let signature = self.signature(&transaction, hash).await?;
            return Ok(transaction.into_signed(signature));
        };
        let ask = self.ask(&transaction, hash);
        if matches!(self.way, Way::Elsewhere) {
            let (book, asked) = (Arc::clone(book), transaction.clone());
            let raw = self.on_disk(move || book.brought(&ask, &asked)).await?;
            return self.brought(&transaction, &raw);
        }
        let line = self.admit(book, ask).await?;
        let signature = self.signature(&transaction, hash).await?;
        self.note(book, line, &signature).await?;
        Ok(transaction.into_signed(signature))
    }

    /// Signs typed data: r ‖ s ‖ v, 65 bytes.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign_typed(&self, typed: &Typed) -> Result<[u8; 65], SignError> {
        let line = match &self.book {
            Some(book) => {
                let ask = Ask {
                    account: self.address,
                    chain_id: typed.chain_id,
                    slot: typed.slot.clone(),
                    digest: typed.hash.0,
                    words: typed.words.clone(),
                    spend: typed.spend,
                    understood: true,
                };
                Some((book, self.admit(book, ask).await?))
            }
            None => None,
        };
        let signature = match &self.way {
            Way::Here(signer) => signer.sign_hash_sync(&typed.hash).map_err(|source| self.failed(source))?,
            Way::Remote(remote) => remote.typed(typed).await?,
            Way::Kms(kms) => kms.sign(typed.hash).await?,
            Way::Ledger(ledger) => ledger.typed(&typed.data, typed.hash).await?,
            Way::Elsewhere => return Err(SignError::NoTyped { account: self.address }),
        };
        self.demand_own(&signature, typed.hash)?;
        if let Some((book, line)) = line {
            self.note(book, line, &signature).await?;
        }
        Ok(signature.as_bytes())
    }

    async fn signature(&self, transaction: &TxEip1559, hash: B256) -> Result<Signature, SignError> {
        let signature = match &self.way {
            Way::Here(signer) => signer.sign_hash_sync(&hash).map_err(|source| self.failed(source))?,
            Way::Remote(remote) => remote.transaction(transaction).await?,
            Way::Kms(kms) => kms.sign(hash).await?,
            Way::Ledger(ledger) => ledger.transaction(transaction).await?,
            Way::Elsewhere => return Err(SignError::NoTyped { account: self.address }),
        };
        self.demand_own(&signature, hash)?;
        Ok(signature)
    }

    /// What was signed elsewhere, if it does what is asked now.  Gas and fees may be older than the question.
    fn brought(&self, asked: &TxEip1559, raw: &[u8]) -> Result<Signed<TxEip1559>, SignError> {
        let mut expected = asked.clone();
        if let Ok(TxEnvelope::Eip1559(signed)) = TxEnvelope::decode_2718(&mut &raw[..]) {
            expected.gas_limit = signed.tx().gas_limit;
            expected.max_fee_per_gas = signed.tx().max_fee_per_gas;
            expected.max_priority_fee_per_gas = signed.tx().max_priority_fee_per_gas;
        }
        crate::remote::same(&expected, raw, self.address)
    }

    fn ask(&self, transaction: &TxEip1559, hash: B256) -> Ask {
        let to = transaction.to.to().map(|to| Address(to.into_array()));
        let mut found = meaning(to, transaction.value, &transaction.input);
        let gas = u128::from(transaction.gas_limit).saturating_mul(transaction.max_fee_per_gas);
        found.spend.gas_wei = found.spend.gas_wei.saturating_add(gas);
        Ask {
            account: self.address,
            chain_id: transaction.chain_id,
            slot: format!("nonce {}", transaction.nonce),
            digest: hash.0,
            words: found.words,
            spend: found.spend,
            understood: found.understood,
        }
    }

    async fn admit(&self, book: &Arc<dyn Book>, ask: Ask) -> Result<Line, SignError> {
        let book = Arc::clone(book);
        self.on_disk(move || book.admit(&ask)).await
    }

    async fn note(&self, book: &Arc<dyn Book>, line: Line, signature: &Signature) -> Result<(), SignError> {
        let (book, signature) = (Arc::clone(book), signature.as_bytes());
        self.on_disk(move || book.signed(line, &signature)).await
    }

    /// Does something that waits for a disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BookError> + Send + 'static,
    ) -> Result<T, SignError> {
        let account = self.address;
        let failed = |source| SignError::Book { account, source };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| failed(BookError::Unwritten(Box::new(error))))?.map_err(failed)
    }

    fn failed(&self, source: alloy::signers::Error) -> SignError {
        SignError::Failed { account: self.address, source }
    }

    fn demand_own(&self, signature: &Signature, hash: B256) -> Result<(), SignError> {
        let signer = signature.recover_address_from_prehash(&hash).ok();
        // Of s in the upper half there are two for one word, and the chain takes only the lower.
        let low = signature.normalize_s().is_none();
        if low && signer.is_some_and(|signer| signer.0 == self.address.0) {
            return Ok(());
        }
        Err(SignError::Stranger { account: self.address })
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.address)
    }
}

/// The bytes of a file that nobody but its owner can read.
pub(crate) fn closed_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::File { path: path.into(), doing: "read", source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { path: path.into(), doing: "created", source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)
}
