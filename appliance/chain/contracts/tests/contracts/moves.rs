//! Random calls of everybody who could make one: sensible ones, hopeless ones, and attacks.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use chain_contracts::{
    Anomalies, Bookings, CollateralVault, PassportMock, ScalerNodes, nodes::ScalerNodes as N,
};

use crate::{
    units::Units,
    world::{
        APPROVAL, COMMITMENT, DAY, DEPOSIT, Machine, TOKEN, World, account, key, payment, signed,
        vault_payment,
    },
};

/// SplitMix64: the same sequence for a seed on every machine.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Mostly round sums below `most`, now and then nothing or one part.
    fn sum(&mut self, most: u128) -> u128 {
        match self.below(12) {
            0 => 0,
            1 => 1,
            _ => (u128::from(self.next() >> 32) * most) >> 32,
        }
    }
}

/// A call that somebody makes.
pub(crate) struct Move {
    pub(crate) kind: Kind,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) data: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Deposit,
    Withdraw,
    Operator,
    Register,
    Batch,
    Retire,
    TopUp,
    Passport,
    Delegate,
    AskBack,
    Undelegate,
    ClaimForOwner,
    ClaimForDelegator,
    Report,
    Restored,
    Slash,
    BookNode,
    BookUnit,
    Extend,
    Settle,
    Cancel,
    Attack,
    Factors,
}

/// How often each is made, in relation.
const WEIGHTS: [(Kind, usize); 23] = [
    (Kind::Deposit, 5),
    (Kind::Withdraw, 3),
    (Kind::Operator, 2),
    (Kind::Register, 10),
    (Kind::Batch, 2),
    (Kind::Retire, 6),
    (Kind::TopUp, 6),
    (Kind::Passport, 3),
    (Kind::Delegate, 12),
    (Kind::AskBack, 4),
    (Kind::Undelegate, 8),
    (Kind::ClaimForOwner, 4),
    (Kind::ClaimForDelegator, 5),
    (Kind::Report, 3),
    (Kind::Restored, 5),
    (Kind::Slash, 6),
    (Kind::BookNode, 8),
    (Kind::BookUnit, 10),
    (Kind::Extend, 5),
    (Kind::Settle, 8),
    (Kind::Cancel, 5),
    (Kind::Attack, 3),
    (Kind::Factors, 1),
];

/// Who plays, and with what.
pub(crate) struct Cast {
    pub(crate) owners: Vec<PrivateKeySigner>,
    pub(crate) operator: Address,
    pub(crate) others: Vec<Address>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) units: Units,
    pub(crate) bookings: u64,
}

/// Machines of one sequence: an endorsement key is one node for good.
const MACHINES: usize = 14;

impl Cast {
    pub(crate) fn new(world: &mut World, seed: u64) -> Self {
        let owners = vec![world.owner.clone(), key("second owner")];
        let others: Vec<_> = (0..4).map(|n| account(&format!("other {n}"))).collect();
        let operator = world.operator.address();
        let units = Units::new(5);
        let root = units.root();
        let machines = (0..MACHINES)
            .map(|n| Machine { unit_root: root, ..Machine::new(&format!("machine {n} of {seed}")) })
            .collect();
        let all = owners.iter().map(PrivateKeySigner::address).chain(others.iter().copied());
        for who in all.collect::<Vec<_>>() {
            world.mint(who, 1_000_000 * TOKEN);
            for spender in [world.plan.vault, world.plan.bookings] {
                world.approve(who, spender, u128::MAX);
            }
        }
        for (id, owner) in (1..).zip(owners.iter().cycle().take(4)) {
            world.passport(owner.address(), id);
        }
        Self { owners, operator, others, machines, units, bookings: 0 }
    }

    /// Everybody who may hold a deposit.
    pub(crate) fn people(&self) -> Vec<Address> {
        let owners = self.owners.iter().map(PrivateKeySigner::address);
        owners.chain([self.operator]).chain(self.others.iter().copied()).collect()
    }

    pub(crate) fn draw(&self, world: &mut World, dice: &mut Dice) -> Move {
        let all: usize = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut rest = dice.below(all);
        let mut kind = Kind::Deposit;
        for (one, weight) in WEIGHTS {
            if rest < weight {
                kind = one;
                break;
            }
            rest -= weight;
        }
        let (from, to, data) = match kind {
            Kind::Register | Kind::Batch | Kind::Retire => self.of_nodes(world, dice, kind),
            Kind::Report | Kind::Restored | Kind::Slash => self.of_anomalies(world, dice, kind),
            Kind::BookNode | Kind::BookUnit | Kind::Extend | Kind::Settle | Kind::Cancel => {
                self.of_bookings(world, dice, kind)
            }
            Kind::Attack | Kind::Factors => self.of_strangers(world, dice, kind),
            Kind::Deposit
            | Kind::Withdraw
            | Kind::Operator
            | Kind::TopUp
            | Kind::Passport
            | Kind::Delegate
            | Kind::AskBack
            | Kind::Undelegate
            | Kind::ClaimForOwner
            | Kind::ClaimForDelegator => self.of_vault(world, dice, kind),
        };
        Move { kind, from, to, data }
    }

    fn node(&self, dice: &mut Dice) -> B256 {
        self.machines[dice.below(self.machines.len())].node
    }

    fn of_nodes(&self, world: &World, dice: &mut Dice, kind: Kind) -> (Address, Address, Bytes) {
        let to = world.plan.nodes;
        let owner = dice.one(&self.owners).address();
        let from = if dice.below(3) == 0 { self.operator } else { owner };
        if kind == Kind::Retire {
            return (from, to, encoded(&ScalerNodes::retireCall { nodeId: self.node(dice) }));
        }
        let spec = |machine: &Machine, dice: &mut Dice| -> (N::Registration, N::Attestation) {
            let mut params = machine.params();
            params.collateralAmount = U256::from(50 * TOKEN + dice.sum(7000 * TOKEN));
            params.commitmentDuration = U256::from(COMMITMENT + DAY);
            (params, machine.attest(world, from))
        };
        let source = if dice.below(3) == 0 { APPROVAL } else { DEPOSIT };
        if kind == Kind::Register {
            let (params, attestation) = spec(&dice.one(&self.machines), dice);
            let passport = match dice.below(8) {
                0 => vec![U256::from(1 + dice.below(4))],
                _ => Vec::new(),
            };
            let payment = payment(source);
            return (
                from,
                to,
                encoded(&ScalerNodes::registerCall { owner, params, attestation, payment, passport }),
            );
        }
        let (params, attestations) = (0..2).map(|_| spec(&dice.one(&self.machines), dice)).unzip();
        let payment = payment(source);
        (from, to, encoded(&ScalerNodes::registerBatchCall { owner, params, attestations, payment }))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`draw` hands each of these its own kinds")]
    fn of_vault(&self, world: &World, dice: &mut Dice, kind: Kind) -> (Address, Address, Bytes) {
        let owner = dice.one(&self.owners).address();
        let other = dice.one(&self.others);
        let node = self.node(dice);
        let pay = vault_payment(if dice.below(3) == 0 { DEPOSIT } else { APPROVAL });
        let amount = dice.sum(3000 * TOKEN);
        let small = U256::from(amount).to();
        let (from, data) = match kind {
            Kind::Deposit => {
                let amount = U256::from(amount);
                (owner, encoded(&CollateralVault::depositCall { amount, payment: vault_payment(APPROVAL) }))
            }
            Kind::Withdraw => {
                let call = CollateralVault::withdrawCall { amount: U256::from(amount), to: other };
                (dice.one(&self.people()), encoded(&call))
            }
            Kind::Operator => {
                let call = CollateralVault::setOperatorCall {
                    operator: self.operator,
                    enabled: dice.below(5) != 0,
                    registrationsPerDay: 3,
                    retirementsPerDay: 2,
                    collateralPerDay: U256::from(10_000_000).to(),
                };
                (owner, encoded(&call))
            }
            Kind::TopUp => {
                (owner, encoded(&CollateralVault::topUpCall { nodeId: node, amount: small, payment: pay }))
            }
            Kind::Passport => {
                let call = CollateralVault::stakePassportCall {
                    nodeId: node,
                    passport: U256::from(1 + dice.below(4)),
                };
                (owner, encoded(&call))
            }
            Kind::Delegate => {
                let call = CollateralVault::delegateCall { nodeId: node, amount: small, payment: pay };
                (other, encoded(&call))
            }
            Kind::AskBack => (other, encoded(&CollateralVault::askUndelegationCall { nodeId: node })),
            Kind::Undelegate => {
                (other, encoded(&CollateralVault::undelegateCall { nodeId: node, shares: amount }))
            }
            Kind::ClaimForOwner => (other, encoded(&CollateralVault::claimForOwnerCall { nodeId: node })),
            _ => (other, encoded(&CollateralVault::claimForDelegatorCall { nodeId: node })),
        };
        (from, world.plan.vault, data)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`draw` hands each of these its own kinds")]
    fn of_anomalies(&self, world: &World, dice: &mut Dice, kind: Kind) -> (Address, Address, Bytes) {
        let by = if dice.below(10) == 0 { account("stranger") } else { dice.one(&world.hyper_nodes) };
        let node = self.node(dice);
        let data = match kind {
            Kind::Report => encoded(&Anomalies::reportCall { nodeId: node, kind: 1, digest: B256::ZERO }),
            Kind::Restored => encoded(&Anomalies::restoredCall { nodeId: node, digest: B256::ZERO }),
            _ => encoded(&Anomalies::slashCall { nodeId: node }),
        };
        (by, world.plan.anomalies, data)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`draw` hands each of these its own kinds")]
    fn of_bookings(&self, world: &mut World, dice: &mut Dice, kind: Kind) -> (Address, Address, Bytes) {
        let to = world.plan.bookings;
        let from = dice.one(&self.others);
        let id = U256::from(dice.next() % (self.bookings + 1));
        let signer = dice.one(&self.owners);
        let price = dice.sum(TOKEN);
        let days = 1 + u64::try_from(dice.below(40)).unwrap();
        let data = match kind {
            Kind::BookNode => {
                let duration = U256::from(days * DAY).to();
                encoded(&Bookings::bookNodeCall { nodeId: self.node(dice), duration, feeMax: U256::MAX })
            }
            Kind::BookUnit => {
                let (unit, leaf) = self.units.proof(u64::try_from(dice.below(5)).unwrap());
                let (node, price) = (self.node(dice), U256::from(price).to());
                let call = Bookings::unitOfferDigestCall {
                    nodeId: node,
                    leaf,
                    pricePerDay: price,
                    validUntil: u64::MAX,
                };
                let word = signed(&signer, world.evm.ask(to, &call).unwrap());
                encoded(&Bookings::bookUnitCall {
                    nodeId: node,
                    unit,
                    duration: U256::from(days * DAY).to(),
                    pricePerDay: price,
                    validUntil: u64::MAX,
                    ownersSignature: word,
                })
            }
            Kind::Extend => {
                let b = world.evm.ask(to, &Bookings::bookingCall { id }).unwrap();
                let end = U256::from(b.end.to::<u64>() + days * DAY).to();
                let price = U256::from(price).to();
                let call = Bookings::extensionDigestCall {
                    bookingId: id,
                    end,
                    pricePerDay: price,
                    validUntil: u64::MAX,
                };
                let word = signed(&signer, world.evm.ask(to, &call).unwrap());
                let call = Bookings::extendCall {
                    id,
                    end,
                    pricePerDay: price,
                    validUntil: u64::MAX,
                    ownersSignature: word,
                };
                return (b.booker, to, encoded(&call));
            }
            Kind::Settle => encoded(&Bookings::settleCall { id }),
            _ => {
                let b = world.evm.ask(to, &Bookings::bookingCall { id }).unwrap();
                return (b.booker, to, encoded(&Bookings::cancelCall { id }));
            }
        };
        (from, to, data)
    }

    fn of_strangers(&self, world: &World, dice: &mut Dice, kind: Kind) -> (Address, Address, Bytes) {
        let node = self.node(dice);
        if kind == Kind::Factors {
            let call = chain_contracts::ScalerTerms::setFactorsCall {
                factor: TOKEN / 2 + dice.sum(TOKEN),
                circulating: U256::from(100_000_000 * TOKEN + dice.sum(200_000_000 * TOKEN)).to(),
                percent: 30,
            };
            return (world.governor, world.plan.terms, encoded(&call));
        }
        let from = dice.one(&self.people());
        let vault = world.plan.vault;
        match dice.below(5) {
            0 => {
                let call = CollateralVault::releaseCall { nodeId: node, owner: from, caller: from };
                (from, vault, encoded(&call))
            }
            1 => {
                let call = CollateralVault::slashCall { nodeId: node, amount: U256::MAX, bps: U256::ZERO };
                (from, vault, encoded(&call))
            }
            2 => (from, vault, encoded(&CollateralVault::setHoldCall { nodeId: node, held_: false })),
            3 => {
                let amount = U256::from(dice.sum(TOKEN));
                (from, vault, encoded(&CollateralVault::creditCall { nodeId: node, amount }))
            }
            _ => {
                // A passport is not fetched past the contract.
                let call = PassportMock::transferFromCall {
                    from: vault,
                    to: from,
                    tokenId: U256::from(1 + dice.below(4)),
                };
                (from, world.passports, encoded(&call))
            }
        }
    }
}

fn encoded<C: SolCall>(call: &C) -> Bytes {
    call.abi_encode().into()
}
