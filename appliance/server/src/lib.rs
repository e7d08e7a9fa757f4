//! The appliance: executor, HTTP, wiring.  No rule lives here.
