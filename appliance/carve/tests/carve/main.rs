//! The room as others use it: machines carved, checked, fitted and proven.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping there")]

mod fit;
mod machine;
mod place;
mod proof;
mod real;
mod shapes;
