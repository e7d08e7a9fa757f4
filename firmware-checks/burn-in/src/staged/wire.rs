//! The profile file as written: nothing unknown, each word with its place, so that a refusal can name the line.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) version: Spanned<u32>,
    pub(super) name: String,
    pub(super) about: String,
    pub(super) seconds_max: Spanned<u32>,
    pub(super) stage: Vec<Stage>,
    pub(super) rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    pub(super) name: Spanned<String>,
    pub(super) seconds_max: u32,
    /// Drives that work at the same time: what a power supply and a backplane carry.
    pub(super) drives_at_once_max: Option<Spanned<u32>>,
    /// All jobs and all drives at the same time.
    #[serde(default)]
    pub(super) together: bool,
    pub(super) job: Vec<Job>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    pub(super) work: Spanned<String>,
    pub(super) seconds: Spanned<u32>,
    /// Other times for hardware classes.
    #[serde(default)]
    pub(super) class_seconds: BTreeMap<String, u32>,
    pub(super) share_permille: Option<u16>,
    pub(super) depths: Option<Vec<u16>>,
    pub(super) round_seconds: Option<u32>,
    pub(super) extended: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) figure: Spanned<String>,
    pub(super) unit: Spanned<String>,
    pub(super) origin: Spanned<String>,
    pub(super) at_most: Option<u64>,
    pub(super) at_least: Option<u64>,
    pub(super) covers_at_least: Option<u64>,
    pub(super) median_at_least: Option<u64>,
    pub(super) peers_min: Option<u32>,
    /// A device that does not give the figure is told of in the coverage instead of leaving the verdict open.
    #[serde(default)]
    pub(super) only_where_given: bool,
}
