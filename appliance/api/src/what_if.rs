//! What if the price, the commitment, the collateral or the passport were another: asked by a form, answered in words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a form begins with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhatIfBegin {
    /// Numbers, as `chain what-if --template` has them: made up where the site does not say them.
    #[schema(value_type = Object)]
    pub numbers: serde_json::Value,
    /// Machines of this site that have a class.
    pub machines: Vec<WhatIfMachine>,
    /// Passports that the owner holds, and that a chain that answers now knows.
    #[serde(default)]
    pub passports: Vec<WhatIfPassport>,
}

/// A passport of the owner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhatIfPassport {
    /// Its number.
    pub number: String,
    /// As `passport` of the numbers; of one that was never staked, as if it were staked today.
    #[schema(value_type = Object)]
    pub passport: serde_json::Value,
}

/// A machine of this site.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhatIfMachine {
    /// Its serial.
    pub serial: String,
    /// Hardware class.
    pub class: String,
    /// In the class's own measure.
    pub capacity: u64,
}

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatIfQuestion {
    /// The numbers.
    #[schema(value_type = Object)]
    pub numbers: serde_json::Value,
    /// A hardware class: both parts of the collateral and what an anomaly costs are then the chain's, of now.
    #[serde(default)]
    pub class: Option<String>,
    /// Prices for one unit and day, ICNT; none: the numbers' own.
    #[serde(default)]
    pub prices: Vec<String>,
    /// Commitments, days; none: the numbers' own.
    #[serde(default)]
    pub commitment_days: Vec<u32>,
}

/// The answer.  Amounts are in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfView {
    /// First day.
    pub from: String,
    /// Last day of the longest commitment that was asked about.
    pub until: String,
    /// How the requirement comes about, where it is the chain's.
    pub factors: Vec<String>,
    /// What the contracts ask for.
    pub required: WhatIfParts,
    /// What is missing of it on the first day.
    pub missing: WhatIfParts,
    /// Each price with each length.
    pub prices: Vec<WhatIfPrice>,
    /// What ends before the commitment does, and what is not known.
    pub limits: Vec<WhatIfLimit>,
    /// What is missing when, if nothing is added and nothing slashed.
    pub cover: Vec<WhatIfCover>,
    /// What an anomaly costs that is not restored.
    pub exposure: Vec<WhatIfSlash>,
}

/// The two parts of a collateral.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfParts {
    /// The owner's own.
    pub node: String,
    /// Anybody's.
    pub network: String,
}

/// One price with one length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfPrice {
    /// For one unit and day.
    pub price: String,
    /// The commitment.
    pub days: u64,
    /// In all.
    pub costs: String,
    /// A day.
    pub cost_per_day: String,
    /// What a booked day brings the owner.
    pub brings_per_day: String,
    /// Booked days until the costs are paid; none: never.
    pub break_even_days: Option<u64>,
    /// The same in thousandths of the commitment.
    pub break_even_permille: Option<u16>,
    /// The least price at which the costs can be paid.
    pub least_price: Option<String>,
}

/// Something that may end too early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfLimit {
    /// What.
    pub what: String,
    /// When, in words.
    pub ends: String,
    /// Whether that is too early.
    pub short: bool,
    /// What that rests on.
    pub assumption: String,
}

/// The cover on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfCover {
    /// Day.
    pub day: String,
    /// What the passport is worth.
    pub passport: String,
    /// What is missing.
    pub missing: WhatIfParts,
}

/// A step of a slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfSlash {
    /// Seconds after the report.
    pub after_seconds: u64,
    /// Of the collateral, 1/10 000.
    pub bps: u16,
    /// The owner's.
    pub own: String,
    /// Delegators'.
    pub delegated: String,
}
