//! A machine of the rig: a TPM in software, units, and the whole way of evidence to the stage in which its price is read.

use std::sync::Arc;

use appliance_api::agent::{Outcome, QuoteOrder};
use appliance_carve::{shape, unit_root, with_real};
use appliance_enrol::{Boot, Carved, Event, Rung, Stage};
use appliance_model::{
    Digest, HostId, NodeId, Serial, Session,
    burn_in::Verdict,
    inventory::{Inventory, System},
    real::{Shape, Wishes},
    units::{Manifest, Resource, Unit},
};
use appliance_store::{Kind, NewHost};
use attest_evidence::{Evidence, Nonce, Purpose, Target, digest, qualifying_data};
use serde_json::json;

use super::Running;
use crate::{
    app::{App, now},
    forge::{EkCertificate, Forge, Recorded},
    proof,
};

/// Where the forge writes a quote's qualifying data: behind magic, type and a name of 34 bytes.
const QUALIFYING: std::ops::Range<usize> = 44..76;

/// `EV_IPL` (TCG PC Client Platform Firmware Profile, 10.4.1).
const EV_IPL: u32 = 0x0d;

/// Units of the class that nobody has to vouch for.
pub(crate) const CLASS: &str = "lab";
pub(crate) const CAPACITY: u64 = 10;

/// What so many of that class put up, whole ICNT.
pub(crate) const STAKE: u64 = 30;

/// A machine.
pub(crate) struct Machine {
    forge: Forge,
    pub(crate) id: HostId,
    pub(crate) serial: Serial,
    pub(crate) manifest: Manifest,
    inventory: Inventory,
    /// What its kernel says.
    pub(crate) real: Shape,
    pub(crate) session: String,
}

fn forge(number: u8) -> Forge {
    Forge::new(&EkCertificate { machine: number, ..EkCertificate::default() })
}

/// Who certifies their endorsement keys.
pub(crate) fn maker_pem() -> String {
    forge(0).root_pem().to_owned()
}

/// What they boot.
pub(crate) fn reference() -> String {
    serde_json::to_string(&forge(0).policy().reference[0]).unwrap()
}

impl Machine {
    pub(crate) fn new(number: u8) -> Self {
        let serial = Serial::parse(&format!("RIG{number:05}")).unwrap();
        let unit = |id: &str, resource| Unit::new(id, resource, None);
        let manifest = Manifest {
            version: 1,
            serial: serial.clone(),
            class: CLASS.into(),
            capacity: CAPACITY,
            units: vec![
                unit("compute-0000", Resource::Compute { cpus: vec![1, 2] }),
                unit("memory-0000", Resource::Memory { bytes: 1 << 30 }),
            ],
            reserved_cpus: vec![0],
            reserved_bytes: 1 << 30,
            classed_by: None,
            domains: None,
        };
        let system = System { serial: Some(serial.clone()), ..System::default() };
        let inventory = Inventory { system, ..Inventory::default() };
        let real = shape(&manifest, &inventory, Wishes::default());
        let id = HostId::of_serial(&serial);
        let session = Session([number; 32]).reveal();
        Self { forge: forge(number), id, serial, manifest, inventory, real, session }
    }

    /// The manifest with this state in it, as it is quoted.
    pub(crate) fn quoted(&self, real: &Shape) -> String {
        String::from_utf8(with_real(&self.manifest, real)).unwrap()
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.forge.evidence(|_| {}).node)
    }

    /// Evidence for this appliance's registry, of this place in its row.
    pub(crate) fn evidence(
        &self,
        app: &App,
        (sequence, previous): (u64, Option<Digest>),
        nonce: Nonce,
        manifest: &str,
    ) -> Evidence {
        self.evidence_of(app, (sequence, previous), nonce, manifest, None)
    }

    fn evidence_of(
        &self,
        app: &App,
        (sequence, previous): (u64, Option<Digest>),
        nonce: Nonce,
        manifest: &str,
        recorded: Option<Recorded>,
    ) -> Evidence {
        let target = app.chain.target().unwrap();
        let target =
            Target { chain_id: target.chain_id, registry: target.registry.0, operator: target.operator.0 };
        let mut evidence = self.forge.evidence(|bend| {
            bend.registration = true;
            bend.recorded = recorded;
            bend.sequence = sequence;
            bend.previous = previous.map(|digest| digest.0);
            bend.nonce = nonce;
            bend.clock.0 += sequence * 1000;
        });
        let manifest = manifest.as_bytes().to_vec();
        let inventory = serde_json::to_vec(&self.inventory).unwrap();
        evidence.statement.purpose = Purpose::Registration {
            target,
            unit_root: attest_verify::unit_root(&manifest).unwrap(),
            manifest: digest(&manifest),
        };
        evidence.statement.inventory = Some(digest(&inventory));
        evidence.attachments.manifest = Some(manifest);
        evidence.attachments.inventory = Some(inventory);
        evidence.tpm.attest[QUALIFYING].copy_from_slice(&qualifying_data(&evidence.statement));
        self.forge.sign(&mut evidence);
        evidence
    }

    /// Log and registers of a boot, with what was measured after the discovery image's own events: (PCR, digest).  Command
    /// line and initramfs are then all of that.
    pub(crate) fn boot(&self, more: &[(u8, [u8; 32])]) -> Recorded {
        let mut events = crate::firmware::events(b"image");
        events.retain(|(pcr, ..)| *pcr != 9 || more.is_empty());
        let (mut log, mut values) = crate::forge::boot(&events);
        for (pcr, measured) in more {
            log.extend(crate::firmware::event(u32::from(*pcr), EV_IPL, measured, b""));
            if let Some(value) = values.get_mut(pcr) {
                *value = digest(&[&value[..], measured].concat());
            }
        }
        (log, values)
    }

    /// What its agent reports for this order in a boot that measured `more`.
    pub(crate) fn quote(&self, app: &App, order: &QuoteOrder, more: &[(u8, [u8; 32])]) -> Outcome {
        let nonce = Nonce::decode(&hex::decode(&order.nonce).unwrap()).unwrap();
        let (log, values) = self.boot(more);
        let evidence = match &order.manifest {
            Some(manifest) => {
                let place = (order.sequence, order.previous);
                self.evidence_of(app, place, nonce, manifest, Some((log.clone(), values)))
            }
            None => self.forge.evidence(|bend| {
                bend.recorded = Some((log.clone(), values));
                // Of this boot it vouches for none.
                bend.statement = Some(|statement| statement.inventory = None);
                bend.sequence = order.sequence;
                bend.previous = order.previous.map(|digest| digest.0);
                bend.nonce = nonce;
                bend.clock.0 += 1000 + order.sequence * 1000;
            }),
        };
        quote_of(&evidence)
    }

    /// The inventory, as its agent reports it.
    pub(crate) fn inventory(&self) -> Outcome {
        Outcome::Inventory { json: serde_json::to_string(&self.inventory).unwrap() }
    }

    /// Brings it to the stage in which its price is read: everything before it is proven and kept as agents' reports
    /// would have it.  Before anything is decided: the stages on its way have effects of their own.
    pub(crate) async fn arrive(&self, running: &Running) {
        assert!(!running.decides);
        let app = &running.app;
        let manifest = self.quoted(&self.real);
        let evidence = self.evidence(app, (0, None), Nonce::Verifier([7; 32]), &manifest);
        let bytes = evidence.encode();
        let judged = || proof::judge(app, &bytes, None, None, None).unwrap();
        let kept = proof::accepted(&judged(), bytes.clone());
        let facts = NewHost {
            serial: self.serial.clone(),
            model: None,
            position: None,
            bmc: None,
            bmc_pin: None,
            macs: Vec::new(),
        };
        let documents = [
            (Kind::Registration, bytes.clone()),
            (Kind::Manifest, manifest.into_bytes()),
            (Kind::Inventory, evidence.attachments.inventory.clone().unwrap()),
            (Kind::BurnIn, evidence.attachments.burn_in.clone().unwrap()),
            (Kind::Binding, evidence.endorsements.bindings[0].clone()),
            (Kind::Challenge, self.challenge(&evidence)),
        ];
        let session: Session = self.session.parse().unwrap();
        let boot = Boot { nonce: Digest([1; 32]), at: now() };
        let id = app
            .db(move |store| {
                let id = store.remember(&facts, now())?;
                for (kind, bytes) in documents {
                    store.put(&id, kind, &bytes, now())?;
                }
                store.keep_evidence(&id, &kept, now())?;
                store.open_session(&id, session.fingerprint(), boot.nonce)?;
                Ok(id)
            })
            .await
            .unwrap();
        assert_eq!(id, self.id);
        let any = Digest([9; 32]);
        let carved = Carved {
            class: CLASS.into(),
            capacity: CAPACITY,
            units: 2,
            unit_root: unit_root(&self.manifest),
        };
        for event in [
            Event::Wanted,
            Event::PoweredOn(Rung::UefiHttp),
            Event::Hello(Boot { nonce: Digest([1; 32]), at: now() }),
            Event::Inventory { inventory: any },
            Event::Identity { identity: any },
            Event::ChallengeMade { transcript: any },
            Event::AnswerRight,
            Event::Quoted { evidence: any },
            Event::Attested(Box::new(judged())),
            Event::Planned { steps: 1, done: 0 },
            Event::BurnInDone { report: any, verdict: Verdict::Pass { coverage: Vec::new() } },
            Event::Carved(carved),
            Event::Shaped,
            Event::Quoted { evidence: any },
            Event::Bound(Box::new(judged().bind().unwrap())),
        ] {
            app.advance(&self.id, event, None).await.unwrap();
        }
        let stage = self.stage(app).await;
        assert!(matches!(stage, Stage::Pricing { .. }), "{stage:?}");
        app.bump();
    }

    /// Who its TPM is, as the challenge has kept it.
    fn challenge(&self, evidence: &Evidence) -> Vec<u8> {
        let hex = |bytes: &Vec<u8>| hex::encode(bytes);
        let challenge = json!({
            "node": NodeId(evidence.node),
            "ek_certificate": hex(&evidence.endorsements.ek_certificates[0]),
            "intermediates": evidence.endorsements.intermediates.iter().map(hex).collect::<Vec<_>>(),
            "ek_public": hex(&evidence.endorsements.ek_public),
            "ak_public": hex(&evidence.tpm.ak_public),
            "tpm": appliance_model::inventory::Tpm::default(),
            "credential_blob": "",
            "encrypted_secret": "",
            "transcript": Digest([0; 32]),
            "secret": null,
        });
        challenge.to_string().into_bytes()
    }

    pub(crate) async fn stage(&self, app: &Arc<App>) -> Stage {
        let id = self.id.clone();
        app.db(move |store| store.host(&id)).await.unwrap().stage
    }

    /// Waits until it is in the stage of that name.
    pub(crate) async fn reaches(&self, app: &Arc<App>, name: &str) -> Stage {
        super::until(&format!("{} to be {name}", self.serial), async || {
            let stage = self.stage(app).await;
            (stage.name() == name).then_some(stage)
        })
        .await
    }
}

/// What an agent reports, whose quote this evidence was made of.
pub(crate) fn quote_of(evidence: &Evidence) -> Outcome {
    let pcrs = evidence.tpm.pcrs.iter();
    Outcome::Quoted {
        statement: hex::encode(evidence.statement.encode()),
        attest: hex::encode(&evidence.tpm.attest),
        signature: hex::encode(&evidence.tpm.signature),
        pcrs: pcrs.map(|pcr| (pcr.index, Digest(pcr.digest.as_slice().try_into().unwrap()))).collect(),
        uefi_log: hex::encode(&evidence.logs.uefi),
        iak: None,
    }
}
