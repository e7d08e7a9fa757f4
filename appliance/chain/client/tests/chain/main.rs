//! The client against the embedded development chain, over real HTTP.

mod faults;
mod registration;
mod support;
