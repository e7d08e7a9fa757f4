//! TPM 2.0 structures and event logs, strict and bounded.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod eventlog;
