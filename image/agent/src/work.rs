//! The orders, each turned into an outcome.  What goes wrong is an outcome too, in words for the journal.

use std::{path::Path, thread};

use appliance_api::agent::{BmcAccount, BoardWord, Certificate, Outcome, QuoteOrder, Work};
use appliance_model::{
    Digest,
    inventory::{Inventory, Tpm as TpmFacts},
    units::Manifest,
};
use attest_evidence::{Nonce, Purpose, Statement, Target, qualifying_data};
use attest_tpm::{Ak, Tpm};
use firmware_checks_probe::{
    self as probe, gpu,
    live::{self, lldp},
};
use hmac::{Hmac, Mac as _};

use crate::{console::chain, controller, say, system, talk::Talk};

/// What is quoted: firmware and boot manager, the image (9, 11), command line and credentials (12, 13), keys (14), and
/// what the running system may extend (15).
pub const PCRS: [u8; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15];

/// Carries out one order.
#[derive(Debug, Clone, Copy)]
pub struct Hands<'a> {
    /// The loop it belongs to.
    pub talk: &'a Talk,
    /// The order's id.
    pub order: u64,
}

impl Hands<'_> {
    /// Does what the order says.
    pub fn carry_out(&self, work: Work) -> Outcome {
        let result = match work {
            Work::Inventory { bmc_account } => self.inventory(bmc_account.as_ref()),
            Work::Identify => self.identify(),
            Work::Activate { credential_blob, encrypted_secret, transcript } => {
                self.activate(&credential_blob, &encrypted_secret, transcript)
            }
            Work::Quote(order) => self.quote(&order),
            Work::Carve(wanted) => self.carve(&wanted),
            Work::Uncarve(made) => self.uncarve(&made),
            Work::NodeConsent(consent) => self.consent(&consent),
            Work::BurnIn(order) => self.burn_in(*order),
            Work::Install(order) => self.install(&order),
            Work::Promote { release } => self.promote(&release),
            Work::Plant(order) => self.plant(&order),
            Work::Unlock(order) => self.unlock(&order),
            Work::Lock => self.lock(),
            // The loop deals with these before it comes here.
            Work::Wait
            | Work::Hold { .. }
            | Work::Reboot
            | Work::PowerOff
            | Work::Switch
            | Work::Erase(_) => Err("this order needs no work".into()),
        };
        result.unwrap_or_else(|why| Outcome::Failed { why })
    }

    fn inventory(&self, bmc_account: Option<&BmcAccount>) -> Result<Outcome, String> {
        say!("taking inventory");
        let mut inventory = self.probe();
        controller::ask(&self.talk.root, bmc_account, &mut inventory);
        match self.tpm().and_then(|mut tpm| facts(&mut tpm)) {
            Ok(facts) => {
                inventory.sources.insert("tpm".into(), "TPM2_GetCapability".into());
                let version = inventory.tpm.take().and_then(|tpm| tpm.version);
                inventory.tpm = Some(TpmFacts { version, ..facts });
            }
            Err(why) => inventory.gaps.push(why),
        }
        say!(
            "{} logical CPUs, {} MiB, {} drives, {} ports, {} gaps",
            inventory.threads.len(),
            inventory.memory_bytes.unwrap_or(0) >> 20,
            inventory.drives.len(),
            inventory.nics.len(),
            inventory.gaps.len()
        );
        let json = serde_json::to_string(&inventory).map_err(|error| format!("inventory: {error}"))?;
        self.talk
            .state
            .keep_inventory(&json)
            .map_err(|error| format!("inventory could not be kept: {error}"))?;
        Ok(Outcome::Inventory { json })
    }

    /// Asks the machine.  Listening for switches takes half a minute, the other questions happen meanwhile.
    fn probe(&self) -> Inventory {
        let root = &self.talk.root;
        let mut inventory = probe::probe(root);
        let ports = inventory.clone();
        let heard = thread::scope(|scope| {
            // A recorded tree has no cables.
            let listens = root == Path::new("/") && lldp::is_worth_it(&ports);
            let heard = listens.then(|| scope.spawn(|| lldp::listen(&ports, lldp::ROUND)));
            live::complete(&mut inventory, &root.join("dev"));
            let program = root.join(gpu::PROGRAM);
            let report = program.exists().then(|| gpu::ask(&program));
            gpu::take(&mut inventory, report);
            // A fault in there restarts the agent, as everywhere.
            heard.and_then(|heard| heard.join().ok())
        });
        if let Some(heard) = heard {
            heard.tell(&mut inventory);
        }
        inventory
    }

    /// The inventory as it was reported.
    pub(crate) fn reported_inventory(&self) -> Result<Inventory, String> {
        let json =
            self.talk.state.inventory().ok_or("no inventory was taken since this boot: order one first")?;
        let inventory =
            serde_json::from_str(&json).map_err(|error| format!("the kept inventory is broken: {error}"))?;
        Ok(inventory)
    }

    pub(crate) fn tpm(&self) -> Result<Tpm, String> {
        Tpm::open(&self.talk.tpm).map_err(|error| format!("TPM: {}", chain(&error)))
    }

    fn identify(&self) -> Result<Outcome, String> {
        say!("showing the TPM's identity");
        let failed = |error| format!("TPM identity: {}", chain(&error));
        let mut tpm = self.tpm()?;
        let certificates = tpm.read_certificates().map_err(failed)?;
        for (index, error) in &certificates.unreadable {
            say!("TPM: certificate at {index:#x} could not be read: {}", chain(error));
        }
        let (keys, missing) = tpm.create_eks();
        for (template, error) in &missing {
            say!("TPM: no endorsement key {template:?}: {}", chain(error));
        }
        let ak = tpm.create_ak().map_err(failed)?;
        tpm.release().map_err(failed)?;
        let facts = facts(&mut tpm)?;
        let certificates = certificates.found.into_iter();
        Ok(Outcome::Identity {
            certificates: certificates
                .map(|c| Certificate { nv_index: c.nv_index, der: hex::encode(c.der) })
                .collect(),
            ek_publics: keys.iter().map(|ek| hex::encode(ek.public().raw())).collect(),
            ak_public: hex::encode(ak.public().raw()),
            tpm: facts,
        })
    }

    fn activate(&self, blob: &str, secret: &str, transcript: Digest) -> Result<Outcome, String> {
        say!("answering the TPM challenge");
        let (blob, secret) = (bytes("credential_blob", blob)?, bytes("encrypted_secret", secret)?);
        let mut tpm = self.tpm()?;
        let ak = tpm.create_ak().map_err(|error| format!("TPM: {}", chain(&error)))?;
        // The order does not say for which endorsement key the credential was made; it opens with one only.
        let mut refusals = Vec::new();
        let (keys, _) = tpm.create_eks();
        for ek in &keys {
            match tpm.activate(ek, &ak, &blob, &secret) {
                Ok(secret) => {
                    let _ = tpm.release();
                    let mut mac = <Hmac<sha2::Sha256>>::new_from_slice(&secret)
                        .map_err(|error| format!("HMAC: {error}"))?;
                    mac.update(&transcript.0);
                    return Ok(Outcome::Activated { answer: Digest(mac.finalize().into_bytes().into()) });
                }
                Err(error) => refusals.push(format!("{:?}: {}", ek.template(), chain(&error))),
            }
        }
        let _ = tpm.release();
        Err(format!("the TPM opened the credential with no endorsement key ({})", refusals.join("; ")))
    }

    fn quote(&self, order: &QuoteOrder) -> Result<Outcome, String> {
        say!("quoting for {}", order.purpose);
        let nonce = Nonce::decode(&bytes("nonce", &order.nonce)?)
            .map_err(|error| format!("nonce: {}", chain(&error)))?;
        if let Some(real) = self.unreal(order)? {
            return Ok(Outcome::Carved { real: Box::new(real) });
        }
        let purpose = self.purpose(order)?;
        let log =
            system::event_log(&self.talk.root).map_err(|error| system::no_log(&self.talk.root, &error))?;
        let failed = |error| format!("quote: {}", chain(&error));
        let mut tpm = self.tpm()?;
        let ak: Ak = tpm.create_ak().map_err(failed)?;
        let host_key = self.host_account(&mut tpm);
        let digest = |text: Option<String>| text.map(|text| Digest::of(text.as_bytes()).0);
        let statement = Statement {
            purpose,
            nonce,
            node: order.node.0,
            ak_name: ak.name().bytes().to_vec(),
            inventory: digest(self.talk.state.inventory()),
            burn_in: digest(self.talk.state.burn_in()),
            uefi_log: Digest::of(&log).0,
            previous: order.previous.map(|digest| digest.0),
            sequence: order.sequence,
            host_key,
        };
        let quote = tpm.quote(&ak, &qualifying_data(&statement), &PCRS).map_err(failed)?;
        let iak = board_word(&mut tpm, &ak, &order.node.0);
        tpm.release().map_err(failed)?;
        self.remember(order)?;
        Ok(Outcome::Quoted {
            statement: hex::encode(statement.encode()),
            attest: hex::encode(quote.attest.raw()),
            signature: hex::encode(quote.signature.raw()),
            pcrs: quote.pcrs.into_iter().map(|(index, value)| (index, Digest(value))).collect(),
            uefi_log: hex::encode(log),
            iak,
        })
    }

    fn purpose(&self, order: &QuoteOrder) -> Result<Purpose, String> {
        match (order.purpose.as_str(), &order.target, &order.manifest) {
            ("admission", None, None) => Ok(Purpose::Admission),
            ("registration", Some(target), Some(manifest)) => {
                let (unit_root, manifest) = self.vouch_for(manifest)?;
                let (chain_id, registry, operator) = (target.chain_id, target.registry.0, target.operator.0);
                Ok(Purpose::Registration {
                    target: Target { chain_id, registry, operator },
                    unit_root,
                    manifest,
                })
            }
            (purpose, ..) => Err(format!(
                "quote order: purpose `{purpose}` is not `admission` without target and manifest, \
                 nor `registration` with both"
            )),
        }
    }

    /// Only units that this machine's inventory has are signed for.
    fn vouch_for(&self, text: &str) -> Result<([u8; 32], [u8; 32]), String> {
        let manifest: Manifest =
            serde_json::from_str(text).map_err(|error| format!("the manifest could not be read: {error}"))?;
        let inventory = self.reported_inventory()?;
        let faults = appliance_carve::check(&inventory, &manifest);
        if !faults.is_empty() {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            return Err(format!("the manifest does not fit this machine: {}", faults.join("; ")));
        }
        Ok((appliance_carve::unit_root(&manifest).0, Digest::of(text.as_bytes()).0))
    }

    /// The TPM's count of resets: which boot this is.
    pub(crate) fn boot_count(&self) -> Result<u32, String> {
        let failed = |error| format!("the TPM's count of boots: {}", chain(&error));
        let mut tpm = self.tpm()?;
        let ak = tpm.create_ak().map_err(failed)?;
        let quote = tpm.quote(&ak, &[0; 32], &[0]).map_err(failed)?;
        tpm.release().map_err(failed)?;
        Ok(quote.attest.clock.reset_count)
    }
}

/// The board's own word about the attestation key, where its maker left a certificate; evidence is whole without it.
fn board_word(tpm: &mut Tpm, ak: &Ak, node: &[u8; 32]) -> Option<BoardWord> {
    let certificates = tpm.read_board_certificates().ok()?;
    for (index, error) in &certificates.unreadable {
        say!("TPM: the board's certificate at {index:#x} could not be read: {}", chain(error));
    }
    let (iak, chain_ders) = tpm.certified_iak(&certificates.found)?;
    // attest/FORMAT.md, check `iak-certifies`.
    let data = Digest::of(&[b"scalerforge/iak/v1\0".as_slice(), node].concat());
    match tpm.certify(&iak, ak, &data.0) {
        Ok(word) => Some(BoardWord {
            certificates: chain_ders.iter().map(hex::encode).collect(),
            public: hex::encode(iak.public().raw()),
            attest: hex::encode(word.attest.raw()),
            signature: hex::encode(word.signature.raw()),
        }),
        Err(error) => {
            say!("TPM: the board's key does not certify: {}", chain(&error));
            None
        }
    }
}

fn facts(tpm: &mut Tpm) -> Result<TpmFacts, String> {
    let facts = tpm.properties().map_err(|error| format!("TPM: {}", chain(&error)))?;
    Ok(TpmFacts {
        manufacturer: facts.manufacturer,
        vendor: facts.vendor,
        firmware: facts.firmware,
        banks: facts.banks,
        ..TpmFacts::default()
    })
}

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|error| format!("{field}: not hex: {error}"))
}
