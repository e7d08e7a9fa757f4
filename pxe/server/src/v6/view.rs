//! What the rest of the appliance can ask of the IPv6 side.

use std::net::Ipv6Addr;

use appliance_model::{Mac, Now};
use pxe_policy::{LeaseState, Serving, Survey6, recorder::Around6};

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

    /// What the recorder's rules have to know of IPv6 here.
    pub(crate) fn around6(&self, now: Now) -> Around6 {
        if self.shared.config.v6.is_none() {
            return Around6::default();
        }
        let server = self.shared.desk().server6();
        let routers = self.shared.scout6().survey(now).routers;
        let managed = routers.iter().any(|router| router.says.managed);
        let routers = routers.into_iter().filter(|_| !managed).map(|router| router.address);
        Around6 { server, unmanaged: routers.collect() }
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
