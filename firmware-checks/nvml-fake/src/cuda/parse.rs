//! PTX text, as much of the language as burn-in's kernels are written in (NVIDIA, PTX ISA 7.0).
//!
//! What is not known is an error, as with the driver: nothing is guessed.

use std::collections::HashMap;

/// The kernels of a text, by name.
pub(super) type Program = HashMap<String, Kernel>;

#[derive(Debug, Clone, Default)]
pub(super) struct Kernel {
    /// Bytes of each parameter.
    pub(super) parameters: Vec<(String, usize)>,
    pub(super) code: Vec<Step>,
    pub(super) registers: usize,
    pub(super) shared_bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The predicate that must be set.
    pub(super) guard: Option<usize>,
    pub(super) act: Act,
}

/// An operand.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    Register(usize),
    Value(u64),
    Special(Special),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Special {
    Thread,
    Threads,
    BlockX,
    BlockY,
    Blocks,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Sum {
    Move,
    Add,
    Subtract,
    Multiply,
    MultiplyAdd,
    Left,
    Right,
    And,
    Xor,
    /// Fused, rounded once.
    Fused32,
    Fused64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    Equal,
    Unequal,
    AtLeast,
}

#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) base: usize,
    pub(super) offset: u64,
    pub(super) shared: bool,
    /// Bytes of each element.
    pub(super) bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Sum {
        sum: Sum,
        wide: bool,
        into: usize,
        from: [From; 3],
    },
    Set {
        test: Test,
        into: usize,
        from: [From; 2],
    },
    Parameter {
        into: usize,
        index: usize,
    },
    Load {
        place: Place,
        into: Vec<usize>,
    },
    Store {
        place: Place,
        from: Vec<usize>,
    },
    AtomicAdd {
        place: Place,
        into: usize,
        from: From,
    },
    Go(usize),
    Barrier,
    /// 16 × 8 sums of 16 products of FP16, by a warp.
    Tensor {
        into: Vec<usize>,
        left: Vec<usize>,
        right: Vec<usize>,
        sums: Vec<usize>,
    },
    End,
}

/// Reads a whole text.
pub(super) fn program(text: &str) -> Result<Program, String> {
    let mut kernels = Program::new();
    let mut parts = text.split(".visible .entry ");
    let head = parts.next().unwrap_or_default();
    if !head.contains(".version") || !head.contains(".target sm_") || !head.contains(".address_size 64") {
        return Err("no head".into());
    }
    for part in parts {
        let (name, rest) = part.split_once('(').ok_or("an entry without parameters")?;
        let (parameters, rest) = rest.split_once(')').ok_or("an entry without parameters")?;
        let (_, body) = rest.split_once('{').ok_or("an entry without a body")?;
        let body = body.trim_end().strip_suffix('}').ok_or("a body without an end")?;
        let mut reader = Reader::default();
        for parameter in parameters.split(',') {
            let (kind, name) = parameter.trim().rsplit_once(' ').ok_or("a parameter without a type")?;
            let bytes = bytes_of(kind.trim_start_matches(".param ."))?;
            reader.kernel.parameters.push((name.to_owned(), bytes));
        }
        kernels.insert(name.trim().to_owned(), reader.body(body).map_err(|why| format!("{name}: {why}"))?);
    }
    Ok(kernels)
}

fn bytes_of(kind: &str) -> Result<usize, String> {
    match kind {
        "u32" | "b32" | "f32" => Ok(4),
        "u64" | "b64" | "f64" => Ok(8),
        other => Err(format!("a type {other}")),
    }
}

#[derive(Default)]
struct Reader {
    kernel: Kernel,
    /// Registers, and their number.
    names: HashMap<String, usize>,
    /// Shared memory, and its address there.
    shared: HashMap<String, u64>,
    labels: HashMap<String, usize>,
    /// Jumps whose label may be further on.
    jumps: Vec<(usize, String)>,
}

impl Reader {
    fn body(mut self, body: &str) -> Result<Kernel, String> {
        for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(label) = line.strip_suffix(':') {
                self.labels.insert(label.to_owned(), self.kernel.code.len());
                continue;
            }
            let line = line.strip_suffix(';').ok_or_else(|| format!("`{line}` does not end"))?;
            self.line(line).map_err(|why| format!("`{line}`: {why}"))?;
        }
        for (step, label) in std::mem::take(&mut self.jumps) {
            let to = *self.labels.get(&label).ok_or_else(|| format!("no label {label}"))?;
            if let Some(step) = self.kernel.code.get_mut(step) {
                step.act = Act::Go(to);
            }
        }
        self.kernel.registers = self.names.len();
        Ok(self.kernel)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix(".reg ") {
            let (_, names) = rest.split_once('%').ok_or("no register")?;
            let (name, count) = names.trim_end_matches('>').split_once('<').ok_or("no count")?;
            for index in 0..count.parse::<usize>().map_err(|_| "no count")? {
                let number = self.names.len();
                self.names.insert(format!("%{name}{index}"), number);
            }
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix(".shared .align 16 .b8 ") {
            let (name, bytes) = rest.trim_end_matches(']').split_once('[').ok_or("no size")?;
            self.shared.insert(name.to_owned(), self.kernel.shared_bytes as u64);
            self.kernel.shared_bytes += bytes.parse::<usize>().map_err(|_| "no size")?;
            return Ok(());
        }
        let (guard, line) = match line.strip_prefix('@') {
            Some(rest) => {
                let (predicate, rest) = rest.split_once(' ').ok_or("no instruction")?;
                (Some(self.register(predicate)?), rest)
            }
            None => (None, line),
        };
        let (name, operands) = line.split_once(' ').unwrap_or((line, ""));
        let operands = split(operands);
        let act = self.act(name, &operands.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.kernel.code.push(Step { guard, act });
        Ok(())
    }

    fn act(&mut self, name: &str, operands: &[&str]) -> Result<Act, String> {
        let parts: Vec<&str> = name.split('.').collect();
        let at = |place: usize| operands.get(place).copied().ok_or("too few operands");
        Ok(match (parts.as_slice(), operands.len()) {
            (["ret"], 0) => Act::End,
            (["bar", "sync"], 1) => Act::Barrier,
            (["bra"], 1) => {
                self.jumps.push((self.kernel.code.len(), at(0)?.to_owned()));
                Act::Go(usize::MAX)
            }
            (["ld", "param", _], 2) => {
                let name = at(1)?.trim_matches(['[', ']']);
                let index = self.kernel.parameters.iter().position(|(known, _)| known == name);
                Act::Parameter { into: self.register(at(0)?)?, index: index.ok_or("no such parameter")? }
            }
            (["ld", space, rest @ ..], 2) => {
                Act::Load { into: self.list(at(0)?, rest)?, place: self.place(at(1)?, space, rest)? }
            }
            (["st", space, rest @ ..], 2) => {
                Act::Store { from: self.list(at(1)?, rest)?, place: self.place(at(0)?, space, rest)? }
            }
            (["atom", "global", "add", kind], 3) => Act::AtomicAdd {
                into: self.register(at(0)?)?,
                place: self.place(at(1)?, "global", &[kind])?,
                from: self.from(at(2)?, kind)?,
            },
            (["setp", test, kind], 3) => {
                let test = match *test {
                    "eq" => Test::Equal,
                    "ne" => Test::Unequal,
                    "ge" => Test::AtLeast,
                    other => return Err(format!("no test {other}")),
                };
                let from = [self.from(at(1)?, kind)?, self.from(at(2)?, kind)?];
                Act::Set { test, into: self.register(at(0)?)?, from }
            }
            (["mma", "sync", "aligned", "m16n8k16", "row", "col", "f32", "f16", "f16", "f32"], 4) => {
                let list = |place, count| self.list(at(place)?, &[count, "b32"]);
                Act::Tensor {
                    into: list(0, "v4")?,
                    left: list(1, "v4")?,
                    right: list(2, "v2")?,
                    sums: list(3, "v4")?,
                }
            }
            (["cvt", "u64", _] | ["cvt", "u32", "u64"], 2) => {
                // Values of 32 bits are kept with zeros above.
                self.sum(Sum::Move, parts.get(1).copied().unwrap_or_default(), operands)?
            }
            _ => self.arithmetic(&parts, operands)?,
        })
    }

    fn arithmetic(&self, parts: &[&str], operands: &[&str]) -> Result<Act, String> {
        let (sum, kind, count) = match *parts {
            ["mov", kind] => (Sum::Move, kind, 2),
            ["add", kind] => (Sum::Add, kind, 3),
            ["sub", kind] => (Sum::Subtract, kind, 3),
            ["mul", "lo", kind] => (Sum::Multiply, kind, 3),
            ["mad", "lo", kind] => (Sum::MultiplyAdd, kind, 4),
            ["shl", kind] => (Sum::Left, kind, 3),
            ["shr", kind] => (Sum::Right, kind, 3),
            ["and", kind] => (Sum::And, kind, 3),
            ["xor", kind] => (Sum::Xor, kind, 3),
            ["fma", "rn", "f32"] => (Sum::Fused32, "f32", 4),
            ["fma", "rn", "f64"] => (Sum::Fused64, "f64", 4),
            _ => return Err("no such instruction".into()),
        };
        if operands.len() != count {
            return Err("another number of operands".into());
        }
        self.sum(sum, kind, operands)
    }

    fn sum(&self, sum: Sum, kind: &str, operands: &[&str]) -> Result<Act, String> {
        let mut from = [From::Value(0); 3];
        for (slot, text) in from.iter_mut().zip(operands.get(1..).unwrap_or_default()) {
            *slot = self.from(text, kind)?;
        }
        let into = self.register(operands.first().ok_or("no target")?)?;
        Ok(Act::Sum { sum, wide: bytes_of(kind)? == 8, into, from })
    }

    fn register(&self, name: &str) -> Result<usize, String> {
        self.names.get(name).copied().ok_or_else(|| format!("no register {name}"))
    }

    /// One register, or as many as `v2` or `v4` says, in braces.
    fn list(&self, text: &str, kind: &[&str]) -> Result<Vec<usize>, String> {
        let count = match kind {
            ["v4", _] => 4,
            ["v2", _] => 2,
            _ => 1,
        };
        let names = text.trim_matches(['{', '}']).split(',').map(str::trim);
        let list = names.map(|name| self.register(name)).collect::<Result<Vec<_>, _>>()?;
        if list.len() == count { Ok(list) } else { Err("another number of registers".into()) }
    }

    fn place(&self, text: &str, space: &str, kind: &[&str]) -> Result<Place, String> {
        let inner = text.trim_matches(['[', ']']);
        let (base, offset) = inner.split_once('+').unwrap_or((inner, "0"));
        let shared = match space {
            "global" => false,
            "shared" => true,
            other => return Err(format!("no space {other}")),
        };
        let offset = offset.parse().map_err(|_| "no offset")?;
        let bytes = bytes_of(kind.last().ok_or("no type")?)?;
        Ok(Place { base: self.register(base)?, offset, shared, bytes })
    }

    fn from(&self, text: &str, kind: &str) -> Result<From, String> {
        if let Some(number) = self.names.get(text) {
            return Ok(From::Register(*number));
        }
        if let Some(address) = self.shared.get(text) {
            return Ok(From::Value(*address));
        }
        let bits = match kind {
            "f32" => text.strip_prefix("0f"),
            "f64" => text.strip_prefix("0d"),
            _ => None,
        };
        let special = match text {
            "%tid.x" => Special::Thread,
            "%ntid.x" => Special::Threads,
            "%ctaid.x" => Special::BlockX,
            "%ctaid.y" => Special::BlockY,
            "%nctaid.x" => Special::Blocks,
            _ => {
                let value = match bits {
                    Some(hex) => u64::from_str_radix(hex, 16).ok(),
                    None => text.parse().ok(),
                };
                return value.map(From::Value).ok_or_else(|| format!("no operand {text}"));
            }
        };
        Ok(From::Special(special))
    }
}

/// Operands between commas; lists in braces stay whole.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut deep) = (vec![String::new()], 0);
    for letter in text.chars() {
        match letter {
            '{' => deep += 1,
            '}' => deep -= 1,
            _ => {}
        }
        match (letter, parts.last_mut()) {
            (',', _) if deep == 0 => parts.push(String::new()),
            (letter, Some(part)) => part.push(letter),
            (_, None) => {}
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}
