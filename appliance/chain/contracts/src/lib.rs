//! The reference contracts: artefacts and typed bindings.
