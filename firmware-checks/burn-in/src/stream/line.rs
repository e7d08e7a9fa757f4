//! Lines as OCP's schema has them: those that carry a link of the chain, and those that follow from one of them.

use appliance_model::burn_in::{
    Verdict,
    staged::{Course, Outcome, Peer, Series},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::dut::DutInfo;

/// Sixty-four digits, where a link will stand.
pub(super) const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line<'a> {
    #[serde(flatten)]
    pub(super) artifact: Artifact<'a>,
    pub(super) sequence_number: u64,
    pub(super) timestamp: &'a str,
}

#[derive(Serialize)]
pub(super) enum Artifact<'a> {
    #[serde(rename = "schemaVersion")]
    Schema { major: u8, minor: u8 },
    #[serde(rename = "testRunArtifact")]
    Run(OfRun<'a>),
    #[serde(rename = "testStepArtifact")]
    Step(Step<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum OfRun<'a> {
    #[serde(rename_all = "camelCase")]
    TestRunStart {
        name: &'static str,
        version: &'a str,
        command_line: &'static str,
        parameters: Parameters<'a>,
        dut_info: Box<DutInfo<'a>>,
    },
    TestRunEnd {
        status: Status,
        result: TestResult,
    },
}

/// What a judge must know, in the place that OCP has for a test's arguments.
#[derive(Serialize)]
pub(super) struct Parameters<'a> {
    pub(super) boot: u32,
    pub(super) course: &'a Course,
    pub(super) profile: &'a str,
    pub(super) models: &'a BTreeMap<String, String>,
    pub(super) peers: &'a [Peer],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) manufacturer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) product: Option<&'a str>,
    pub(super) chain: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step<'a> {
    pub(super) test_step_id: String,
    #[serde(flatten)]
    pub(super) what: OfStep<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum OfStep<'a> {
    TestStepStart { name: &'a str },
    Extension { name: &'static str, content: Content<'a> },
    Measurement(Measurement<'a>),
    Diagnosis(Diagnosis<'a>),
    Error { symptom: &'static str, message: &'a str },
    TestStepEnd { status: Status },
}

/// What an extension carries; the link last.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Begin { task: &'a str, boot: u32, chain: &'a str },
    Series { series: &'a Series, chain: &'a str },
    Outcome { outcome: &'a Outcome, chain: &'a str },
    Verdict { verdict: &'a Verdict, chain: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measurement<'a> {
    pub(super) name: &'a str,
    pub(super) value: u64,
    pub(super) unit: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) validators: Vec<Validator<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hardware_info_id: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Validator<'a> {
    pub(super) name: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) value: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Diagnosis<'a> {
    pub(super) verdict: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hardware_info_id: Option<&'a str>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    Complete,
    Error,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum TestResult {
    NotApplicable,
    Pass,
    Fail,
}

/// A line that carries a link, as far as a reader needs it: the rest is compared byte by byte with what must stand there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Carrier {
    pub(super) test_run_artifact: Option<CarrierOfRun>,
    pub(super) test_step_artifact: Option<CarrierOfStep>,
    pub(super) sequence_number: u64,
    pub(super) timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CarrierOfRun {
    pub(super) test_run_start: Option<CarrierOfStart>,
}

#[derive(Deserialize)]
pub(super) struct CarrierOfStart {
    pub(super) version: String,
    pub(super) parameters: CarrierOfParameters,
}

#[derive(Deserialize)]
pub(super) struct CarrierOfParameters {
    pub(super) boot: u32,
    pub(super) course: Course,
    pub(super) profile: String,
    pub(super) models: BTreeMap<String, String>,
    pub(super) peers: Vec<Peer>,
    pub(super) manufacturer: Option<String>,
    pub(super) product: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CarrierOfStep {
    pub(super) test_step_id: String,
    pub(super) extension: Option<Extension>,
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "content")]
pub(super) enum Extension {
    #[serde(rename = "scalerforge.begin")]
    Begin { task: String, boot: u32 },
    #[serde(rename = "scalerforge.series")]
    Series { series: Series },
    #[serde(rename = "scalerforge.outcome")]
    Outcome { outcome: Outcome },
    #[serde(rename = "scalerforge.verdict")]
    Verdict { verdict: Verdict },
}
