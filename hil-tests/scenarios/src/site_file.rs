//! Writes a lab's site directory: the keys of the artefacts, a configuration for this rack.

use std::{
    fmt::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hil_tests_rack::Rack;

use crate::{
    artefacts::Artefacts,
    lab::{Chain, LabConfig},
};

/// The keys that are copied, not linked: tests may damage them.
const KEYS: [&str; 5] = ["ca.pem", "ca.key", "attestor.key", "operator.key", "deployer.key"];

/// IPv6 of the provisioning LAN.
const V6: &str = r#"
[pxe.v6]
address = "fd77::1"
prefix = "fd77::/64"
router_advertisements = true
api_url = "https://[fd77::1]:8443"

[pxe.v6.pool]
first = "fd77::1:0:0:0"
last = "fd77::ffff:ffff:ffff:ffff"

[pxe.v6.reservations]
"52:54:00:77:00:00" = "fd77::99"
"#;

/// What every node of the lab is registered with.
const REGISTRATION: &str = r#"[registration]
region = "eu-west"
hp_id = 1
location_code = 83
reservation_price_icnt = 10
reward_share_permille = 200
commitment_days = 1080
booking_days_max = 365
"#;

pub(crate) fn write(dir: &Path, rack: &Rack, lab: &LabConfig, artefacts: &Artefacts) -> anyhow::Result<()> {
    for folder in ["endorsement", "evidence"] {
        std::fs::create_dir_all(dir.join(folder)).context("making the site directory")?;
    }
    for key in KEYS {
        let to = dir.join(key);
        if !to.exists() {
            std::fs::copy(artefacts.site.join(key), &to).with_context(|| format!("copying {key}"))?;
        }
    }
    let pem = rack.ek_roots_pem()? + &rack.ek_intermediates_pem()?;
    std::fs::write(dir.join("endorsement/rack.pem"), pem)?;
    for (index, host) in rack.hosts().iter().enumerate() {
        let file = dir.join(format!("bmc-{index}.password"));
        std::fs::write(&file, host.bmc_password())?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    }
    std::fs::write(dir.join("scalerforge.toml"), text(rack, lab, artefacts)?)?;
    Ok(())
}

fn text(rack: &Rack, lab: &LabConfig, artefacts: &Artefacts) -> anyhow::Result<String> {
    let image: &PathBuf = if lab.altered_image { &artefacts.altered_image } else { &artefacts.image };
    let mut text = format!(
        r#"# Written for a virtual rack.
[site]
name = "lab"
enrolment = "auto"
approval = "auto"
silence_seconds_max = {silence}
{reattest}
[pxe]
interface = "br0"
address = "10.77.0.1"
subnet = "10.77.0.0/24"
api_url = "https://10.77.0.1:8443"
{pxe}
[pxe.pool]
first = "10.77.0.100"
last = "10.77.0.199"

[image]
uki = "{uki}"
reference = "{reference}"
{medium}
[agent]
listen = "10.77.0.1:8443"
{agent6}

[operator]
listen = "{operator}"

[verifier]
listen = "{verifier}"

[burn_in]
profile = "{profile}"
{burn_in}
[carve]
{carve}
[trust]
endorsement_dir = "endorsement"
allow_software_tpm = true

[chain]
{rpc}chain_id = 777077
operator_key_file = "operator.key"
fee_gwei_max = 1000
publish = "{publish}"

{registration}"#,
        silence = lab.silence_seconds_max,
        rpc = rpc(lab),
        uki = image.join("discovery.efi").display(),
        reference = artefacts.image.join("reference.json").display(),
        medium = medium(image, lab),
        reattest =
            lab.reattest_seconds.map_or(String::new(), |every| format!("reattest_seconds = {every}\n")),
        operator = crate::lab::OPERATOR_ADDRESS,
        verifier = crate::lab::VERIFIER_ADDRESS,
        pxe = lab.pxe.clone() + if lab.v6 { V6 } else { "" },
        agent6 = if lab.v6 { "listen6 = \"[fd77::1]:8443\"" } else { "" },
        profile = lab.profile,
        burn_in = lab.burn_in,
        carve = lab.carve,
        registration = REGISTRATION,
        publish = lab.publish,
    );
    if lab.bmcs {
        controllers(&mut text, rack)?;
    }
    Ok(text)
}

/// Where the chain is, if it is not inside the appliance.
fn rpc(lab: &LabConfig) -> String {
    match lab.chain {
        Chain::Embedded => String::new(),
        Chain::Apart { .. } => format!("rpc_url = \"http://{}\"\n", crate::lab::CHAIN_ADDRESS),
    }
}

fn controllers(text: &mut String, rack: &Rack) -> std::fmt::Result {
    for (index, host) in rack.hosts().iter().enumerate() {
        write!(
            text,
            "\n[[bmc]]\nurl = \"{}\"\nuser = \"{}\"\npassword_file = \"bmc-{index}.password\"\n",
            host.bmc_url(),
            host.bmc_user()
        )?;
    }
    Ok(())
}

/// The line that names the boot medium, where the lab has one.
fn medium(image: &Path, lab: &LabConfig) -> String {
    let file = image.join("discovery.iso");
    if lab.medium { format!("medium = \"{}\"\n", file.display()) } else { String::new() }
}
