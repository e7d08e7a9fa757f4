//! The boards a file describes.

use std::{
    env, fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;

/// Names the file.
const VARIABLE: &str = "SCALERFORGE_NVML_FAKE";

/// Far larger than a file of eight boards.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A board and how often it was asked for its errors.
#[derive(Debug)]
pub(crate) struct Board {
    facts: Value,
    nvlink: Value,
    asked: AtomicU64,
}

/// The driver and its boards.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) system: Value,
    pub(crate) boards: Vec<Board>,
}

/// The machine, read at the first call; `None` if there is no file or it makes no sense, as without a driver.
///
/// A second file, named like the first with `.now` behind it, changes boards over time: an object of what is different,
/// by UUID.  It is looked at in each call.
pub(crate) fn machine() -> Option<&'static Machine> {
    static MACHINE: Mutex<Option<(Vec<u8>, &'static Machine)>> = Mutex::new(None);
    let mut kept = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let change = fs::read(now_path()?).unwrap_or_default();
    let old = match *kept {
        Some((ref known, machine)) if *known == change => return Some(machine),
        Some((_, machine)) => Some(machine),
        None => None,
    };
    let machine = load(&change)?;
    for (board, before) in machine.boards.iter().zip(old.map_or(&[][..], |machine| &machine.boards)) {
        board.asked.store(before.asked.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    // Left for ever: callers hold what they were given.  A test changes its boards a few dozen times.
    let machine: &'static Machine = Box::leak(Box::new(machine));
    *kept = Some((change, machine));
    Some(machine)
}

/// Where what is different now is written.
pub(crate) fn now_path() -> Option<PathBuf> {
    let mut path = env::var_os(VARIABLE)?;
    path.push(".now");
    Some(path.into())
}

fn load(change: &[u8]) -> Option<Machine> {
    let path = env::var_os(VARIABLE)?;
    if fs::metadata(&path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let text = fs::read_to_string(&path).ok()?;
    match serde_saphyr::from_str::<Value>(&text) {
        Ok(file) => Some(describe(&file, &serde_json::from_slice(change).unwrap_or_default())),
        Err(error) => {
            eprintln!("nvml-fake: {}: {error}", path.display());
            None
        }
    }
}

fn describe(file: &Value, change: &Value) -> Machine {
    let defaults = file.get("device_defaults").cloned().unwrap_or_default();
    let devices = file.get("devices").and_then(Value::as_array).into_iter().flatten();
    let boards = devices.map(|device| {
        let mut facts = defaults.clone();
        merge(&mut facts, device);
        let uuid = facts.get("uuid").and_then(Value::as_str).unwrap_or_default();
        if let Some(now) = change.get(uuid) {
            merge(&mut facts, now);
        }
        Board { facts, nvlink: file.get("nvlink").cloned().unwrap_or_default(), asked: AtomicU64::new(0) }
    });
    Machine { system: file.get("system").cloned().unwrap_or_default(), boards: boards.collect() }
}

/// Members of `over` replace those of `base`; objects are merged.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

impl Board {
    /// Text at a pointer; `N/A` is what the tools write for "not supported".
    pub(crate) fn text(&self, pointer: &str) -> Option<&str> {
        self.facts.pointer(pointer)?.as_str().filter(|text| *text != "N/A")
    }

    /// All facts.
    pub(crate) fn facts(&self) -> &Value {
        &self.facts
    }

    pub(crate) fn number(&self, pointer: &str) -> Option<u64> {
        self.facts.pointer(pointer)?.as_u64()
    }

    pub(crate) fn small(&self, pointer: &str) -> Option<u32> {
        u32::try_from(self.number(pointer)?).ok()
    }

    /// `true`, or `enabled`.
    pub(crate) fn flag(&self, pointer: &str) -> Option<bool> {
        let value = self.facts.pointer(pointer)?;
        value.as_bool().or_else(|| match value.as_str()? {
            "enabled" => Some(true),
            "disabled" => Some(false),
            _ => None,
        })
    }

    pub(crate) fn list(&self, pointer: &str) -> &[Value] {
        self.facts.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// A number from the section that describes the links of all boards.
    pub(crate) fn nvlink(&self, name: &str) -> Option<u32> {
        u32::try_from(self.nvlink.get(name)?.as_u64()?).ok()
    }

    /// Where the links of a board end: switches in turn.
    pub(crate) fn other_end(&self, link: u32) -> Option<&str> {
        let switches = self.nvlink.get("switches")?.as_array()?;
        let place = usize::try_from(link).ok()?.checked_rem(switches.len())?;
        switches.get(place)?.get("bdf")?.as_str()
    }

    /// Fault: it is lost from this question on.
    pub(crate) fn is_lost(&self) -> bool {
        self.number("/faults/lost_after_questions")
            .is_some_and(|limit| self.asked.load(Ordering::Relaxed) >= limit)
    }

    /// Counts a question for errors and says how often it was asked before.
    pub(crate) fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }
}
