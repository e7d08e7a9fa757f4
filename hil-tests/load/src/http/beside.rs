//! One more client, which asks somebody else while the load runs: how long does an API take meanwhile?

use std::time::Duration;

use anyhow::Context as _;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{Beside, Plan, client::Client, now};

/// Between two questions, as a page that shows progress asks.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Asking {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<Vec<f64>>>,
}

/// Asks for `plan.path` until it is ended.
pub(super) fn start(plan: Plan) -> Asking {
    let (stop, mut stopped) = oneshot::channel();
    let plan = Plan { tls: false, bytes: None, attentive: true, ..plan };
    let task = tokio::spawn(async move {
        let mut client = Client::connect(&plan, &None, None).await?;
        let mut took = Vec::new();
        while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            let asked = now();
            client.fetch(&plan, &mut 0).await.context("asking beside the load")?;
            took.push(asked.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(took)
    });
    Asking { stop, task }
}

impl Asking {
    pub(super) async fn end(self) -> anyhow::Result<Beside> {
        // If it has ended by itself, it says why.
        let _ = self.stop.send(());
        let mut took = self.task.await??;
        took.sort_unstable_by(f64::total_cmp);
        let at =
            |share: usize| took.get(took.len().saturating_sub(1) * share / 100).copied().unwrap_or(f64::NAN);
        let answers = u64::try_from(took.len())?;
        Ok(Beside { answers, p50_ms: at(50), p99_ms: at(99), slowest_ms: at(100) })
    }
}
