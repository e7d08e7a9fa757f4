//! A GPU at work, and what its driver counts and logs meanwhile: before against after, and every second in between.
//!
//! The work is done by a program of its own, which can load NVIDIA's libraries (`firmware-checks/nvml`).  Here its lines
//! become figures.  What no profile could forgive (wrong values, errors that were not corrected, a link below what it
//! can do) is also a fault that names GPU, board and rule.

mod dcgm;
mod log;
mod program;

use std::time::Duration;

use appliance_model::{
    burn_in::{
        gpu::{Counters, Ending, PROGRAM, Products, Wrong},
        staged::{Series, Unit},
    },
    inventory::{GpuLink, NvLink},
};

use self::{
    log::Log,
    program::{Sample, Samples},
};
use super::{
    Findings, Machine,
    curve::{Of, thin},
};
use crate::Watch;

/// Wrong places that are named.
const NAMED_MAX: usize = 8;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Compare,
    Memory,
    Bandwidth,
}

pub(super) fn run(
    verb: Verb,
    uuid: &str,
    time: Duration,
    machine: Machine<'_>,
    watch: Watch<'_>,
) -> Result<Findings, String> {
    let program = machine.root.join(PROGRAM);
    if !program.exists() {
        return Err(format!("no NVIDIA driver on this system: it has no /{PROGRAM}"));
    }
    let mut log = Log::open(machine.root);
    let before = program::counters(&program, uuid)?;
    let mut found = Found { who: who(uuid, &before), found: Findings::of(format!("gpu {uuid}")) };
    let diagnosed = match verb {
        Verb::Compare => dcgm::diagnose(machine.root, before.index, time, watch),
        Verb::Memory | Verb::Bandwidth => dcgm::Diagnosed::default(),
    };
    let left = time.saturating_sub(diagnosed.time).max(Duration::from_secs(1));
    let (samples, ending) = program::work(&program, verb, uuid, left, watch, &mut log)?;
    if watch.stopped() {
        return Err("called off".into());
    }
    let after = program::counters(&program, uuid);
    found.diagnosed(diagnosed);
    let lines = log.as_mut().map(|log| log.about(before.pci.as_deref()));
    found.logged(lines);
    match &after {
        Ok(after) => found.counted(&before, after),
        Err(why) => found.fault("gpu-lost", &format!("after the work the driver tells nothing: {why}")),
    }
    let began = !samples.seen.is_empty();
    found.samples(samples);
    match ending {
        Ok(ending) => found.ended(ending, &before),
        // It did not even begin: that says nothing of the GPU.
        Err((why, 0)) if !began => return Err(why),
        // What was found until then counts; the figures of the work are missing.
        Err((why, wrong)) => {
            found.fault("gpu-work-ended", &format!("{why}; {wrong} values were wrong until then"))
        }
    }
    Ok(found.found)
}

/// For faults: the GPU, and the board that a technician finds.
fn who(uuid: &str, counters: &Counters) -> String {
    let serial =
        counters.serial.as_ref().map_or("serial unknown".into(), |serial| format!("serial {serial}"));
    let place = counters.pci.as_ref().map(|pci| format!(", PCI {pci}")).unwrap_or_default();
    format!("gpu {uuid}, board {serial}{place}")
}

struct Found {
    who: String,
    found: Findings,
}

impl Found {
    fn fault(&mut self, rule: &str, text: &str) {
        self.found.faults.push(format!("{}: {rule}: {text}", self.who));
    }

    fn cover(&mut self, text: &str) {
        self.found.coverage.push(format!("{}: {text}", self.who));
    }

    /// Wrong places, the first of them by name.
    fn wrong(&mut self, rule: &str, what: &str, count: u64, first: &[Wrong]) {
        for wrong in first.iter().take(NAMED_MAX) {
            let Wrong { place, got, expected } = wrong;
            let bits = got ^ expected;
            self.fault(
                rule,
                &format!("{what} {place:#x} is {got:#x}, not {expected:#x}: bits {bits:#x} turned"),
            );
        }
        let more = count.saturating_sub(first.len().min(NAMED_MAX) as u64);
        if more > 0 {
            self.fault(rule, &format!("{more} more are wrong"));
        }
    }

    fn ended(&mut self, ending: Ending, before: &Counters) {
        let rate = Unit::MebibytesPerSecond;
        match ending {
            Ending::Compare { products, left_out } => self.products(&products, &left_out),
            Ending::Memory { bytes, free_bytes, total_bytes, passes, wrong, first, mebibytes_per_second } => {
                self.found.add("gpu-wrong-words", wrong, Unit::Count);
                let walked = u128::from(bytes) * 1000 / u128::from(total_bytes.max(1));
                self.found.add(
                    "gpu-walked",
                    u64::try_from(walked).ok().filter(|_| passes > 0),
                    Unit::Permille,
                );
                self.found.add("gpu-memory-rate", mebibytes_per_second, rate);
                self.wrong("gpu-wrong-words", "the word at byte", wrong, &first);
                self.cover(&format!(
                    "{} MiB of {} MiB of memory, {} MiB of which were free, {passes} times",
                    bytes >> 20,
                    total_bytes >> 20,
                    free_bytes >> 20
                ));
            }
            Ending::Bandwidth { to_gpu, from_gpu, peers, unreached, wrong, first } => {
                self.found.add("host-to-gpu-rate", to_gpu, rate);
                self.found.add("gpu-to-host-rate", from_gpu, rate);
                // Its worst partner: a figure has one value.
                self.found.add("gpu-to-gpu-rate", peers.iter().map(|(_, rate)| *rate).min(), rate);
                self.wrong("gpu-wrong-words", "the word copied to byte", wrong, &first);
                let peers: Vec<String> =
                    peers.iter().map(|(uuid, rate)| format!("{uuid} {rate} MiB/s")).collect();
                let nobody = || "none".to_owned();
                let reached = if peers.is_empty() { nobody() } else { peers.join(", ") };
                let unreached = if unreached.is_empty() { nobody() } else { unreached.join(", ") };
                self.cover(&format!(
                    "copies to the host, and to GPUs: {reached}; not without the host: {unreached}"
                ));
            }
        }
        if before.nvlinks.iter().all(|link| !link.active) {
            self.cover("no NVLink is up");
        }
    }

    fn products(&mut self, products: &[Products], left_out: &[String]) {
        let wrong: u64 = products.iter().map(|product| product.wrong).sum();
        self.found.add("gpu-wrong-values", wrong, Unit::Count);
        for product in products {
            let Products { precision, rows, depth, count, gigaflops, wrong, first } = product;
            // The rate that fleets are compared by is FP32's: every GPU has it.
            let name =
                if precision == "fp32" { "gpu-rate".into() } else { format!("gpu-rate-{}", word(precision)) };
            self.found.add(&name, *gigaflops, Unit::Gigaflops);
            self.wrong("gpu-wrong-values", &format!("{} value", word(precision)), *wrong, first);
            self.cover(&format!(
                "{count} products of {rows} x {depth} x {rows} in {}, each value compared bit for bit",
                word(precision)
            ));
        }
        for why in left_out {
            self.cover(&format!("left out: {why}"));
        }
    }

    /// What the driver counted, after against before.
    fn counted(&mut self, before: &Counters, after: &Counters) {
        let ecc = |counters: &Counters, of: fn(&appliance_model::inventory::ErrorCounts) -> Option<u64>| {
            let ecc = counters.ecc.as_ref();
            [ecc.and_then(|ecc| of(&ecc.volatile)), ecc.and_then(|ecc| of(&ecc.aggregate))]
        };
        let growth = |of| {
            let pairs = ecc(before, of).into_iter().zip(ecc(after, of));
            pairs.filter_map(|(before, after)| grown(before, after)).max()
        };
        let uncorrected = growth(|counts| counts.uncorrected);
        let corrected = growth(|counts| counts.corrected);
        self.found.add("gpu-corrected-grown", corrected, Unit::Count);
        if let Some(count) = corrected.filter(|count| *count > 0) {
            self.cover(&format!("{count} memory errors were corrected meanwhile"));
        }
        self.found.add("gpu-uncorrected-grown", uncorrected, Unit::Count);
        let remapped = grown(replaced(before), replaced(after));
        self.found.add("gpu-remapped-grown", remapped, Unit::Count);
        let replays = |counters: &Counters| counters.link.and_then(|link| link.replays).map(u64::from);
        self.found.add("gpu-replays-grown", grown(replays(before), replays(after)), Unit::Count);
        let links = grown(link_errors(&before.nvlinks), link_errors(&after.nvlinks));
        self.found.add("nvlink-errors-grown", links, Unit::Count);
        for (rule, count, what) in [
            ("gpu-uncorrected-grown", uncorrected, "memory errors were not corrected"),
            ("gpu-remapped-grown", remapped, "rows or pages of memory were replaced"),
            ("nvlink-errors-grown", links, "transmissions over NVLink failed"),
        ] {
            if let Some(count) = count.filter(|count| *count > 0) {
                self.fault(rule, &format!("{count} {what} meanwhile"));
            }
        }
        let failed = |counters: &Counters| counters.remapped_rows.is_some_and(|rows| rows.failure);
        if failed(after) {
            self.fault("gpu-remap-failed", "a bad row of memory found no spare one: replace the board");
        }
        for (link, now) in before.nvlinks.iter().zip(&after.nvlinks) {
            if link.active && !now.active {
                self.fault("nvlink-down", &format!("NVLink {} went down meanwhile", link.link));
            }
        }
        if let Some(first) = after.untold.first().filter(|_| before.untold.is_empty()) {
            self.fault("gpu-lost", &format!("the driver told all before, and does not now: {first}"));
        }
        for why in &after.untold {
            self.cover(&format!("the driver does not tell: {why}"));
        }
    }

    /// What was seen every second.
    fn samples(&mut self, samples: Samples) {
        let Samples { seen, held, celsius_max, watts_max, .. } = samples;
        self.found.add("gpu-temperature-max", celsius_max, Unit::Celsius);
        self.found.add("gpu-power-max", watts_max, Unit::Watts);
        // In the first half it may still wake from idling.
        let later = seen.get(seen.len() / 2..).unwrap_or_default();
        let link = later.iter().filter_map(|one| one.link).min();
        self.found.add("gpu-link", link, Unit::Permille);
        if link.is_some_and(|link| link < 1000) {
            let text = later.iter().find(|one| one.link == link).map(|one| one.link_text.clone());
            self.fault("gpu-link", &format!("under load its link has {}", text.unwrap_or_default()));
        }
        let told: Vec<bool> = seen.iter().filter_map(|one| one.slowed).collect();
        let slowed = told.iter().filter(|slowed| **slowed).count() * 1000;
        self.found.add(
            "gpu-slowed",
            slowed.checked_div(told.len()).map(|permille| permille as u64),
            Unit::Permille,
        );
        if !held.is_empty() {
            let reasons: Vec<String> = held.into_iter().collect();
            self.cover(&format!("its clocks were held down: {}", reasons.join(", ")));
        }
        self.curve("temperature", Unit::Celsius, Of::Highest, &seen, |one| one.celsius);
        self.curve("power", Unit::Watts, Of::Mean, &seen, |one| one.watts);
        self.curve("clock", Unit::Megahertz, Of::Mean, &seen, |one| one.megahertz);
    }

    fn curve(
        &mut self,
        name: &str,
        unit: Unit,
        thinned: Of,
        seen: &[Sample],
        of: impl Fn(&Sample) -> Option<u64>,
    ) {
        let points: Vec<(u32, u64)> = seen.iter().filter_map(|one| Some((one.second, of(one)?))).collect();
        if !points.is_empty() {
            let (device, points) = (self.found.device.clone(), thin(points, thinned));
            self.found.series.push(Series { device, name: name.into(), unit, points });
        }
    }

    /// What the kernel logged; `None` if its log could not be read.
    fn logged(&mut self, lines: Option<log::About>) {
        let Some(log::About { lines, more, lost }) = lines else {
            return self.cover("the kernel's log could not be read: Xids were not looked for");
        };
        if lost {
            return self.cover("the kernel's log ran over: Xids may be missing from it");
        }
        self.found.add("gpu-faults-logged", lines.len() as u64 + more, Unit::Count);
        for xid in lines.iter().take(NAMED_MAX) {
            self.fault("gpu-faults-logged", &format!("Xid {}{}: {}", xid.number, xid.meaning(), xid.text));
        }
    }

    fn diagnosed(&mut self, diagnosed: dcgm::Diagnosed) {
        for text in diagnosed.failed {
            self.fault("dcgm", &text);
        }
        for text in diagnosed.coverage {
            self.cover(&text);
        }
    }
}

/// A precision as the program named it, if it is a word.
fn word(text: &str) -> &str {
    let good = text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if good { text } else { "unknown" }
}

/// `None` where one is missing, or where the counter was reset meanwhile.
fn grown(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    after?.checked_sub(before?)
}

/// Rows and pages that are used no more.
fn replaced(counters: &Counters) -> Option<u64> {
    let rows = counters.remapped_rows.map(|rows| u64::from(rows.correctable) + u64::from(rows.uncorrectable));
    let pages = counters.retired_pages.map(|pages| u64::from(pages.single_bit) + u64::from(pages.double_bit));
    rows.into_iter().chain(pages).reduce(u64::saturating_add)
}

/// Of all links that are up; `None` if one of them tells nothing.
fn link_errors(links: &[NvLink]) -> Option<u64> {
    let each = |link: &NvLink| {
        let counts = [link.replays, link.recoveries, link.flit_errors, link.data_errors];
        counts.into_iter().flatten().reduce(u64::saturating_add)
    };
    // A link that is down now was up before, or never: its counts stand as well, where it has them.
    let told = links
        .iter()
        .filter_map(|link| each(link).map_or(link.active.then_some(None), |count| Some(Some(count))));
    told.sum()
}

/// How much of what GPU and slot can do a link does, in thousandths: lanes, and twice the rate each generation.
fn share(link: &GpuLink) -> Option<u64> {
    let rate = |lanes: u32, generation: u32| u64::from(lanes.min(64)) << generation.min(16);
    let most = rate(link.lanes_max?, link.generation_max?);
    (rate(link.lanes?, link.generation?) * 1000).checked_div(most).map(|share| share.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_measured_against_what_they_can_do() {
        let link = |lanes, generation| GpuLink {
            lanes: Some(lanes),
            generation: Some(generation),
            lanes_max: Some(16),
            generation_max: Some(5),
            replays: None,
        };
        for (lanes, generation, expected) in [(16, 5, 1000), (8, 5, 500), (16, 4, 500), (1, 1, 3)] {
            assert_eq!(share(&link(lanes, generation)), Some(expected));
        }
        assert_eq!(share(&GpuLink::default()), None);
    }

    #[test]
    fn errors_of_links() {
        let link = |active, replays| NvLink { active, replays, ..NvLink::default() };
        for (links, expected) in [
            (vec![], Some(0)),
            (vec![link(true, Some(2)), link(true, Some(3))], Some(5)),
            (vec![link(true, Some(2)), link(false, None)], Some(2)),
            (vec![link(true, Some(2)), link(true, None)], None),
        ] {
            assert_eq!(link_errors(&links), expected);
        }
        assert_eq!(
            (grown(Some(2), Some(5)), grown(Some(5), Some(2)), grown(None, Some(1))),
            (Some(3), None, None)
        );
    }
}
