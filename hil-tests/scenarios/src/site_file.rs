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
    for (name, text) in &lab.files {
        let file = dir.join(name);
        std::fs::create_dir_all(file.parent().unwrap_or(dir))?;
        std::fs::write(&file, text).with_context(|| format!("writing {name}"))?;
        // Some are secrets, and none is for anybody else.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    }
    std::fs::write(dir.join("scalerforge.toml"), text(rack, lab, artefacts)?)?;
    Ok(())
}

fn text(rack: &Rack, lab: &LabConfig, artefacts: &Artefacts) -> anyhow::Result<String> {
    // The appliance seals the base itself; what is its own already is believed by the values that it is told.
    let (image, reference): (&PathBuf, &PathBuf) = if lab.altered_image {
        (&artefacts.altered_image, &artefacts.image)
    } else {
        (&artefacts.base, &artefacts.base)
    };
    let LabConfig { enrolment, approval, profile, publish, .. } = lab;
    let mut text = format!(
        r#"# Written for a virtual rack.
[site]
name = "lab"
enrolment = "{enrolment}"
approval = "{approval}"
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
{host}[trust]
endorsement_dir = "endorsement"
allow_software_tpm = true

[chain]
{rpc}chain_id = 777077
operator_key_file = "operator.key"
fee_gwei_max = 1000
publish = "{publish}"

{registration}"#,
        silence = lab.silence_seconds_max,
        host = host(lab) + &secure_boot(lab),
        rpc = rpc(lab),
        uki = image.join("discovery.efi").display(),
        reference = reference.join("reference.json").display(),
        medium = medium(image, lab),
        reattest =
            lab.reattest_seconds.map_or(String::new(), |every| format!("reattest_seconds = {every}\n")),
        operator = crate::lab::OPERATOR_ADDRESS,
        verifier = crate::lab::VERIFIER_ADDRESS,
        pxe = lab.pxe.clone() + if lab.v6 { V6 } else { "" },
        agent6 = if lab.v6 { "listen6 = \"[fd77::1]:8443\"" } else { "" },
        burn_in = lab.burn_in,
        carve = lab.carve,
        registration = REGISTRATION.to_owned() + &lab.sections,
    );
    if lab.bmcs {
        controllers(&mut text, rack)?;
    }
    Ok(text)
}

/// Where the chain is, if it is not inside the appliance, and what else is to be said of it.
fn rpc(lab: &LabConfig) -> String {
    let more = &lab.chain_lines;
    match lab.chain {
        Chain::Embedded => more.clone(),
        Chain::Apart { .. } => format!("rpc_url = \"http://{}\"\n{more}", crate::lab::CHAIN_ADDRESS),
    }
}

/// The system that hosts get, where they get one.
fn host(lab: &LabConfig) -> String {
    lab.release
        .as_ref()
        .map_or(String::new(), |release| format!("[host]\nrelease = \"{}\"\n\n", release.display()))
}

/// The site's own keys, where it has some.
fn secure_boot(lab: &LabConfig) -> String {
    let Some(also) = &lab.own_keys else { return String::new() };
    let also: Vec<String> = also.iter().map(|file| format!("{:?}", file.display().to_string())).collect();
    format!("[secure_boot]\nown_keys = true\nalso_trust = [{}]\n\n", also.join(", "))
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
