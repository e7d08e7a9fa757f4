//! The agent: PID 1 of the discovery image.

fn main() {}
