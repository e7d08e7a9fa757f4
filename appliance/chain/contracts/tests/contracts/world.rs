//! The contracts on an EVM, and everybody around them: owner, operator, machines, attestors, HyperNodes.

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::SolValue as _,
};
use chain_contracts::{
    Around, Bookings, CollateralVault, IcntMock, IcntPlainMock, PassportMock, Permit2Mock, Plan, ScalerNodes,
    ScalerTerms, nodes, plan, terms, vault,
};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use revm::primitives::hardfork::SpecId;
use sha2::{Digest as _, Sha256};

use crate::{
    evm::{CHAIN_ID, Evm},
    sent::{Refused, Sent},
};

pub(crate) use crate::evm::{account, key};

/// One token.
pub(crate) const TOKEN: u128 = 1_000_000_000_000_000_000;
/// ICN's shortest commitment.
pub(crate) const COMMITMENT: u64 = 36 * 30 * 86_400;
pub(crate) const DAY: u64 = 86_400;

/// `Accounts.Source`.
pub(crate) const DEPOSIT: u8 = 0;
pub(crate) const APPROVAL: u8 = 1;
pub(crate) const PERMIT: u8 = 2;
pub(crate) const PERMIT2: u8 = 3;

/// Who takes part.
pub(crate) struct World {
    pub(crate) evm: Evm,
    pub(crate) plan: Plan,
    pub(crate) token: Address,
    pub(crate) permit2: Address,
    pub(crate) passports: Address,
    /// Owner of the terms, and who mints.
    pub(crate) governor: Address,
    pub(crate) treasury: Address,
    pub(crate) owner: PrivateKeySigner,
    pub(crate) operator: PrivateKeySigner,
    pub(crate) attestors: Vec<PrivateKeySigner>,
    pub(crate) hyper_nodes: Vec<Address>,
}

/// Whether the token has EIP-2612.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Permit,
    Plain,
}

/// r ‖ s ‖ v.
pub(crate) fn signed(key: &PrivateKeySigner, digest: B256) -> Bytes {
    key.sign_hash_sync(&digest).unwrap().as_bytes().to_vec().into()
}

/// A class as most tests want it: 100 tokens a unit, 2 of the attestors 0 to 2, a day to restore, then 10 % a day.
pub(crate) fn class() -> terms::ScalerTerms::Class {
    terms::ScalerTerms::Class {
        collateralReq: U256::from(100).checked_mul(U256::from(10).pow(U256::from(36))).unwrap().to(),
        totalCapacity: 0,
        baselineCapacity: 1000,
        networkShare: u64::try_from(TOKEN / 100).unwrap(),
        requiredPcrs: "0xfaff".parse::<U256>().unwrap().to(),
        attestorsNeeded: 2,
        restoreWindow: 86_400,
        slashPeriod: 86_400,
        slashBps: 1000,
        slashBpsMax: 5000,
        attestorMask: 0b111,
        priceMax: U256::from(TOKEN).to(),
        known: true,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(SpecId::OSAKA, Kind::Permit)
    }

    /// Everything deployed; region `eu-west` with class `storage`; the owner has a million tokens and no deposit.
    pub(crate) fn on(spec: SpecId, kind: Kind) -> Self {
        let mut evm = Evm::new(spec);
        let (governor, treasury) = (account("governor"), account("treasury"));
        let token = evm.create(
            governor,
            match kind {
                Kind::Permit => IcntMock::BYTECODE.clone(),
                Kind::Plain => IcntPlainMock::BYTECODE.clone(),
            },
        );
        let permit2 = evm.create(governor, Permit2Mock::BYTECODE.clone());
        let passports = evm.create(governor, PassportMock::BYTECODE.clone());
        let around = Around { token, permit2, passports, owner: governor, treasury };
        let plan = plan(governor, evm.nonce(governor), around);
        for member in &plan.members {
            assert_eq!(evm.create(governor, member.code.clone()), member.address, "{}", member.name);
        }
        let attestors: Vec<_> = (0..4).map(|n| key(&format!("attestor {n}"))).collect();
        let hyper_nodes = (0..3).map(|n| account(&format!("hyper node {n}"))).collect();
        let mut world = Self {
            evm,
            plan,
            token,
            permit2,
            passports,
            governor,
            treasury,
            owner: key("owner"),
            operator: key("operator"),
            attestors,
            hyper_nodes,
        };
        world.govern();
        world
    }

    fn govern(&mut self) {
        let (governor, terms) = (self.governor, self.plan.terms);
        self.mint(self.owner.address(), 1_000_000 * TOKEN);
        let (to, bound) = (self.owner.address(), self.token);
        self.evm
            .send(
                governor,
                bound,
                &IcntMock::mintCall { to: account("others"), amount: U256::from(699_000_000 * TOKEN) },
            )
            .unwrap();
        assert_ne!(to, governor);
        let evm = &mut self.evm;
        evm.send(governor, terms, &ScalerTerms::setRegionCall { regionId: "eu-west".into(), known: true })
            .unwrap();
        for (place, attestor) in (0..).zip(&self.attestors) {
            let call = ScalerTerms::setAttestorCall { attestor: attestor.address(), place, known: true };
            evm.send(governor, terms, &call).unwrap();
        }
        for &hyper_node in &self.hyper_nodes {
            let call = ScalerTerms::setHyperNodeCall { hyperNode: hyper_node, known: true };
            evm.send(governor, terms, &call).unwrap();
        }
        let call =
            ScalerTerms::setPassportTermsCall { value: U256::from(50 * TOKEN).to(), decay: 48 * 30 * 86_400 };
        evm.send(governor, terms, &call).unwrap();
        self.factors(TOKEN, 300_000_000 * TOKEN, 30);
        self.set_class("storage", class());
    }

    pub(crate) fn factors(&mut self, factor: u128, circulating: u128, percent: u8) {
        let call = ScalerTerms::setFactorsCall { factor, circulating: U256::from(circulating).to(), percent };
        self.evm.send(self.governor, self.plan.terms, &call).unwrap();
    }

    pub(crate) fn set_class(&mut self, name: &str, terms: terms::ScalerTerms::Class) {
        let call = ScalerTerms::setClassCall { regionId: "eu-west".into(), hwClass: name.into(), terms };
        self.evm.send(self.governor, self.plan.terms, &call).unwrap();
    }

    pub(crate) fn mint(&mut self, to: Address, amount: u128) {
        let call = IcntMock::mintCall { to, amount: U256::from(amount) };
        self.evm.send(self.governor, self.token, &call).unwrap();
    }

    pub(crate) fn approve(&mut self, from: Address, spender: Address, amount: u128) {
        let call = IcntMock::approveCall { spender, value: U256::from(amount) };
        self.evm.send(from, self.token, &call).unwrap();
    }

    pub(crate) fn balance(&mut self, of: Address) -> u128 {
        self.evm.ask(self.token, &IcntMock::balanceOfCall { account: of }).unwrap().to()
    }

    pub(crate) fn deposits(&mut self, of: Address) -> u128 {
        self.evm.ask(self.plan.vault, &CollateralVault::depositsCall { owner: of }).unwrap().to()
    }

    /// Deposits out of an approval.
    pub(crate) fn deposit(&mut self, of: Address, amount: u128) {
        self.approve(of, self.plan.vault, amount);
        let call =
            CollateralVault::depositCall { amount: U256::from(amount), payment: vault_payment(APPROVAL) };
        self.evm.send(of, self.plan.vault, &call).unwrap();
    }

    /// Lets the operator act for the owner.
    pub(crate) fn empower(&mut self, registrations: u16, retirements: u16, tokens: u64) {
        let call = CollateralVault::setOperatorCall {
            operator: self.operator.address(),
            enabled: true,
            registrationsPerDay: registrations,
            retirementsPerDay: retirements,
            collateralPerDay: U256::from(tokens * 1000).to(),
        };
        self.evm.send(self.owner.address(), self.plan.vault, &call).unwrap();
    }

    pub(crate) fn lock(&mut self, node: B256) -> vault::CollateralVault::Lock {
        self.evm.ask(self.plan.vault, &CollateralVault::lockOfCall { nodeId: node }).unwrap()
    }

    pub(crate) fn covered(&mut self, node: B256) -> bool {
        self.evm.ask(self.plan.vault, &CollateralVault::isCoveredCall { nodeId: node }).unwrap()
    }

    pub(crate) fn node(&mut self, node: B256) -> nodes::ScalerNodes::Node {
        self.evm.ask(self.plan.nodes, &ScalerNodes::nodeCall { nodeId: node }).unwrap()
    }

    /// A permit of the token for the vault.
    pub(crate) fn permit(&mut self, owner: &PrivateKeySigner, amount: u128, deadline: u64) -> Bytes {
        let separator = self.evm.ask(self.token, &IcntMock::DOMAIN_SEPARATORCall {}).unwrap();
        let nonce = self.evm.ask(self.token, &IcntMock::noncesCall { owner: owner.address() }).unwrap();
        let kind =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        let (value, deadline) = (U256::from(amount), U256::from(deadline));
        let fields = (kind, owner.address(), self.plan.vault, value, nonce, deadline).abi_encode();
        signed(owner, typed(separator, &fields))
    }

    /// A Permit2 transfer to the vault.
    pub(crate) fn permit2(&self, owner: &PrivateKeySigner, amount: u128, nonce: u64, deadline: u64) -> Bytes {
        let domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
        let names = (keccak256(domain), keccak256("Permit2"), keccak256("1"));
        let separator =
            keccak256((names.0, names.1, names.2, U256::from(CHAIN_ID), self.permit2).abi_encode());
        let token = "TokenPermissions(address token,uint256 amount)";
        let transfer =
            "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)";
        let permitted = keccak256((keccak256(token), self.token, U256::from(amount)).abi_encode());
        let kind = keccak256(format!("{transfer}{token}"));
        let fields = (kind, permitted, self.plan.vault, U256::from(nonce), U256::from(deadline)).abi_encode();
        signed(owner, typed(separator, &fields))
    }

    /// A statement about `node` that the owner of nodes signs for bookings.
    pub(crate) fn offer(&mut self, node: B256, leaf: B256, price: u128, until: u64) -> Bytes {
        let call = Bookings::unitOfferDigestCall {
            nodeId: node,
            leaf,
            pricePerDay: U256::from(price).to(),
            validUntil: until,
        };
        let digest = self.evm.ask(self.plan.bookings, &call).unwrap();
        signed(&self.owner, digest)
    }

    pub(crate) fn passport(&mut self, to: Address, id: u64) {
        let call = PassportMock::mintCall { to, tokenId: U256::from(id) };
        self.evm.send(self.governor, self.passports, &call).unwrap();
        let call = PassportMock::approveCall { to: self.plan.vault, tokenId: U256::from(id) };
        self.evm.send(to, self.passports, &call).unwrap();
    }
}

/// EIP-712.
pub(crate) fn typed(separator: B256, fields: &[u8]) -> B256 {
    keccak256([&[0x19, 0x01], separator.as_slice(), keccak256(fields).as_slice()].concat())
}

pub(crate) fn payment(source: u8) -> nodes::Accounts::Payment {
    nodes::Accounts::Payment { source, nonce: U256::ZERO, deadline: U256::ZERO, signature: Bytes::new() }
}

pub(crate) fn vault_payment(source: u8) -> vault::Accounts::Payment {
    vault::Accounts::Payment { source, nonce: U256::ZERO, deadline: U256::ZERO, signature: Bytes::new() }
}

/// A server, as far as a chain can see it: a key that signs TPMS_ATTEST bytes, and what is said about it.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) ak: SigningKey,
    pub(crate) node: B256,
    pub(crate) unit_root: B256,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let ak = SigningKey::from_slice(keccak256(format!("ak of {name}")).as_slice()).unwrap();
        Self { ak, node: keccak256(format!("ek of {name}")), unit_root: keccak256("units") }
    }

    pub(crate) fn point(&self) -> (B256, B256) {
        let point = self.ak.verifying_key().to_encoded_point(false);
        (B256::from_slice(point.x().unwrap()), B256::from_slice(point.y().unwrap()))
    }

    /// A storage node of 2 units with just the collateral that its node part asks for: 60 tokens.
    pub(crate) fn params(&self) -> nodes::ScalerNodes::Registration {
        nodes::ScalerNodes::Registration {
            regionId: "eu-west".into(),
            name: "rack-1-slot-7".into(),
            hpId: U256::from(42),
            capacity: U256::from(2),
            location: 83,
            reservationPrice: U256::from(TOKEN / 10),
            hwClass: "storage".into(),
            nodeRewardShare: U256::from(TOKEN / 4),
            collateralAmount: U256::from(60 * TOKEN),
            commitmentDuration: U256::from(COMMITMENT),
        }
    }

    /// Everything that stands behind it, for a transaction that `sender` sends.
    pub(crate) fn attest(&self, world: &World, sender: Address) -> nodes::ScalerNodes::Attestation {
        let (x, y) = self.point();
        let statement = keccak256("statement");
        let word = U256::from(CHAIN_ID).to_be_bytes::<32>();
        let anchor = [&word, world.plan.nodes.as_slice(), sender.as_slice()].concat();
        let anchor = [&anchor, self.node.as_slice(), self.unit_root.as_slice(), &[0; 32]].concat();
        let qualifying = Sha256::new()
            .chain_update(b"scalerforge/quote/v1\0")
            .chain_update(Sha256::digest(anchor))
            .chain_update(statement)
            .finalize();
        let quote = attest_bytes(&qualifying.into());
        let (r, s) = self.sign(&quote);
        let until = world.evm.time + 30 * DAY;
        nodes::ScalerNodes::Attestation {
            nodeId: self.node,
            akX: x,
            akY: y,
            statementDigest: statement,
            unitRoot: self.unit_root,
            evidenceDigest: keccak256("evidence"),
            maxBookingDuration: 180 * DAY,
            quote: quote.into(),
            r,
            s,
            bindings: world.attestors.iter().take(2).map(|by| self.binding(world, by, until)).collect(),
        }
    }

    /// With s in the lower half.
    pub(crate) fn sign(&self, quote: &[u8]) -> (B256, B256) {
        let signature: Signature = self.ak.sign_prehash(&Sha256::digest(quote)).unwrap();
        let signature = signature.normalize_s().unwrap_or(signature);
        (B256::from_slice(&signature.r().to_bytes()), B256::from_slice(&signature.s().to_bytes()))
    }

    /// An attestor's word.
    pub(crate) fn binding(
        &self,
        world: &World,
        by: &PrivateKeySigner,
        until: u64,
    ) -> nodes::AttestorBindings::Binding {
        bind(world, by, until, self.node, self.point())
    }

    /// Registers it for the owner out of its deposit, by the owner itself.
    pub(crate) fn register(&self, world: &mut World) -> Result<Sent, Refused> {
        let owner = world.owner.address();
        let attestation = self.attest(world, owner);
        self.send(world, owner, self.params(), attestation, payment(DEPOSIT))
    }

    pub(crate) fn send(
        &self,
        world: &mut World,
        sender: Address,
        params: nodes::ScalerNodes::Registration,
        attestation: nodes::ScalerNodes::Attestation,
        payment: nodes::Accounts::Payment,
    ) -> Result<Sent, Refused> {
        let owner = world.owner.address();
        let call = ScalerNodes::registerCall { owner, params, attestation, payment, passport: Vec::new() };
        world.evm.send(sender, world.plan.nodes, &call)
    }
}

/// An attestor's word that the key at `point` sits in the TPM of `node`.
pub(crate) fn bind(
    world: &World,
    by: &PrivateKeySigner,
    until: u64,
    node: B256,
    point: (B256, B256),
) -> nodes::AttestorBindings::Binding {
    let domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let names = (keccak256(domain), keccak256("Scalerforge registry"), keccak256("1"));
    let separator = (names.0, names.1, names.2, U256::from(CHAIN_ID), world.plan.nodes).abi_encode();
    let kind = keccak256("Binding(bytes32 nodeId,bytes32 akX,bytes32 akY,uint64 validUntil)");
    let fields = (kind, node, point.0, point.1, U256::from(until)).abi_encode();
    let signature = by.sign_hash_sync(&typed(keccak256(separator), &fields)).unwrap();
    let parity = U256::from(u8::from(signature.v())) << 255;
    let (r, vs) = (B256::from(signature.r()), B256::from(signature.s() | parity));
    nodes::AttestorBindings::Binding { validUntil: until, r, vs }
}

/// TPMS_ATTEST of a quote as a TPM writes it: 145 bytes.
pub(crate) fn attest_bytes(qualifying: &[u8; 32]) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 34, 0, 0x0B];
    bytes.extend([0x5A; 32]);
    bytes.extend([0, 32]);
    bytes.extend(qualifying);
    // A clock, resets and a firmware version as machines have them: not zero.
    bytes.extend([0, 0, 0, 0, 0x0C, 0x5D, 0x2E, 0xA1, 0, 0, 0, 7, 0, 0, 0, 1, 1]);
    bytes.extend([0x20, 0x19, 0x10, 0x23, 0, 0x16, 0x36, 0x36]);
    bytes.extend([0, 0, 0, 1, 0, 0x0B, 3, 0xFF, 0xFA, 0x00]);
    bytes.extend([0, 32]);
    bytes.extend([0xD1; 32]);
    assert_eq!(bytes.len(), 145);
    bytes
}
