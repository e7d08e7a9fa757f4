//! Compare-workloads, pinned to each logical CPU at once: each round computes by the processor's own instructions and
//! by plain arithmetic, and compares both with an answer that is known from elsewhere.
//!
//! A test gives [`compare`] a workload of its own that miscomputes on one CPU; the workloads of a burn-in have no such
//! switch in them.

use std::{sync::Barrier, thread, time::Duration};

use super::pin;
use crate::Watch;

/// Wrong answers that are kept with their words; the others are counted.
const KEPT_MAX: usize = 4;

/// A computation whose answer is known.
pub trait Workload: Send {
    /// What it is, in a word.
    fn name(&self) -> &'static str;
    /// Computes once on `cpu`, where the calling thread runs; an answer that is wrong comes back in words.
    fn round(&mut self, cpu: u32) -> Result<(), String>;
}

/// Makes the workloads of one CPU.
pub type Make<'a> = &'a (dyn Fn(u32) -> Vec<Box<dyn Workload>> + Sync);

/// What one logical CPU did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Core {
    /// The kernel's number of it.
    pub cpu: u32,
    /// Times that it went through all workloads.
    pub rounds: u64,
    /// Answers that were wrong.
    pub wrong: u64,
    /// The first of them, each with its workload.
    pub first: Vec<String>,
}

/// Works on these CPUs (kernel numbers) for `time`; each does at least one round.
pub fn compare(cpus: &[u32], make: Make<'_>, time: Duration, watch: Watch<'_>) -> Result<Vec<Core>, String> {
    let begin = Barrier::new(cpus.len());
    let clock = watch.start(time);
    let first = cpus.first().copied();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for &cpu in cpus {
            let begin = &begin;
            let work = move || {
                let pinned = pin(cpu);
                // Made here, so that its memory is near the CPU.
                let mut workloads = make(cpu);
                // Everyone waits for everyone, also whoever failed, or the rest would wait for ever.
                begin.wait();
                pinned?;
                let mut core = Core { cpu, ..Core::default() };
                loop {
                    for workload in &mut workloads {
                        if let Err(why) = workload.round(cpu) {
                            core.note(workload.name(), &why);
                        }
                    }
                    core.rounds += 1;
                    if Some(cpu) == first {
                        clock.tell();
                    }
                    if clock.over() {
                        return Ok(core);
                    }
                }
            };
            threads.push(scope.spawn(work));
        }
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a worker ended early".into()))).collect()
    })
}

impl Core {
    fn note(&mut self, name: &str, why: &str) {
        self.wrong += 1;
        if self.first.len() < KEPT_MAX {
            self.first.push(format!("{name}: {why}"));
        }
    }
}
