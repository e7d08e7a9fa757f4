//! The agent's protocol, version 1: JSON over HTTPS, the agent always asks, the appliance never connects to a host.
//!
//! `POST /agent/v1/hello` opens a session (and spends the boot ticket); `POST /agent/v1/next` waits up to
//! [`POLL_SECONDS_MAX`] for an order; `POST /agent/v1/report` answers an order, any number of times with the same
//! effect as once; `POST /agent/v1/progress` says how far a long order is, and is answered with 410 when nobody wants
//! that order any more; `POST /agent/v1/stream` gives back the lines of a burn-in that an earlier boot has reported;
//! `POST /agent/v1/glass` says who came through an open door ([`glass`]).
//! All but `hello` carry `Authorization: Bearer SESSION`.  An error is HTTP 4xx/5xx with a [`Problem`]; 401 means: say
//! hello again.

use std::collections::BTreeMap;

use appliance_model::{
    Address, Digest, HostId, Mac, NodeId, Serial, Ticket,
    burn_in::staged::{Course, Head, Peer, SpanConsent},
    inventory::Tpm,
    real::Shape,
};
use serde::{Deserialize, Serialize};

pub mod glass;
pub mod host;

/// The protocol this module describes.
pub const PROTOCOL: u32 = 1;

/// How long `next` may be held open.
pub const POLL_SECONDS_MAX: u64 = 10;

/// The largest body either side accepts: an event log and an inventory fit many times.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Opens a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Agent's version.
    pub agent: String,
    /// The boot ticket; `ticket_source` says where it was found.
    pub ticket: Option<Ticket>,
    /// How the agent came by the ticket; absent without a ticket, and from agents that knew only the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_source: Option<TicketSource>,
    /// The whole boot URL, if the log shows it.
    pub boot_url: Option<String>,
    /// SMBIOS system serial.
    pub serial: Option<String>,
    /// SMBIOS system UUID.
    pub uuid: Option<String>,
    /// Permanent addresses of all ports.
    pub macs: Vec<Mac>,
    /// Random per boot: a hello repeated after a lost answer is the same hello.
    pub boot_nonce: Digest,
    /// Which installed system the agent runs in; absent in the discovery image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residence: Option<host::Residence>,
}

/// How an agent came by its boot ticket: what the ticket proves depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketSource {
    /// It stands in the URL that UEFI firmware measured when it loaded the image: the machine that shows it was booted
    /// with it, if its log agrees with its quote.
    MeasuredUrl,
    /// The boot server told it in answer to the agent's DHCP request, as after PXE, iPXE or a BIOS.  Anybody on the
    /// LAN could have read it: it says who was booted, and proves nothing.
    Dhcp,
    /// It stands on the medium that the machine was booted from, which its management controller attached.  The log
    /// shows what was booted, and no URL.
    Medium,
}

/// The ticket in a boot URL, such as `http://10.77.0.1:8080/boot/TICKET/discovery.efi`.
#[must_use]
pub fn ticket_in(url: &str) -> Option<Ticket> {
    let (_, path) = url.split_once("/boot/")?;
    path.split('/').next()?.parse().ok()
}

/// The answer to a hello.
#[derive(Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// Who the appliance thinks this is.
    pub host: HostId,
    /// Bearer token for the rest, 64 hex digits.
    pub session: String,
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Welcome {{ host: {}, session: .. }}", self.host)
    }
}

/// Something for the agent to do.  Asking again before reporting gives the same order with the same id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Stable name of this order; 0 for `Wait`.
    pub id: u64,
    /// What to do.
    pub work: Work,
}

/// An order's content.  Byte strings are lower-case hex.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Work {
    /// Nothing now: ask again.
    Wait,
    /// Stay as you are: a person holds this machine.  Then ask again.
    Hold {
        /// Who, and what ends it; for the console.
        why: String,
    },
    /// Take an inventory.
    Inventory {
        /// An account to be made first, from inside, on the machine's own controller; absent where the site allows none
        /// or knows one.  What becomes of it stands in the inventory: the controller's address, or a gap.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bmc_account: Option<BmcAccount>,
    },
    /// Show EK certificates, EK and AK.
    Identify,
    /// TPM2_ActivateCredential, then answer with HMAC-SHA256(recovered secret, `transcript`).
    Activate {
        /// TPM2B_ID_OBJECT, sized field included.
        credential_blob: String,
        /// TPM2B_ENCRYPTED_SECRET, sized field included.
        encrypted_secret: String,
        /// What the answer is bound to.
        transcript: Digest,
    },
    /// Quote.  The agent fills in what only it can vouch for and quotes the finished statement.
    Quote(QuoteOrder),
    /// Go through the course.  Tasks that have an outcome in the stream so far are not repeated.
    BurnIn(Box<BurnInOrder>),
    /// Consent to a registration with the host's key: only to what this boot's last registration quote was over.
    NodeConsent(NodeConsent),
    /// Make the units real, and say what the kernel says of them then.
    Carve(Box<Shape>),
    /// Put back what was there before the first `Carve` of this machine, and say what the kernel says then of what had
    /// been made.
    Uncarve(Box<Shape>),
    /// Erase drives: each word on them is answered before the agent goes on.
    Erase(crate::erase::EraseOrder),
    /// Put a release onto a drive, or into the slot that does not run.
    Install(Box<host::InstallOrder>),
    /// Mark the running slot good and raise the TPM's floor to its epoch.  Refused unless exactly this release runs.
    Promote {
        /// What the appliance has seen a fresh quote of.
        release: host::Release,
    },
    /// Put an addon beside the running UKI.
    Plant(glass::PlantOrder),
    /// Open SSH, as the addon that this boot was started with says.
    Unlock(glass::UnlockOrder),
    /// Close SSH, end its sessions, take the addon away.
    Lock,
    /// Restart into the slot that does not run.  It is tried as often as a new one, and must be promoted.
    Switch,
    /// Restart the machine.
    Reboot,
    /// Switch the machine off.
    PowerOff,
}

/// A burn-in: what to do, and what everybody needs who judges it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurnInOrder {
    /// Stages, waves, tasks.
    pub course: Course,
    /// What may be overwritten.
    pub consents: Vec<SpanConsent>,
    /// The profile file's text; its digest stands in the course.
    pub profile: String,
    /// Device to model, as figures name devices.
    pub models: BTreeMap<String, String>,
    /// Figures of other devices of these models.
    pub peers: Vec<Peer>,
    /// What the appliance has of the result stream: `stream` gives the lines.
    pub so_far: Head,
}

/// Asks for lines of the result stream that were reported before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFrom {
    /// The order.
    pub order: u64,
    /// Lines that the agent has.
    pub from: u64,
}

/// Lines of a result stream, whole ones, each with its end; none where there are no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPart {
    /// The text.
    pub lines: String,
}

/// An account for a management controller.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcAccount {
    /// User, at most 16 bytes.
    pub user: String,
    /// Password, at most 16 bytes: what every controller keeps whole.
    pub password: String,
}

impl std::fmt::Debug for BmcAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BmcAccount {{ user: {:?}, password: .. }}", self.user)
    }
}

/// The appliance's part of a statement (`attest/FORMAT.md` has every field).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuoteOrder {
    /// `admission` or `registration`.
    pub purpose: String,
    /// Deterministic CBOR of the nonce object.
    pub nonce: String,
    /// Node the statement is for.
    pub node: NodeId,
    /// Where it is to be registered; absent at admission.
    pub target: Option<Target>,
    /// The manifest, as JSON text: its units are hashed exactly as they stand here.  The agent computes its unit root, and refuses units that its inventory does not have.
    pub manifest: Option<String>,
    /// SHA-256 of the previous evidence of this node.
    pub previous: Option<Digest>,
    /// Counts evidence of this node from 0.
    pub sequence: u64,
}

/// A registry on a chain, and who registers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// EVM chain id.
    pub chain_id: u64,
    /// Registry contract.
    pub registry: Address,
    /// Operator account.
    pub operator: Address,
}

/// EIP-712 `NodeConsent` of domain `Scalerforge registry`, version `1`, this chain and this registry: that this host is
/// to be registered so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConsent {
    /// The node.
    pub node: NodeId,
    /// Chain, registry (the domain's contract too) and operator.
    pub target: Target,
    /// Account that the collateral goes back to.
    pub owner: Address,
    /// Merkle root of its units.
    pub unit_root: Digest,
    /// Hardware class, as the manifest has it.
    pub class: String,
    /// Capacity, as the manifest has it.
    pub capacity: u64,
    /// Commitment, seconds.
    pub commitment_seconds: u64,
}

/// The answer to an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The order.
    pub order: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// TPM2_Certify of the attestation key by a board's initial attestation key (IAK), over the node id.  Hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardWord {
    /// X.509 DER: the board key's first, then what else the board has.
    pub certificates: Vec<String>,
    /// TPMT_PUBLIC of the board key.
    pub public: String,
    /// TPMS_ATTEST, raw.
    pub attest: String,
    /// TPMT_SIGNATURE, raw.
    pub signature: String,
}

/// What came of an order.  Byte strings are lower-case hex unless said otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    /// The inventory, as JSON text: its SHA-256 over exactly these UTF-8 bytes goes into the statement.
    Inventory {
        /// `appliance_model::inventory::Inventory` as JSON.
        json: String,
    },
    /// Who the TPM is.
    Identity {
        /// EK certificates from NV, DER, with their NV index; intermediates too.
        certificates: Vec<Certificate>,
        /// Endorsement keys that could be recreated: TPMT_PUBLIC.
        ek_publics: Vec<String>,
        /// Attestation key: TPMT_PUBLIC.
        ak_public: String,
        /// Facts about the TPM.
        tpm: Tpm,
    },
    /// HMAC over the transcript.
    Activated {
        /// 32 bytes.
        answer: Digest,
    },
    /// A quote over a finished statement.
    Quoted {
        /// Deterministic CBOR of the statement.
        statement: String,
        /// TPMS_ATTEST, raw.
        attest: String,
        /// TPMT_SIGNATURE, raw.
        signature: String,
        /// PCR values of the SHA-256 bank, by index.
        pcrs: Vec<(u8, Digest)>,
        /// UEFI event log, raw.
        uefi_log: String,
        /// The board's own word about the attestation key, where its maker certified a key for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iak: Option<BoardWord>,
    },
    /// The host's signature over a [`NodeConsent`].
    NodeConsent {
        /// The account that signed, which is in the statement too.
        host_key: Address,
        /// r (32 bytes), s (32, the lower half), v (27 or 28).
        signature: String,
    },
    /// What the kernel says of the units: after `Carve`; instead of a quote over units that are not real any more;
    /// after `Uncarve`, what is left of them.
    Carved {
        /// The state as it was read, and what could not be made.
        real: Box<Shape>,
    },
    /// Lines of a burn-in's result stream; more follow.
    BurnInLines {
        /// How many lines there were before these: what came twice counts once.
        from: u64,
        /// Whole lines, each with its end.
        lines: String,
    },
    /// The whole burn-in.
    BurnIn {
        /// `appliance_model::burn_in::staged::Report` as JSON: its SHA-256 goes into the statement.
        json: String,
    },
    /// What is said of one drive that is to be erased; more may follow.
    Erase(crate::erase::EraseWord),
    /// The drive holds something, and the order did not name it: nothing was written.
    Occupied {
        /// Serial or WWN.
        drive: Serial,
        /// What was found.
        found: Vec<host::FoundPartition>,
        /// SHA-256 over what was found: an order that names it allows that to be lost.
        digest: Digest,
    },
    /// A release stands in a slot, was read back through its hash tree, and is next to be booted.
    Installed {
        /// Serial or WWN.
        drive: Serial,
        /// Which.
        slot: host::Slot,
        /// Root hash of what was read back from the drive.
        root_hash: Digest,
        /// Name of the boot loader's entry.
        entry: String,
        /// The firmware's boot option that was made for the drive, and put first; absent where none was needed, or the
        /// firmware took none: then the drive's fallback path is what it can be booted by.
        boot_option: Option<u16>,
        /// How long all that took.
        milliseconds: u64,
    },
    /// The running slot is marked good.
    Promoted {
        /// Which.
        slot: host::Slot,
        /// The floor as the TPM has it now; absent on a machine without a TPM.
        floor: Option<u32>,
    },
    /// An addon stands beside the running UKI, and was read back.
    Planted,
    /// SSH is open.
    Unlocked {
        /// Fingerprint of the SSH server's key, which was made for this opening: `SHA256:…`.
        host_key: String,
    },
    /// SSH is closed, and no addon is left.
    Locked {
        /// Whether this boot was started with an addon, or one was there: then a restart makes the machine what it was.
        restart: bool,
    },
    /// The order could not be carried out.
    Failed {
        /// What was tried, what came back.
        why: String,
    },
    /// Reboot or power-off is under way.
    Leaving,
}

/// A certificate and where the TPM kept it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// NV index (`0x01c00002`).
    pub nv_index: u32,
    /// DER.
    pub der: String,
}

/// How far a long order is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The order.
    pub order: u64,
    /// Thousandths done.
    pub permille: u16,
    /// What is being done, in words.
    pub note: String,
    /// The devices that are worked on, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceProgress>,
}

/// How far one device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProgress {
    /// Id of the task.
    pub task: String,
    /// Whose it is, as figures name devices.
    pub device: String,
    /// Thousandths done.
    pub permille: u16,
    /// Seconds until it has had its time.
    pub seconds_left: u32,
}

/// Why a call was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// What was tried, what is wrong, what to do.
    pub error: String,
}

#[cfg(test)]
mod tests;
