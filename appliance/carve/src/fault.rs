//! What the checker finds.

use appliance_model::units::Tier;

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The header fields.
    #[error("the manifest's {field} is {found}, expected {expected}")]
    Header {
        /// Which.
        field: &'static str,
        /// What it says.
        found: String,
        /// What the inventory and the units say.
        expected: String,
    },
    /// Ids must rise: that makes them unique and the root one.
    #[error("unit {id} is out of order or named twice")]
    Order {
        /// The unit.
        id: String,
    },
    /// A part that the machine lacks.
    #[error("unit {id} sells {part}, which the inventory does not have")]
    Absent {
        /// The unit.
        id: String,
        /// The part.
        part: String,
    },
    /// A part that differs.
    #[error("unit {id}: {part} is {found}, the inventory says {expected}")]
    Differs {
        /// The unit.
        id: String,
        /// The part and field.
        part: String,
        /// In the manifest.
        found: String,
        /// In the inventory.
        expected: String,
    },
    /// A part in two units, or twice in one.
    #[error("unit {id} sells {part} a second time")]
    Twice {
        /// The unit.
        id: String,
        /// The part.
        part: String,
    },
    /// A part that the host keeps.
    #[error("unit {id} sells CPU {cpu}, which is reserved for the host")]
    Reserved {
        /// The unit.
        id: String,
        /// Kernel number.
        cpu: u32,
    },
    /// Half a core.
    #[error("{place} has CPU {cpu} but not its sibling {sibling}")]
    Split {
        /// The unit, or the host's reserve.
        place: String,
        /// Kernel number.
        cpu: u32,
        /// The missing one.
        sibling: u32,
    },
    /// The host keeps too little.
    #[error("the host keeps {found} {what}, at least {least} are needed")]
    Starved {
        /// Of what.
        what: &'static str,
        /// How much it keeps.
        found: u64,
        /// How much it must.
        least: u64,
    },
    /// More memory than there is.
    #[error("{place} has {bytes} bytes of memory, and {sold} are sold or kept")]
    Oversold {
        /// The machine or a node.
        place: String,
        /// What is there.
        bytes: u64,
        /// What is promised.
        sold: u128,
    },
    /// A part that is known to fail.
    #[error("unit {id} sells {part}, which is judged as failing")]
    Failing {
        /// The unit.
        id: String,
        /// The part.
        part: String,
    },
    /// A GPU that is cut into parts is sold whole, or the other way round.
    #[error("unit {id} sells {part} {}", if *whole { "whole, and it is cut into parts" } else { "in parts, and it is whole" })]
    Cut {
        /// The unit.
        id: String,
        /// The GPU.
        part: String,
        /// As sold.
        whole: bool,
    },
    /// Somewhere else than the inventory says.
    #[error("unit {id} is said to be at {found}, the inventory says {expected}")]
    Elsewhere {
        /// The unit.
        id: String,
        /// In the manifest.
        found: String,
        /// In the inventory.
        expected: String,
    },
    /// Confidential computing that is not there.
    #[error("unit {id} offers {found}, the inventory says {expected}")]
    Offers {
        /// The unit.
        id: String,
        /// In the manifest.
        found: String,
        /// In the inventory.
        expected: String,
    },
    /// A tier that burn-in does not bear out.
    #[error("unit {id}: drive {serial} is sold as {tier:?}, burn-in measured {iops:?} random reads a second{}", slow(*p99_microseconds))]
    Tier {
        /// The unit.
        id: String,
        /// The drive.
        serial: String,
        /// As sold.
        tier: Tier,
        /// As measured; `None`: not at all.
        iops: Option<u64>,
        /// 99 in 100 reads within this, where it was measured.
        p99_microseconds: Option<u64>,
    },
}

fn slow(p99_microseconds: Option<u64>) -> String {
    p99_microseconds.map_or_else(String::new, |p99| format!(", 99 in 100 within {p99} µs"))
}
