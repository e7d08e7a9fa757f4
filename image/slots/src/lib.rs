//! A drive with two places for a system: what is written where and in which order, so that a power cut at any write
//! leaves a machine that boots what it booted before, or one that is visibly empty.
//!
//! A first installation writes everything before the one sector that makes a disk of it.  An update never touches the
//! slot that runs, nor the partition table: the new system is written, read back through its hash tree, and becomes
//! bootable by one sector of a directory.  Promotion and going back are one such sector each.  No file system code that
//! spreads a rename over two sectors is used for those steps, which is why `fat` is here.
//!
//! Pure: the drive is a [`Device`] that somebody else opened, content comes from the caller.  It refuses a drive that is
//! too small, an update of a slot that was never promoted, and content that is not what was ordered.  Read next:
//! `install` (the steps), `succession` (what may follow what), `trial` (when a system is good), `fat` (directories), `boot_entry` (names and tries), `gpt`, `verity`.

pub mod boot_entry;
pub mod device;
pub mod fat;
pub mod forget;
pub mod found;
pub mod gpt;
pub mod install;
pub mod succession;
pub mod trial;
pub mod verity;

pub use device::{Device, Span};
