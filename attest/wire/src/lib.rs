//! TPM 2.0 structures and event logs, strict and bounded.
