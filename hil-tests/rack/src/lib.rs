//! Virtual servers: QEMU, OVMF, swtpm and a BMC of our own.
