//! Which answer a booting machine gets, and why.  Pure.
