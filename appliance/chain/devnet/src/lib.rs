//! A small persisted development chain: JSON-RPC on revm.
