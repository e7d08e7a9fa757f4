//! Talks to a TPM 2.0 over a device or a socket, without a C library.
