//! Packets of the provisioning LAN as pure functions: bytes in, structures or a reason out.
//!
//! Every byte comes from machines that nobody knows yet: readers are bounded by their input, allocate nothing by a
//! declared length and never panic.  This room refuses to decide (`pxe/policy`) and to touch a socket (`pxe/server`).

pub mod dhcp4;
pub mod dhcp6;
pub mod ethernet;
pub mod pcap;
pub mod ra;
pub mod tftp;
