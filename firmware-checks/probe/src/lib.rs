//! What hardware is in this machine, and who says so.
