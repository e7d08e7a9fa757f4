//! Held in the discovery image for a person, and let go.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::Lab;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use crate::{
    LIMIT, SERIAL,
    drive::SPARE,
    said::{cli, lives},
};

/// A person holds it, and the appliance dies between that word and the restart: it makes up for it.  The menu is reached
/// by serial-over-LAN; let go, the server is back in its own system.
pub(crate) async fn rescued(lab: &mut Lab, id: &str) -> anyhow::Result<()> {
    let words = format!("rescue {id}");
    let (code, _, err) = cli(lab, &["host", "rescue", id, "--permit", "rescue"]).await?;
    ensure!(code != 0 && err.contains("Nothing was done"), "{err}");
    let mut hold = Command::new(lab.scalerforge())
        .args(["host", "rescue", id, "--permit", &words])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    lab.wait_log(&["a person holds this host"], LIMIT).await?;
    lab.kill_appliance().await?;
    // What it is told when the appliance dies under it is nobody's business.
    hold.wait().await?;
    lab.start_appliance()?;
    lab.wait_log(&["restarted for a rescue", "ended=false"], LIMIT).await?;
    lab.rack.host(0).wait_console("lets it go; Enter shows what can be asked here", LIMIT).await?;
    menu(
        lab,
        &[("1", "  10.77.0."), ("2", "holds this machine"), ("sh", "restart the machine: whatever it does")],
    )
    .await?;
    let (_, out, err) = cli(lab, &["host", "rescue", id]).await?;
    ensure!(out.contains("its agent has come"), "{out}{err}");

    let (code, out, err) = cli(lab, &["host", "rescue", id, "--end"]).await?;
    ensure!(code == 0 && out.contains("it is free"), "{out}{err}\n{}", lab.scene().await);
    for words in ["knows this machine as", "quoting for registration"] {
        lab.rack.host(0).wait_console(words, LIMIT).await?;
    }
    lives(lab, id, ("a", "1.2"), SPARE).await?;
    lab.wait_stage(SERIAL, "registered", LIMIT).await.map(drop)
}

/// What a person types over the management controller, and what comes back.
async fn menu(lab: &Lab, lines: &[(&str, &str)]) -> anyhow::Result<()> {
    let host = lab.rack.host(0);
    let address = host.bmc_url().trim_start_matches("https://").to_owned();
    let mut console = Command::new(lab.scalerforge())
        .args(["ipmi", "console", &address, "--user", host.bmc_user(), "--password-file"])
        .arg(lab.site().join("bmc-0.password"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut keys = console.stdin.take().context("no keys")?;
    let mut screen = BufReader::new(console.stdout.take().context("no screen")?).lines();
    for (typed, expected) in lines {
        keys.write_all(format!("{typed}\r").as_bytes()).await?;
        let shown = async {
            while let Some(line) = screen.next_line().await? {
                if line.contains(expected) {
                    return Ok(());
                }
            }
            anyhow::bail!("the console ended before `{expected}`")
        };
        tokio::time::timeout(LIMIT, shown).await.with_context(|| format!("{typed}: no `{expected}`"))??;
    }
    keys.write_all(b"\r~.").await?;
    console.wait().await?;
    Ok(())
}
