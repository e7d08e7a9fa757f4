//! Opened for SSH by its appliance, looked at from inside by somebody who trusts neither, and closed again.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use appliance_api::break_glass::GlassView;
use hil_tests_scenarios::Lab;
use tokio::process::Command;

use crate::{
    DRIVE, LIMIT, SERIAL,
    said::{cli, in_order, lives},
    units::CUT,
};

/// The variable as the kernel shows it, four bytes of attributes first: the addon of this start was let in by firmware that
/// checks.
const SECURE_BOOT_ON: &str = "\u{6}\0\0\0\u{1}";

/// Typed wrongly it does nothing; rightly, one key gets in and verifiers are told; ended, nobody gets in.
pub(crate) async fn opened_and_closed(lab: &Lab, id: &str, node: &str) -> anyhow::Result<()> {
    let (right, wrong) = (pair(lab, "right").await?, pair(lab, "wrong").await?);
    let key = right.with_extension("pub").display().to_string();
    let ask = ["host", "break-glass", id, "--key", &key, "--minutes", "30", "--reason", "a noisy fan"];
    let (code, _, err) = cli(lab, &[&ask[..], &["--permit", "yes"]].concat()).await?;
    ensure!(code != 0 && err.contains("Nothing was done"), "{err}");
    let words = format!("break-glass {id}");
    let (code, out, err) = cli(lab, &[&ask[..], &["--permit", &words]].concat()).await?;
    ensure!(code == 0, "{out}{err}");
    let glass = stands(lab, "open").await?;
    let why = in_order(lab, node, false).await?;
    ensure!(why.starts_with("break-glass: ") && why.contains("a noisy fan"), "{why}");
    let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
    ensure!(host.why.waiting_for.starts_with("break-glass: "), "{host:?}");

    let addresses = addresses(lab).await?;
    let known = lab.site().join("known_hosts");
    // The kernel's own files, by another way than the agent's.  Units are made again after a restart, volumes last: the
    // fourth mapped device, behind root, state and the first of them.
    let look = "n=0; until [ -e /sys/block/dm-3/dm/name ] || [ $n = 120 ]; do n=$((n + 1)); sleep 1; done; \
                cat /sys/fs/cgroup/scalerforge.slice/cpuset.cpus.partition /sys/block/dm-*/dm/name; \
                ls /run/systemd/system; cat /run/scalerforge/state \
                /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    let mut seen = String::new();
    for address in &addresses {
        let (entered, said) = ssh(&right, &known, address, look).await?;
        seen += &said;
        if entered {
            let volume = format!("scalerforge_{CUT}_");
            for words in ["root\n", &volume, "scalerforge-compute.slice", "STATE=sealed", SECURE_BOOT_ON] {
                ensure!(said.contains(words), "{words}: {said}");
            }
            return ended(lab, (id, node), (&glass, &known), (&wrong, address)).await;
        }
    }
    anyhow::bail!("nobody got in at {addresses:?}: {seen}\n{}", lab.scene().await)
}

/// The host's key was the one that was told; another person's key does not get in; and after the end nobody does.
async fn ended(
    lab: &Lab,
    (id, node): (&str, &str),
    (glass, known): (&GlassView, &Path),
    (wrong, address): (&Path, &str),
) -> anyhow::Result<()> {
    let shown = Command::new("ssh-keygen").arg("-lf").arg(known).output().await?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(glass.host_key.as_ref().is_some_and(|key| shown.contains(key)), "{glass:?}: {shown}");
    let (entered, said) = ssh(wrong, known, address, "id").await?;
    ensure!(!entered && said.contains("Permission denied (publickey)"), "{said}");
    let (code, out, err) = cli(lab, &["host", "break-glass", id, "--end"]).await?;
    ensure!(code == 0, "{out}{err}");
    stands(lab, "over").await?;
    in_order(lab, node, true).await?;
    let open = tokio::net::TcpStream::connect((address, 22));
    ensure!(
        !matches!(tokio::time::timeout(Duration::from_secs(3), open).await, Ok(Ok(_))),
        "SSH still answers"
    );
    let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
    ensure!(host.node.as_deref() == Some(node), "{host:?}");
    lives(lab, id, ("b", "1.2"), DRIVE).await
}

/// Waits until the break-glass is so far.
async fn stands(lab: &Lab, state: &str) -> anyhow::Result<GlassView> {
    lab.wait(&format!("break-glass to be {state}"), LIMIT, |hosts| {
        let glass = hosts.iter().find(|host| host.serial == SERIAL)?.break_glass.clone()?;
        (glass.state == state).then_some(glass)
    })
    .await
}

/// A key pair of OpenSSH's: where the private half is.
async fn pair(lab: &Lab, name: &str) -> anyhow::Result<PathBuf> {
    let path = lab.site().join(name);
    let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
    let made = Command::new("ssh-keygen").args(words).arg(&path).status().await?;
    ensure!(made.success(), "ssh-keygen: {made}");
    Ok(path)
}

/// Where the host's first port was seen on the provisioning LAN.
async fn addresses(lab: &Lab) -> anyhow::Result<Vec<String>> {
    let mac = lab.rack.host(0).spec().boot_mac.to_string();
    let seen = Command::new("ip").args(["-4", "neigh", "show", "dev", "br0"]).output().await?;
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    let own = seen.lines().filter(|line| line.contains(&mac));
    let found: Vec<String> =
        own.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
    ensure!(!found.is_empty(), "{mac} is not among the neighbours: {seen}");
    Ok(found)
}

async fn ssh(key: &Path, known: &Path, address: &str, words: &str) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-i"]).arg(key);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    for option in ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "ConnectTimeout=40"] {
        command.args(["-o", option]);
    }
    let done = command.arg(format!("root@{address}")).arg(words).stdin(Stdio::null()).output().await;
    let done = done.context("running ssh")?;
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    Ok((done.status.success(), said))
}
