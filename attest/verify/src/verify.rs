//! All checks, in order.

use std::sync::Arc;

use attest_evidence::{Evidence, Nonce, Purpose, cbor};

use attest_wire::eventlog::Error as LogError;

use crate::{
    LastSeen, Policy,
    accept::Proven,
    attachments, binding, board,
    crypto::{Crypto, Pure},
    endorsement::{self, Endorsed},
    freshness,
    header::Header,
    log::{self, Reading},
    memory::Memory,
    node_id,
    publication::{self, Publication, Published},
    quote, reference, trust,
    verdict::{Checks, Facts, FileName, Outcome, Tier, Verdict},
};

/// Judges one evidence file by `policy`, at `now_unix` (seconds since 1970).
#[must_use]
pub fn verify(evidence: &Evidence, policy: &Policy, now_unix: u64) -> Verdict {
    verify_with(&Pure, evidence, policy, now_unix)
}

/// [`verify`] with another library's signature checks.
#[must_use]
pub fn verify_with(crypto: &dyn Crypto, evidence: &Evidence, policy: &Policy, now_unix: u64) -> Verdict {
    verdict(
        evidence,
        FileName::of(&evidence.encode()),
        policy,
        &mut Context { crypto, now_unix, memory: None, headers: &[], published: &Published::default() },
    )
}

/// Judges many files by one policy, and remembers which chains and which challengers' signatures held, and what
/// the logs of these boots amount to.
#[derive(Debug)]
pub struct Verifier<'c> {
    policy: Policy,
    crypto: &'c dyn Crypto,
    memory: Memory,
    headers: Vec<Header>,
    published: Published,
}

impl<'c> Verifier<'c> {
    /// A verifier that remembers nothing yet.  The policy's roots stay as they are.
    #[must_use]
    pub fn new(policy: Policy, crypto: &'c dyn Crypto) -> Self {
        Self {
            policy,
            crypto,
            memory: Memory::default(),
            headers: Vec::new(),
            published: Published::default(),
        }
    }

    /// Sets what the next files must answer and follow: the parts of a policy that differ from node to node.
    pub fn expect(&mut self, nonce: Option<Nonce>, last_seen: Option<LastSeen>) {
        self.policy.expected_nonce = nonce;
        self.policy.last_seen = last_seen;
    }

    /// Gives block headers of the chain: a block nonce must then be the hash of one of them.
    pub fn headers(&mut self, headers: Vec<Header>) {
        self.headers = headers;
    }

    /// Gives the next file's publication ([`publication::PublicationFile`]), and the hash that its block must have
    /// where the caller knows it.  A publication that proves nothing fails the file's check `published`.
    pub fn publication(&mut self, json: Option<&[u8]>, block: Option<[u8; 32]>) {
        self.published = Published { publication: json.map(Publication::read), block };
    }

    /// Forgets everything: the next file is judged from the ground up.
    pub fn forget(&mut self) {
        self.memory = Memory::default();
    }

    /// Forgets logs only: the next file's is read and replayed.
    pub fn forget_logs(&mut self) {
        self.memory.forget_logs();
    }

    /// Judges one file's bytes, at `now_unix` (seconds since 1970).
    ///
    /// # Errors
    /// The bytes are not evidence of this version.
    pub fn verify(&mut self, file: &[u8], now_unix: u64) -> Result<Verdict, cbor::Error> {
        let evidence = Evidence::decode(file)?;
        let mut context = Context {
            crypto: self.crypto,
            now_unix,
            memory: Some(&mut self.memory),
            headers: &self.headers,
            published: &self.published,
        };
        // A file that could be read is its evidence's only encoding, so its hash is the evidence's.
        Ok(verdict(&evidence, FileName::of(file), &self.policy, &mut context))
    }
}

/// What the checks are made with.
pub(crate) struct Context<'a> {
    pub(crate) crypto: &'a dyn Crypto,
    pub(crate) now_unix: u64,
    pub(crate) memory: Option<&'a mut Memory>,
    pub(crate) headers: &'a [Header],
    pub(crate) published: &'a Published,
}

impl Context<'_> {
    /// What the log with this digest amounts to; faulty ones are read anew each time.
    pub(crate) fn reading(&mut self, digest: [u8; 32], log: &[u8]) -> Result<Arc<Reading>, LogError> {
        if let Some(known) = self.memory.as_ref().and_then(|memory| memory.log(&digest)) {
            return Ok(known);
        }
        let reading = Arc::new(Reading::of(log)?);
        if let Some(memory) = &mut self.memory {
            memory.keep_log(digest, Arc::clone(&reading));
        }
        Ok(reading)
    }
}

/// Room for the checks of a registration with an image of five PCRs.
const CHECKS_USUAL: usize = 56;

fn verdict(evidence: &Evidence, name: FileName, policy: &Policy, context: &mut Context<'_>) -> Verdict {
    let mut checks = Checks(Vec::with_capacity(CHECKS_USUAL));
    let mut facts = Facts {
        evidence: name,
        node: crate::hexed::encode(evidence.node),
        purpose: match evidence.statement.purpose {
            Purpose::Admission => "admission".into(),
            Purpose::Registration { .. } => "registration".into(),
        },
        ..Facts::default()
    };
    let proven = judge(evidence, policy, context, &mut checks, &mut facts);
    let failed = checks.0.iter().any(|check| check.outcome == Outcome::Fail);
    let (tier, why) = match &proven {
        Some((Some(endorsed), proven)) if !failed => tier(endorsed, proven, policy),
        Some(_) | None => (Tier::T0, "a check failed: nothing may be claimed".into()),
    };
    let is_software = proven.as_ref().and_then(|(endorsed, _)| Some(endorsed.as_ref()?.is_software()));
    let trust = trust::vector(&checks.0, &facts, is_software);
    let proven = proven.filter(|(endorsed, _)| endorsed.is_some()).map(|(_, proven)| proven);
    Verdict { checks: checks.0, tier, why_not_higher: why, trust, facts, proven }
}

/// `None` if the quote or the endorsement key could not even be read.
fn judge(
    evidence: &Evidence,
    policy: &Policy,
    context: &mut Context<'_>,
    checks: &mut Checks,
    facts: &mut Facts,
) -> Option<(Option<Endorsed>, Proven)> {
    let quote = quote::judge(evidence, context.crypto, checks)?;
    facts.ak_name = Some(crate::hexed::encode(quote.ak_name.bytes()));
    facts.firmware = Some(quote.attest.firmware_version);
    facts.reset_count = Some(quote.attest.clock.reset_count);
    facts.pcrs = quote.pcrs.iter().map(|(pcr, value)| (*pcr, crate::hexed::encode(value))).collect();
    freshness::judge(evidence, &quote, policy, checks);
    let first = freshness::block(evidence, context.headers, checks);
    facts.not_before = first.map(|header| header.time);
    let log = log::Log::of(evidence, context);
    let booted = reference::Booted { pcrs: &quote.pcrs, straight: log.straight(&quote.pcrs) };
    let image = reference::judge(&booted, &policy.reference, checks, facts);
    facts.image.clone_from(&image);
    log::judge(evidence, &log, &quote.pcrs, checks, facts);
    let (ek, endorsed) =
        endorsement::judge(evidence, quote.attest.firmware_version, policy, context, checks)?;
    let ek_name = ek.name();
    facts.ek_name = Some(crate::hexed::encode(ek_name.bytes()));
    facts.ek_certificate = endorsed.as_ref().map(|endorsed| crate::hexed::encode(endorsed.certificate));
    facts.tpm = endorsed.as_ref().map(|endorsed| endorsed.tpm.join(" "));
    let node = node_id(ek_name.bytes());
    checks.add(
        "node-id",
        evidence.node == node && evidence.statement.node == node,
        crate::hexed::encode(if evidence.node == node { evidence.statement.node } else { evidence.node }),
        crate::hexed::encode(node),
        "the node id is not that of this endorsement key",
    );
    let certificate = endorsed.as_ref().map(|endorsed| endorsed.certificate);
    let challengers = binding::judge(evidence, &quote.ak_name, certificate, policy, context, checks);
    facts.challengers = challengers;
    facts.board = board::judge(evidence, &quote.ak_name, policy, context, checks);
    attachments::judge(evidence, checks);
    publication::judge(evidence, context.published, first, checks, facts);
    let seen = LastSeen {
        // Said when the verdict is accepted.
        evidence: [0; 32],
        sequence: evidence.statement.sequence,
        ak_name: quote.ak_name.bytes().to_vec(),
        reset_count: quote.attest.clock.reset_count,
        restart_count: quote.attest.clock.restart_count,
        clock: quote.attest.clock.clock,
        firmware: quote.attest.firmware_version,
        pcrs: quote.pcrs.clone(),
    };
    let proven = Proven {
        statement: evidence.statement.clone(),
        ak_xy: quote.ak_xy,
        ek_name: ek_name.bytes().to_vec(),
        ek_public: attest_evidence::digest(ek.raw()),
        ek_certificate: certificate.unwrap_or_default(),
        seen,
        image,
        challengers,
        board: facts.board.is_some(),
        has_unit_root: evidence.attachments.manifest.is_some(),
    };
    Some((endorsed, proven))
}

/// What evidence without a failed check may claim, and why not more.
fn tier(endorsed: &Endorsed, proven: &Proven, policy: &Policy) -> (Tier, String) {
    /// One challenger convinces only those who trust this one.
    const INDEPENDENT_MIN: usize = 2;
    if endorsed.is_software() {
        return (Tier::T0, "software TPM: whoever runs it can sign anything".into());
    }
    if proven.challengers < policy.k.max(INDEPENDENT_MIN) {
        let why = match proven.challengers {
            0 => "no known challenger bound the attestation key to the endorsement key".into(),
            count => format!(
                "only {count} known challenger(s) bound the attestation key to the endorsement key; {} needed",
                policy.k.max(INDEPENDENT_MIN)
            ),
        };
        return (Tier::T1, why);
    }
    if proven.image.is_none() {
        return (Tier::T1, "no reference values: which image was booted is not judged".into());
    }
    if !proven.board {
        return (Tier::T2, "no OEM IAK or platform certificate ties this TPM to this board".into());
    }
    (Tier::T3, "no key that is off the TPM's bus (SEV-SNP, TDX, GPU) vouches for the same statement".into())
}
