//! A TFTP server for boot files: read-only, from memory, by RFC 1350, 2347, 2348, 2349 and 7440.
//!
//! Which names exist is the caller's to say; nothing here opens a path that came over the network.  It refuses
//! writes, and transfers beyond its limits.  Read next: `pxe/wire` for the packets.
