//! `scalerforge serve`: runs the appliance until SIGINT or SIGTERM.

mod memory;

use std::{net::TcpListener, os::fd::AsFd as _, path::Path, process::ExitCode};

use anyhow::Context as _;

pub(crate) fn run(site: &Path, operator_on_stdin: bool) -> anyhow::Result<ExitCode> {
    let inherited = inherited(operator_on_stdin)?;
    start_log();
    memory::give_back_large_blocks();
    appliance_backup::settle(site)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting")?;
    runtime.block_on(async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let stop = async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
        };
        appliance_server::serve(site, inherited, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// The operator's listener, when whoever started us opened it and made it our standard input.
fn inherited(from_stdin: bool) -> anyhow::Result<Option<TcpListener>> {
    if !from_stdin {
        return Ok(None);
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("taking over standard input")?;
    Ok(Some(TcpListener::from(socket)))
}
