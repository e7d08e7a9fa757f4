//! The site file as people write it: `scalerforge.toml`, key by key.  What makes sense of it is [`super::Config`].
//!
//! Every unit is in its key, an unknown key is refused, and a secret is the path of a file.

use serde::Deserialize;

/// `scalerforge.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The site.
    pub site: Site,
    /// The provisioning LAN.
    pub pxe: pxe_server::config::wire::Config,
    /// What hosts boot.
    pub image: Image,
    /// Where agents call.
    pub agent: Agent,
    /// Where people and programs call.
    pub operator: Operator,
    /// Where HyperNodes and other verifiers call.  Absent: nowhere.
    pub verifier: Option<Verifier>,
    /// How machines are tested.
    pub burn_in: BurnIn,
    /// Which baselines and blueprints machines are held to.  Absent: none.
    pub checks: Option<Checks>,
    /// Firmware images of the site's own.  Absent: none is put into any machine.
    pub firmware: Option<Firmware>,
    /// Whom we believe.
    pub trust: Trust,
    /// The chain.
    pub chain: Chain,
    /// What is registered.
    pub registration: Registration,
    /// Management controllers.
    #[serde(default)]
    pub bmc: Vec<Bmc>,
    /// What may be done with controllers' accounts.  Absent: they are used as they are.
    #[serde(default)]
    pub credentials: Credentials,
    /// Where controllers are looked for, beside those named here or imported.  Absent: nowhere.
    pub discovery: Option<Discovery>,
    /// Secure Boot.  Absent: images are not signed by the site.
    pub secure_boot: Option<SecureBoot>,
    /// Who is told of alerts, beside those who look.  Absent: nobody.
    pub alerts: Option<Alerts>,
    /// How units are made real on their hosts where there is a choice.
    #[serde(default)]
    pub carve: Carve,
    /// The system that hosts get on a drive of their own.  Absent: they live in memory.
    pub host: Option<Host>,
}

/// The system that hosts get on a drive of their own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Directory with a built release: `release.json` and the four parts that it names.
    pub release: String,
    /// Where installed hosts call.  Absent: where `pxe.api_url` says.
    pub appliance: Option<String>,
}

/// How units are made real where there is a choice.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carve {
    /// Memory units are set aside as large pages of this size, KiB.  Absent: as ordinary memory with a limit.
    pub page_kib: Option<u64>,
    /// Virtual functions (SR-IOV) of each port that is sold.  Absent: ports stay as they are.
    pub functions: Option<u32>,
    /// GPUs on which MIG is on, and which are cut into nothing, are sold in parts of so many slices.  Absent: as they are.
    pub gpu_slices: Option<u32>,
    /// Traffic classes of each port that is sold and cannot have virtual functions.  Absent: such ports stay as they are.
    pub classes: Option<u32>,
    /// Drives are sold in parts of so many GiB.  Absent: whole.
    pub part_gib: Option<u64>,
}

/// Who is told of alerts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    /// Where each is posted as JSON: https, or http on this machine.
    pub webhook_url: String,
    /// File with the secret that signs them: what the receiver knows this site by.
    pub webhook_secret_file: String,
}

/// What may be done with controllers' accounts.  Each line is a permission.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// What becomes of an imported password.
    #[serde(default)]
    pub rotate: Rotate,
    /// Name of an account of our own, made beside the imported one and used instead of it.  Absent: none is made.
    pub own_account: Option<String>,
    /// What the agent may do to the controller of its machine, from inside.
    #[serde(default)]
    pub in_band: InBand,
}

/// What becomes of an imported password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotate {
    /// It stays, and `bmc list` says that it is not ours.
    #[default]
    Propose,
    /// It is replaced by a random one as soon as the controller was read with it.
    OnFirstContact,
}

/// What the agent may do to the controller of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InBand {
    /// Tell its address.
    #[default]
    Address,
    /// Make an account for us, where no password of it is known.
    CreateAccount,
}

/// Where controllers are looked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    /// Addresses that are asked: `10.78.0.0/24`, `10.78.0.10-10.78.0.99`, `10.78.0.7`.
    #[serde(default)]
    pub ranges: Vec<String>,
    /// Ports that are asked.  Absent: 443.
    #[serde(default = "https")]
    pub ports: Vec<u16>,
    /// Connections begun in a second, at most.
    #[serde(default = "polite")]
    pub connections_per_second_max: u32,
    /// Between two rounds.
    #[serde(default = "hour")]
    pub every_seconds: u64,
    /// Whether addresses that our DHCP server leases are asked.
    #[serde(default = "yes")]
    pub dhcp: bool,
    /// Our own addresses, from whose LANs controllers are asked by SSDP and multicast DNS to tell where they are.
    #[serde(default)]
    pub multicast_from: Vec<String>,
}

fn https() -> Vec<u16> {
    vec![443]
}

fn polite() -> u32 {
    50
}

fn hour() -> u64 {
    3600
}

fn yes() -> bool {
    true
}

/// The site.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name, first part of its nodes' names.
    pub name: String,
    /// `auto` enrols every server found, `manual` waits for `host enrol`.
    pub enrolment: Policy,
    /// `auto` is a standing approval of every stake, `manual` waits for `host approve`.
    pub approval: Policy,
    /// How long an agent may be silent before its machine is looked at.
    pub silence_seconds_max: u64,
    /// How old a ScalerNode's newest evidence may be before it is asked for new.  Absent: only verifiers ask.
    pub reattest_seconds: Option<u64>,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The appliance.
    Auto,
    /// A person.
    Manual,
}

/// What hosts boot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The discovery UKI.
    pub uki: String,
    /// Its reference values.
    pub reference: String,
    /// The boot medium for virtual CDs (`discovery.iso`).  Absent: no server is booted by virtual media.
    pub medium: Option<String>,
    /// The same for 64-bit ARM.  Absent: such servers are told that there is no image for them.
    pub arm64: Option<Arm64Image>,
}

/// What hosts with 64-bit ARM boot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm64Image {
    /// The discovery UKI, of `scalerforge image build --arch arm64`.
    pub uki: String,
    /// Its reference values.
    pub reference: String,
}

/// Secure Boot.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecureBoot {
    /// Sign images with keys of the site's own, made at the first start below `keys/`.
    pub own_keys: bool,
    /// Certificates, PEM files, that firmware's db gets beside the site's: those that option ROMs are signed with.
    #[serde(default)]
    pub also_trust: Vec<String>,
}

/// Where agents call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Address and port.
    pub listen: String,
    /// The same for agents without IPv4, as `[fd77::1]:8443`; `pxe.v6.api_url` tells them.  Absent: nowhere.
    pub listen6: Option<String>,
}

/// Where people and programs call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Address and port of plain HTTP without a password: of this machine, or of a network that only operators reach.
    pub listen: String,
    /// The same from other machines, over TLS and with the admin's password.  Absent: nowhere.
    pub page: Option<Page>,
}

/// The page from other machines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Address and port.
    pub listen: String,
    /// File of the password's hash, as `scalerforge site password` writes it.
    pub password_file: String,
}

/// Where verifiers call: plain HTTP, to stand behind the provider's own reverse proxy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verifier {
    /// Address and port.
    pub listen: String,
    /// Challengers whose binding statements join the evidence: P-256 public keys, 128 hex digits (x, y).  Absent:
    /// anybody's, as long as there is room.
    pub challengers: Option<Vec<String>>,
}

/// How machines are tested.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurnIn {
    /// Name of a built-in profile, or of a profile's `.toml` file.
    pub profile: String,
    /// Spans of drives that may be overwritten by any burn-in; in machines of this site that have these drives.
    #[serde(default)]
    pub consent: Vec<appliance_model::burn_in::staged::SpanConsent>,
    /// Places whose distance each port measures, as `NAME=HOST:PORT`; they take TCP connections.  Absent: none.
    #[serde(default)]
    pub latency: Vec<String>,
}

/// Which documents machines are held to, once their inventory is there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// Ids of baselines, each for the models that it names itself.  Absent: all there are.
    pub baseline: Option<Vec<String>>,
    /// Ids of blueprints; of those for a machine's model the nearest counts.  Absent: all there are.
    pub blueprint: Option<Vec<String>>,
    /// Directory of the site's own documents, beside those built in.
    pub documents_dir: Option<String>,
    /// What becomes of a machine of which something could not be checked that would stop it.
    #[serde(default)]
    pub unchecked: Unchecked,
}

/// What becomes of a machine that tells too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unchecked {
    /// It is shown, and the machine goes on.
    #[default]
    Warn,
    /// The machine stops before burn-in.
    Block,
}

/// Firmware images of the site's own, which a remedy may put into machines.  Absent: none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Directory of the images and their `catalogue.toml`.
    pub dir: String,
    /// Address and port where controllers fetch images, each by a path that is good for one order.  Absent: images are
    /// pushed.
    pub listen: Option<String>,
    /// The same as controllers are told, such as `http://10.78.0.1:8092`, where they see another address.
    pub url: Option<String>,
}

/// Whom we believe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Directory of EK root and intermediate certificates (PEM).
    pub endorsement_dir: String,
    /// Whether a TPM made of software may be admitted: for laboratories only.
    pub allow_software_tpm: bool,
}

/// The chain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// JSON-RPC endpoint.  Absent: the embedded development chain.
    pub rpc_url: Option<String>,
    /// More endpoints of the same chain: asked where one does not answer.  Nothing is sent while two disagree.
    #[serde(default)]
    pub rpc_urls: Vec<String>,
    /// Chain id that every endpoint must report.
    pub chain_id: u64,
    /// Registry contract.  Absent: deploy the reference contracts, on a development chain only.
    pub registry: Option<String>,
    /// Which contracts the registry is.
    #[serde(default)]
    pub adapter: super::Adapter,
    /// ICNT on this chain, where `adapter` is `icn`.
    pub token: Option<String>,
    /// The registration's signature or selector at ICN, where `adapter` is `icn`: it is not public.
    pub register_signature: Option<String>,
    /// Account whose deposit pays and to which collateral returns; it has made the operator's account its operator, with
    /// limits.  Absent: the operator's own account, as on a development chain.
    pub owner: Option<String>,
    /// File with the operator's key, where no other signer is named: for development.
    #[serde(default = "operator_key")]
    pub operator_key_file: String,
    /// Where the operator's key is, if not in that file.
    pub signer: Option<super::signer::Wire>,
    /// The most a transaction may pay a unit of gas, in gwei.
    pub fee_gwei_max: u64,
    /// Which of a node's evidence is published on chain.
    #[serde(default)]
    pub publish: Publish,
}

fn operator_key() -> String {
    "operator.key".into()
}

/// Which of a node's evidence is published on chain, so that anybody can see by when it existed.
///
/// A publication costs 32 500 gas: at Base's 0.005 gwei a tenth of a US cent, at 1 gwei ten cents.  Evidence names the
/// one before it, so that what is published vouches for the age of all that came before; the newest of a day is enough
/// for whoever pays out by the day, and costs a node less than half a dollar a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// That of the registration, which is part of it and costs nothing more.
    Registration,
    /// The newest of each day.
    #[default]
    Daily,
    /// All that the appliance itself asks for (`site.reattest_seconds`).
    Every,
}

/// What is registered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Region of the registry.
    pub region: String,
    /// ICN's number of the hardware provider.
    pub hp_id: u64,
    /// ISO 3166-1 alpha-3 country as ICN's location code.
    pub location_code: u8,
    /// Reservation price for one unit of capacity and day of booking, in whole ICNT.
    pub reservation_price_icnt: u64,
    /// The owner's share of rewards while there are delegators, in thousandths.
    pub reward_share_permille: u16,
    /// How long the collateral is locked, in days.
    pub commitment_days: u32,
    /// Longest booking accepted, in days.
    pub booking_days_max: u32,
    /// What becomes of passports that the owner holds.
    #[serde(default)]
    pub passports: Passports,
}

/// What becomes of passports that the owner holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passports {
    /// The cost sheet says what they would spare; one is staked where a person types the words for it.
    #[default]
    Ask,
    /// Each registration stakes the one that spares most.
    Use,
}

/// A management controller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bmc {
    /// `https://ADDRESS`.
    pub url: String,
    /// Account.
    pub user: String,
    /// File that holds the password.
    pub password_file: String,
    /// Rack position, if the asset tag does not tell.
    pub position: Option<String>,
    /// Whether IPMI may be used where Redfish does not help, and how weak it may be.  Absent: never.
    pub ipmi: Option<Ipmi>,
}

/// The weakest IPMI 2.0 cipher suite that may be used with a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipmi {
    /// HMAC-SHA256 and AES.
    #[serde(rename = "suite-17")]
    Suite17,
    /// HMAC-SHA1 and AES, for controllers that have nothing better.
    #[serde(rename = "suite-3")]
    Suite3,
}
