//! The GPUs as their driver has them, and what goes wrong with them.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    memory::Memory,
    parse::{Kernel, Program},
    run::Launch,
};
use crate::boards::{Board, machine, merge, now_path};

pub(super) type Code = i32;
pub(super) const INVALID_VALUE: Code = 1;
pub(super) const OUT_OF_MEMORY: Code = 2;
pub(super) const NO_DEVICE: Code = 100;
pub(super) const INVALID_DEVICE: Code = 101;
pub(super) const INVALID_PTX: Code = 218;
pub(super) const INVALID_CONTEXT: Code = 201;
pub(super) const INVALID_HANDLE: Code = 400;
pub(super) const NOT_FOUND: Code = 500;
pub(super) const ILLEGAL_ADDRESS: Code = 700;
pub(super) const LAUNCH_FAILED: Code = 719;

/// All GPUs of the process.
#[derive(Debug, Default)]
pub(super) struct Driver {
    pub(super) gpus: Vec<Gpu>,
    pub(super) programs: Vec<Program>,
    /// Kernels that were looked up: program and name.
    pub(super) kernels: Vec<(usize, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Gpu {
    pub(super) memory: Memory,
    /// It has had work.
    awake: bool,
    launches: u64,
    /// Launches by kernel.
    by_kernel: BTreeMap<String, u64>,
    waits: u64,
    copies: u64,
}

pub(super) fn driver() -> MutexGuard<'static, Driver> {
    static DRIVER: Mutex<Driver> =
        Mutex::new(Driver { gpus: Vec::new(), programs: Vec::new(), kernels: Vec::new() });
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    let boards = machine().map_or(0, |machine| machine.boards.len());
    while driver.gpus.len() < boards {
        let stuck = board(driver.gpus.len()).and_then(|board| {
            let bit = board.small("/cuda/stuck_bit/bit")?;
            Some((board.number("/cuda/stuck_bit/byte")?, 1_u8.checked_shl(bit)?))
        });
        driver.gpus.push(Gpu { memory: Memory::new(stuck), ..Gpu::default() });
    }
    driver
}

pub(super) fn board(place: usize) -> Option<&'static Board> {
    machine()?.boards.get(place)
}

impl Gpu {
    /// The first work shows.
    fn wake(&mut self, board: &Board) {
        if !std::mem::replace(&mut self.awake, true) {
            show(board, 0);
            log(board);
        }
    }
}

impl Driver {
    /// Bytes from the host.
    pub(super) fn bring(&mut self, place: usize, to: u64, bytes: &[u8]) -> Result<(), Code> {
        let board = board(place).ok_or(INVALID_DEVICE)?;
        let gpu = self.gpus.get_mut(place).ok_or(INVALID_DEVICE)?;
        gpu.wake(board);
        gpu.memory.put(to, bytes).ok_or(INVALID_VALUE)
    }

    /// The kernel with this handle.
    pub(super) fn kernel(&self, handle: usize) -> Option<(String, Kernel)> {
        let (program, name) = self.kernels.get(handle.checked_sub(1)?)?;
        Some((name.clone(), self.programs.get(*program)?.get(name)?.clone()))
    }

    /// Runs a kernel to its end.
    pub(super) fn launch(&mut self, place: usize, name: &str, launch: Launch<'_>) -> Result<(), Code> {
        let board = board(place).ok_or(INVALID_DEVICE)?;
        let gpu = self.gpus.get_mut(place).ok_or(INVALID_DEVICE)?;
        gpu.launches += 1;
        gpu.wake(board);
        let after = |fault: &str| board.number(fault).is_some_and(|limit| gpu.launches > limit);
        if after("/cuda/fails_after_launches") {
            return Err(LAUNCH_FAILED);
        }
        while after("/cuda/hangs_after_launches") {
            std::thread::sleep(Duration::from_secs(3600));
        }
        let count = gpu.by_kernel.entry(name.to_owned()).or_default();
        *count += 1;
        let same = board.text("/cuda/wrong_value/kernel") == Some(name);
        gpu.memory.turn = same && board.number("/cuda/wrong_value/launch") == Some(*count);
        launch.run(&mut gpu.memory).ok_or(ILLEGAL_ADDRESS)
    }

    /// Somebody waits for it.
    pub(super) fn wait(&mut self, place: usize) -> Result<(), Code> {
        let board = board(place).ok_or(INVALID_DEVICE)?;
        let gpu = self.gpus.get_mut(place).ok_or(INVALID_DEVICE)?;
        gpu.waits += 1;
        if board.facts().pointer("/cuda/rising").is_some() {
            show(board, gpu.waits);
        }
        Ok(())
    }

    /// Bytes for the host, perhaps not the right ones.
    pub(super) fn fetch(&mut self, place: usize, at: u64, bytes: usize) -> Result<Vec<u8>, Code> {
        let gpu = self.gpus.get_mut(place).ok_or(INVALID_DEVICE)?;
        let mut copy = gpu.memory.get(at, bytes).ok_or(INVALID_VALUE)?.to_vec();
        gpu.copies += 1;
        let wrong = board(place).and_then(|board| board.number("/cuda/wrong_copy"));
        // Small copies are not what a test means by a copy.
        if let Some(byte) = copy.get_mut(5000).filter(|_| wrong.is_some_and(|from| gpu.copies >= from)) {
            *byte ^= 0x10;
        }
        Ok(copy)
    }
}

/// Writes what the management library shows from now on.
fn show(board: &Board, waits: u64) {
    let mut change = board.facts().pointer("/cuda/under_load").cloned().unwrap_or(json!({}));
    for (pointer, step) in
        board.facts().pointer("/cuda/rising").and_then(Value::as_object).into_iter().flatten()
    {
        // `/a/b` becomes an object in an object.
        let value = json!(step.as_u64().unwrap_or(0) * waits);
        let nested = pointer
            .split('/')
            .rev()
            .filter(|name| !name.is_empty())
            .fold(value, |inner, name| json!({ name: inner }));
        merge(&mut change, &nested);
    }
    let (Some(path), Some(uuid)) = (now_path(), board.text("/uuid")) else { return };
    let mut all: Value =
        fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(json!({}));
    merge(&mut all, &json!({ uuid: change }));
    let mut new = path.clone().into_os_string();
    new.push(format!(".{}", std::process::id()));
    if fs::write(&new, all.to_string()).and_then(|()| fs::rename(&new, &path)).is_err() {
        eprintln!("nvml-fake: {} could not be written", path.display());
    }
}

/// Appends to the kernel's log.
fn log(board: &Board) {
    let Some(path) = board.text("/cuda/kernel_log/file") else { return };
    let Ok(mut file) = fs::OpenOptions::new().append(true).open(path) else { return };
    for line in board.list("/cuda/kernel_log/lines").iter().filter_map(Value::as_str) {
        let _ = writeln!(file, "{line}");
    }
}
