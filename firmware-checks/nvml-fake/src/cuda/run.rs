//! Runs kernels step by step: each thread until it waits for others, blocks one after the other.

use super::{
    memory::Memory,
    parse::{Act, From, Kernel, Place, Special, Step, Sum, Test},
};

/// Threads that move together.
const WARP: usize = 32;
/// More steps than any honest kernel of a test takes.
const STEPS_MAX: u64 = 4_000_000_000;

/// One launch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) values: &'a [u64],
    pub(super) grid: (u32, u32),
    pub(super) threads: u32,
}

/// Where a thread stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Barrier,
    Tensor,
    End,
}

#[derive(Debug, Clone)]
struct Thread {
    registers: Vec<u64>,
    next: usize,
    stop: Option<Stop>,
}

impl Launch<'_> {
    /// Runs it all; `None` if it touched memory that is not there, or does not end.
    pub(super) fn run(&self, memory: &mut Memory) -> Option<()> {
        let mut steps = 0;
        for y in 0..self.grid.1 {
            for x in 0..self.grid.0 {
                Block {
                    launch: self,
                    x,
                    y,
                    shared: vec![0; self.kernel.shared_bytes],
                    memory,
                    steps: &mut steps,
                }
                .run()?;
            }
        }
        Some(())
    }
}

struct Block<'a> {
    launch: &'a Launch<'a>,
    x: u32,
    y: u32,
    shared: Vec<u8>,
    memory: &'a mut Memory,
    steps: &'a mut u64,
}

impl Block<'_> {
    fn run(&mut self) -> Option<()> {
        let thread = Thread { registers: vec![0; self.launch.kernel.registers], next: 0, stop: None };
        let mut threads = vec![thread; usize::try_from(self.launch.threads).ok()?];
        loop {
            for (index, warp) in threads.chunks_mut(WARP).enumerate() {
                self.warp(index * WARP, warp)?;
            }
            if threads.iter().all(|thread| thread.stop == Some(Stop::End)) {
                return Some(());
            }
            // All wait at the barrier, or are done.
            for thread in threads.iter_mut().filter(|thread| thread.stop == Some(Stop::Barrier)) {
                thread.stop = None;
            }
        }
    }

    /// Until each of its threads waits at the barrier or is done.
    fn warp(&mut self, first: usize, warp: &mut [Thread]) -> Option<()> {
        loop {
            for (index, thread) in warp.iter_mut().enumerate().filter(|(_, thread)| thread.stop.is_none()) {
                thread.stop = Some(self.thread(u64::try_from(first + index).ok()?, thread)?);
            }
            let waits = warp.iter().filter(|thread| thread.stop == Some(Stop::Tensor)).count();
            match waits {
                0 => return Some(()),
                WARP => tensor(self.launch.kernel, warp)?,
                // The instruction wants the whole warp.
                _ => return None,
            }
        }
    }

    fn thread(&mut self, index: u64, thread: &mut Thread) -> Option<Stop> {
        loop {
            *self.steps += 1;
            let Step { guard, act } = self.launch.kernel.code.get(thread.next)?;
            thread.next += 1;
            if *self.steps > STEPS_MAX {
                return None;
            }
            if guard.is_some_and(|predicate| thread.registers.get(predicate) != Some(&1)) {
                continue;
            }
            match act {
                Act::Go(to) => thread.next = *to,
                Act::Barrier => return Some(Stop::Barrier),
                Act::End => return Some(Stop::End),
                Act::Tensor { .. } => {
                    thread.next -= 1;
                    return Some(Stop::Tensor);
                }
                Act::Parameter { into, index } => {
                    *thread.registers.get_mut(*into)? = *self.launch.values.get(*index)?;
                }
                Act::Sum { sum, wide, into, from } => {
                    let [one, two, three] = *from;
                    let value = |from| self.value(from, index, &thread.registers);
                    let result = compute(*sum, value(one)?, value(two)?, value(three)?);
                    *thread.registers.get_mut(*into)? = if *wide { result } else { result & 0xffff_ffff };
                }
                Act::Set { test, into, from: [one, two] } => {
                    let (one, two) = (
                        self.value(*one, index, &thread.registers)?,
                        self.value(*two, index, &thread.registers)?,
                    );
                    let holds = match test {
                        Test::Equal => one == two,
                        Test::Unequal => one != two,
                        Test::AtLeast => one >= two,
                    };
                    *thread.registers.get_mut(*into)? = u64::from(holds);
                }
                Act::Load { place, into } => {
                    for (element, into) in into.iter().enumerate() {
                        *thread.registers.get_mut(*into)? = self.load(place, element, &thread.registers)?;
                    }
                }
                Act::Store { place, from } => {
                    for (element, from) in from.iter().enumerate() {
                        let value = *thread.registers.get(*from)?;
                        self.store(place, element, &thread.registers, value)?;
                    }
                }
                Act::AtomicAdd { place, into, from } => {
                    let old = self.load(place, 0, &thread.registers)?;
                    let more = self.value(*from, index, &thread.registers)?;
                    self.store(place, 0, &thread.registers, old.wrapping_add(more))?;
                    *thread.registers.get_mut(*into)? = old;
                }
            }
        }
    }

    #[inline]
    fn value(&self, from: From, index: u64, registers: &[u64]) -> Option<u64> {
        Some(match from {
            From::Register(number) => *registers.get(number)?,
            From::Value(value) => value,
            From::Special(Special::Thread) => index,
            From::Special(Special::Threads) => self.launch.threads.into(),
            From::Special(Special::BlockX) => self.x.into(),
            From::Special(Special::BlockY) => self.y.into(),
            From::Special(Special::Blocks) => self.launch.grid.0.into(),
        })
    }

    fn load(&self, place: &Place, element: usize, registers: &[u64]) -> Option<u64> {
        let address = address(place, element, registers)?;
        if place.shared {
            let at = usize::try_from(address).ok()?;
            number(self.shared.get(at..at.checked_add(place.bytes)?)?)
        } else {
            number(self.memory.get(address, place.bytes)?)
        }
    }

    fn store(&mut self, place: &Place, element: usize, registers: &[u64], value: u64) -> Option<()> {
        let address = address(place, element, registers)?;
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..place.bytes)?;
        if place.shared {
            let at = usize::try_from(address).ok()?;
            self.shared.get_mut(at..at.checked_add(place.bytes)?)?.copy_from_slice(bytes);
            return Some(());
        }
        self.memory.put(address, bytes)
    }
}

/// Vectors must lie at a multiple of their size, as on a GPU.
fn address(place: &Place, element: usize, registers: &[u64]) -> Option<u64> {
    let begin = registers.get(place.base)?.checked_add(place.offset)?;
    let address = begin.checked_add(u64::try_from(element * place.bytes).ok()?)?;
    address.is_multiple_of(u64::try_from(place.bytes).ok()?).then_some(address)
}

fn number(bytes: &[u8]) -> Option<u64> {
    let mut all = [0; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(all))
}

#[expect(clippy::cast_possible_truncation, reason = "registers of 32 bits are kept in 64")]
fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

#[inline]
fn compute(sum: Sum, one: u64, two: u64, three: u64) -> u64 {
    let places = u32::try_from(two).unwrap_or(u32::MAX);
    match sum {
        Sum::Move => one,
        Sum::Add => one.wrapping_add(two),
        Sum::Subtract => one.wrapping_sub(two),
        Sum::Multiply => one.wrapping_mul(two),
        Sum::MultiplyAdd => one.wrapping_mul(two).wrapping_add(three),
        Sum::Left => one.checked_shl(places).unwrap_or(0),
        Sum::Right => one.checked_shr(places).unwrap_or(0),
        Sum::And => one & two,
        Sum::Xor => one ^ two,
        Sum::Fused32 => u64::from(f32_of(one).mul_add(f32_of(two), f32_of(three)).to_bits()),
        Sum::Fused64 => f64::from_bits(one).mul_add(f64::from_bits(two), f64::from_bits(three)).to_bits(),
    }
}

/// The number that half a register holds: normal ones and zero, which is all that a test has.
fn half(register: u64, upper: bool) -> f32 {
    let bits = if upper { register >> 16 } else { register } & 0xffff;
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, bits & 0x3ff);
    if exponent == 0 {
        return 0.0;
    }
    f32_of(sign << 31 | (exponent + 112) << 23 | fraction << 13)
}

/// One tensor instruction of a warp that waits at it: which lane holds what is in the PTX ISA's figures for
/// `mma.m16n8k16` with FP16.
fn tensor(kernel: &Kernel, warp: &mut [Thread]) -> Option<()> {
    let next = warp.first()?.next;
    if warp.iter().any(|thread| thread.next != next) {
        return None;
    }
    let Act::Tensor { into, left, right, sums } = &kernel.code.get(next)?.act else { return None };
    let (mut a, mut b, mut c) = ([[0.0_f32; 16]; 16], [[0.0_f32; 8]; 16], [[0.0_f32; 8]; 16]);
    for (lane, thread) in warp.iter().enumerate() {
        let (group, member) = (lane / 4, lane % 4);
        let read = |list: &[usize], place: usize| thread.registers.get(*list.get(place)?).copied();
        for element in 0..8 {
            let row = group + if (element / 2) % 2 == 1 { 8 } else { 0 };
            let column = member * 2 + element % 2 + if element >= 4 { 8 } else { 0 };
            *a.get_mut(row)?.get_mut(column)? = half(read(left, element / 2)?, element % 2 == 1);
        }
        for element in 0..4 {
            let row = member * 2 + element % 2 + if element >= 2 { 8 } else { 0 };
            *b.get_mut(row)?.get_mut(group)? = half(read(right, element / 2)?, element % 2 == 1);
            let (row, column) = (group + if element >= 2 { 8 } else { 0 }, member * 2 + element % 2);
            *c.get_mut(row)?.get_mut(column)? = f32_of(read(sums, element)?);
        }
    }
    for (row, sums) in a.iter().zip(c.iter_mut()) {
        for (left, right) in row.iter().zip(&b) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    for (lane, thread) in warp.iter_mut().enumerate() {
        for element in 0..4 {
            let (row, column) = (lane / 4 + if element >= 2 { 8 } else { 0 }, lane % 4 * 2 + element % 2);
            let value = c.get(row)?.get(column)?.to_bits();
            *thread.registers.get_mut(*into.get(element)?)? = value.into();
        }
        (thread.next, thread.stop) = (next + 1, None);
    }
    Some(())
}
