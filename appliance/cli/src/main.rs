//! The `scalerforge` command.

fn main() {}
