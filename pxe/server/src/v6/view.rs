//! What the rest of the appliance can ask of the IPv6 side.

use std::net::Ipv6Addr;

use appliance_model::{Mac, Now};
use pxe_policy::{LeaseState, Serving, Survey6};

use crate::handle::Handle;

/// An IPv6 lease, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease6View {
    /// Who.
    pub mac: Mac,
    /// Which client of that machine: its DUID as hex digits.
    pub duid: String,
    /// Which of its interfaces.
    pub iaid: u32,
    /// What.
    pub address: Ipv6Addr,
    /// Until when.
    pub until: Now,
    /// Whether the client has taken it.
    pub bound: bool,
}

/// The IPv6 side, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View6 {
    /// The interface.
    pub interface: String,
    /// Our address there.
    pub address: Ipv6Addr,
    /// Whether we advertise the prefix when we serve.
    pub router_advertisements: bool,
    /// What it does at this moment.
    pub serving: Serving,
    /// Why it does that.
    pub why: &'static str,
    /// What was heard there.
    pub survey: Survey6,
}

impl Handle {
    /// The IPv6 side; `None` if `[pxe.v6]` is not there.
    #[must_use]
    pub fn v6(&self) -> Option<View6> {
        let place = self.shared.config.v6.as_ref()?;
        let now = self.shared.clock.now();
        let scout = self.shared.scout6();
        let (serving, why) = scout.serving(place.mode(&self.shared.config), now);
        Some(View6 {
            interface: place.interface.clone(),
            address: place.address,
            router_advertisements: place.router_advertisements,
            serving,
            why,
            survey: scout.survey(now),
        })
    }

    /// All IPv6 leases.
    #[must_use]
    pub fn leases6(&self) -> Vec<Lease6View> {
        let view = |lease: pxe_policy::Lease6| Lease6View {
            mac: lease.mac,
            duid: lease.duid.to_string(),
            iaid: lease.iaid,
            address: lease.address,
            until: lease.until,
            bound: lease.state == LeaseState::Bound,
        };
        self.shared.desk().leases6().map(view).collect()
    }
}
