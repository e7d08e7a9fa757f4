//! A burn-in to look at: what is done to a host now, what was found, and how its devices compare with others of their model.
//!
//! Everything here can be made of the result stream, the profile in it, and what the agent tells meanwhile; the page, the
//! CLI and the printed report draw it and judge nothing.  Numbers are integers in the unit that stands beside them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The newest burn-in of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BurnInView {
    /// Host id.
    pub host: String,
    /// The machine that is burnt in.
    pub machine: MachineView,
    /// Name of the profile.
    pub profile: String,
    /// What the profile is good for, in a sentence.
    pub about: String,
    /// SHA-256 of the profile file, hex: the name that counts.
    pub profile_digest: String,
    /// How it stands.
    pub state: RunState,
    /// Its end; absent while it is not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictView>,
    /// When its stream was opened, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<u64>,
    /// When its stream was closed, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Thousandths of the planned time that are over.
    pub permille: u16,
    /// Seconds until the plan is done, as far as it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// In order.
    pub stages: Vec<BurnInStageView>,
    /// Figures over time, for plots.
    pub series: Vec<SeriesView>,
    /// The rules of the profile, each with its origin.
    pub rules: Vec<RuleView>,
    /// Figures of earlier burn-ins that this one is compared with.
    pub peers: u32,
    /// The TPM's resetCount of each boot that took part, in order: more than one after a power cut.
    pub boots: Vec<u32>,
    /// Where the result stream is; absent before its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamHeadView>,
    /// SHA-256 of the report, hex: what the TPM's statement names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_digest: Option<String>,
    /// SHA-256 of the host's newest evidence file, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_digest: Option<String>,
}

/// What a machine is, in few words: untrusted text, as hardware tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineView {
    /// System serial.
    pub serial: String,
    /// Maker and model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Rack position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// A line for each kind of part (`2 × AMD EPYC 9354, 64 cores`), for the printed report.
    #[serde(default)]
    pub parts: Vec<PartView>,
}

/// A line of an inventory's summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartView {
    /// What kind of part (`processors`, `memory`, `drives`, `ports`, `firmware`).
    pub kind: String,
    /// What there is of it.
    pub what: String,
}

/// How a burn-in stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Planned; no line of its stream is there.
    Waiting,
    /// Begun, and not judged.
    Running,
    /// Judged.
    Ended,
}

/// What a burn-in amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictView {
    /// Its word.
    pub word: VerdictWord,
    /// Why it is no pass, each with task, device and rule.
    pub reasons: Vec<String>,
    /// What was looked at, in words.
    pub coverage: Vec<String>,
}

/// The three verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictWord {
    /// All was measured, and no rule broke.
    Pass,
    /// A rule broke.
    Fail,
    /// Something was not measured: no pass.
    Inconclusive,
}

/// A stage of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BurnInStageView {
    /// Its name in the profile.
    pub name: String,
    /// How it stands.
    pub state: TaskState,
    /// When it is ended, done or not.
    pub seconds_max: u32,
    /// Its tasks, in the order of the plan.
    pub tasks: Vec<BurnInTaskView>,
}

/// One workload on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BurnInTaskView {
    /// `STAGE/WORK` or `STAGE/WORK/SERIAL`.
    pub id: String,
    /// Whose it is (`drive S1`, `cpu`, `memory`).
    pub device: String,
    /// The device's model, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Kind of work (`drive-read`).
    pub work: String,
    /// How it stands.
    pub state: TaskState,
    /// Thousandths of it that are done.
    pub permille: u16,
    /// Seconds that it takes longer, as far as it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u32>,
    /// Seconds that the plan gives it.
    pub seconds: u32,
    /// Seconds that it took; absent before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<u32>,
    /// What it measured.
    #[serde(default)]
    pub figures: Vec<FigureView>,
    /// What was seen to be wrong.
    #[serde(default)]
    pub faults: Vec<String>,
    /// How much of the device was looked at.
    #[serde(default)]
    pub coverage: Vec<String>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The TPM's resetCount of the boot in which it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u32>,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Not begun.
    Waiting,
    /// Begun, not ended.
    Running,
    /// It measured.
    Done,
    /// It ended without measuring: no pass.
    Undone,
}

/// One number that a task measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FigureView {
    /// What it is (`random-read-rate`).
    pub name: String,
    /// Whose.
    pub device: String,
    /// The number.
    pub value: u64,
    /// Name of what it is counted in (`mebibytes-per-second`), as profiles write it.
    pub unit: String,
    /// For figures that mean something in a steady state only: whether it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attained: Option<bool>,
    /// The rules that it is judged by.
    #[serde(default)]
    pub rules: Vec<FigureRuleView>,
}

/// A rule, held against a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FigureRuleView {
    /// Number of the rule in [`BurnInView::rules`], from 0.
    pub rule: u32,
    /// Whether it holds; absent where nothing could be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

/// A rule of the profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    /// The figure that it bounds.
    pub figure: String,
    /// The rule with number and unit, in words.
    pub words: String,
    /// Where the threshold comes from.
    pub origin: String,
}

/// A figure over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeriesView {
    /// The task that measured it.
    pub task: String,
    /// Whose.
    pub device: String,
    /// What it is (`read-rate`, `temperature`).
    pub name: String,
    /// Name of what it is counted in.
    pub unit: String,
    /// Seconds since the task began, and the value then; at most 512 points.
    pub points: Vec<[u64; 2]>,
}

/// Where a result stream is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamHeadView {
    /// Lines so far.
    pub lines: u64,
    /// The chain's last link, SHA-256, hex.
    pub sha256: String,
}

/// The fleet, compared model by model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelsView {
    /// Sorted by name.
    pub models: Vec<ModelView>,
}

/// All devices of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelView {
    /// The model, as the devices tell: untrusted text.
    pub model: String,
    /// What was measured on them, by stage and name.
    pub figures: Vec<ModelFigureView>,
}

/// A figure of all devices of a model, measured in stages of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelFigureView {
    /// The stage: what a device does alone is no measure for what it does beside others.
    pub stage: String,
    /// What it is.
    pub figure: String,
    /// Name of what it is counted in.
    pub unit: String,
    /// How many devices there are values of.
    pub n: u32,
    /// The least value.
    pub min: u64,
    /// The median; of an even number the lower of the two in the middle.
    pub median: u64,
    /// The greatest value.
    pub max: u64,
    /// Thousandths of the median of the others that a rule demands, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_permille: Option<u16>,
    /// Each device's newest value, least first.
    pub values: Vec<ModelValueView>,
}

/// A figure of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelValueView {
    /// The device (`drive S1`, `memory`): untrusted text.
    pub device: String,
    /// Id of the host that it was measured in.
    pub host: String,
    /// The host's serial.
    pub serial: String,
    /// The value.
    pub value: u64,
    /// Whether it breaks the rule that compares with the others of the model.
    pub outlier: bool,
    /// When it was measured, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// A person's word that a span of a drive may be overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsentRequest {
    /// The drive's serial, as it stands on its label.
    pub drive: String,
    /// First byte, a multiple of 4096.
    pub start: u64,
    /// Length in bytes, a multiple of 4096.
    pub bytes: u64,
    /// Must be true: what is there is lost.
    pub overwrite: bool,
    /// Who gives it.
    pub by: String,
}

/// A consent that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsentView {
    /// The drive's serial.
    pub drive: String,
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Who gave it.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}
