//! From inventory and burn-in to units, and the manifest's Merkle root.
