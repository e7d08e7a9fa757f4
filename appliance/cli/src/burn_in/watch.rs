//! `scalerforge burn-in watch`: bars for what runs now, a line for what ended; where there is no terminal, lines only.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    process::ExitCode,
    time::Duration,
};

use appliance_api::burn_in::{BurnInTaskView, BurnInView, TaskState, VerdictWord};
use appliance_model::HostId;
use firmware_checks_burn_in::staged::span;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    show::{head, path, reasons, tasks},
    words::{headline, plain, state},
};
use crate::{client::Appliance, host::print, say};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// The same, while there is much left: the view of a long soak has megabytes of curves.
const LOOK_LONG: Duration = Duration::from_secs(10);
/// So much is much, in seconds.
const LONG_SECONDS: u64 = 900;
/// Looks in a row that get no answer: the appliance may be restarted while we watch.
const SILENT_MAX: u32 = 60;
/// Bars at a time: who has more drives than lines sees those that run longest.
const BARS_MAX: usize = 32;

/// Shows a burn-in until it has its verdict.  Ends with 0 if that is a pass.
pub(super) fn watch(id: &HostId, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut view: BurnInView = appliance.get(&path(id))?;
    let mut screen = Screen::new(&view, appliance.json)?;
    let mut silent = 0_u32;
    loop {
        screen.show(&view);
        if let Some(verdict) = &view.verdict {
            screen.end();
            if appliance.json {
                print(&view)?;
            } else {
                say!("{}", headline(&view));
                reasons(&view);
            }
            return Ok(ExitCode::from(u8::from(verdict.word != VerdictWord::Pass)));
        }
        let long = view.seconds_left.is_some_and(|left| left > LONG_SECONDS);
        std::thread::sleep(if long { LOOK_LONG } else { LOOK });
        match appliance.get(&path(id)) {
            Ok(now) => (view, silent) = (now, 0),
            // The burn-in goes on without us, and we go on when the appliance does.
            Err(error) if silent >= SILENT_MAX => return Err(error),
            Err(_) => silent += 1,
        }
    }
}

struct Screen {
    bars: MultiProgress,
    style: ProgressStyle,
    whole: ProgressBar,
    running: BTreeMap<String, ProgressBar>,
    told: BTreeSet<(String, &'static str)>,
    tenths: u16,
    terminal: bool,
    quiet: bool,
}

impl Screen {
    fn new(view: &BurnInView, quiet: bool) -> anyhow::Result<Self> {
        if !quiet {
            head(view);
        }
        // They draw nothing where nobody sees it.
        let bars = MultiProgress::new();
        let whole = bars.add(ProgressBar::new(1000));
        whole.set_style(ProgressStyle::with_template("{prefix:40!} {bar:30} {msg}")?);
        whole.set_prefix("the whole burn-in");
        Ok(Self {
            bars,
            style: ProgressStyle::with_template("  {prefix:38!} {bar:30} {msg}")?,
            whole,
            running: BTreeMap::new(),
            told: BTreeSet::new(),
            tenths: 0,
            terminal: std::io::stderr().is_terminal(),
            quiet,
        })
    }

    fn show(&mut self, view: &BurnInView) {
        for task in tasks(view) {
            self.tell(task);
        }
        // One that began again after a power cut is told of again.
        let open: BTreeSet<&String> =
            tasks(view).filter(|task| task.state == TaskState::Running).map(|task| &task.id).collect();
        self.running.retain(|id, bar| {
            let stays = open.contains(id);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for task in tasks(view).filter(|task| task.state == TaskState::Running) {
            self.bar(task);
        }
        let left = view.seconds_left.map(|left| format!(", {} left", span(left))).unwrap_or_default();
        self.whole.set_position(view.permille.into());
        self.whole.set_message(format!("{} %{left}", view.permille / 10));
        if !self.terminal && view.verdict.is_none() && view.permille / 100 > self.tenths {
            self.tenths = view.permille / 100;
            self.line(&headline(view));
        }
    }

    fn bar(&mut self, task: &BurnInTaskView) {
        if !self.running.contains_key(&task.id) && self.running.len() < BARS_MAX {
            let bar = self.bars.add(ProgressBar::new(1000));
            bar.set_style(self.style.clone());
            bar.set_prefix(plain(&format!("{} {}", task.device, task.work)));
            self.running.insert(task.id.clone(), bar);
        }
        if let Some(bar) = self.running.get(&task.id) {
            bar.set_position(task.permille.into());
            bar.set_message(state(task));
        }
    }

    /// Says once that a task began, where no bar shows it, and once how it ended.
    fn tell(&mut self, task: &BurnInTaskView) {
        let what = match task.state {
            TaskState::Waiting => return,
            TaskState::Running if self.terminal => return,
            TaskState::Running => "begun",
            TaskState::Done | TaskState::Undone => "ended",
        };
        if !self.told.insert((task.id.clone(), what)) {
            return;
        }
        let words =
            if what == "begun" { format!("begun, {}", span(task.seconds.into())) } else { state(task) };
        self.line(&format!("{}: {words}", task.id));
        if what == "ended" {
            for line in task.faults.iter().chain(&task.why) {
                self.line(&format!("    {line}"));
            }
        }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            self.bars.suspend(|| say!("{}", plain(text)));
        }
    }

    fn end(&self) {
        self.running.values().for_each(ProgressBar::finish_and_clear);
        self.whole.finish_and_clear();
    }
}
