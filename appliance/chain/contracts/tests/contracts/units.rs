//! A machine's units as the appliance carves and proves them, in the shape that the contract takes.

use alloy::primitives::{B256, U256};
use appliance_carve::{manifest_bytes, prove, unit_root};
use appliance_model::{
    Serial,
    units::{Manifest, Resource, Unit},
};
use chain_contracts::bookings::Bookings as B;

/// A manifest of `count` memory units.
pub(crate) struct Units(Manifest);

impl Units {
    pub(crate) fn new(count: u64) -> Self {
        let unit = |n| Unit::new(id(n), Resource::Memory { bytes: 64 << 30 }, Some(0));
        Self(Manifest {
            version: 1,
            serial: Serial::parse("S1").unwrap(),
            class: "storage".into(),
            capacity: 2,
            units: (0..count).map(unit).collect(),
            reserved_cpus: vec![0],
            reserved_bytes: 7,
            classed_by: None,
            domains: None,
        })
    }

    pub(crate) fn root(&self) -> B256 {
        B256::new(unit_root(&self.0).0)
    }

    /// The proof of unit `n`, and its leaf.
    pub(crate) fn proof(&self, n: u64) -> (B::Unit, B256) {
        let proof = prove(&manifest_bytes(&self.0), &id(n)).unwrap();
        let leaf = B256::new(proof.leaf().0);
        let unit = B::Unit {
            text: proof.unit.into_bytes().into(),
            index: U256::from(proof.index),
            count: U256::from(proof.count),
            siblings: proof.siblings.iter().map(|sibling| B256::new(sibling.0)).collect(),
        };
        (unit, leaf)
    }
}

fn id(n: u64) -> String {
    format!("memory-{n:04}")
}
