//! The whole way, and every fault, on virtual servers.
