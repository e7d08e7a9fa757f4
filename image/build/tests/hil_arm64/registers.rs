//! A TPM at its registers (TCG PC Client Platform TPM Profile 1.05, 6.5: the FIFO interface), reached through QEMU's
//! `qtest` socket while the machine runs: one line is one access to physical memory.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Where QEMU's `virt` machine puts the first device of its platform bus.
const TPM_AT: u64 = 0x0c00_0000;
const ACCESS: u64 = TPM_AT;
const STATUS: u64 = TPM_AT + 0x18;
const FIFO: u64 = TPM_AT + 0x24;
const REQUEST_USE: u8 = 0x02;
const ACTIVE_LOCALITY: u8 = 0x20;
const COMMAND_READY: u8 = 0x40;
const GO: u8 = 0x20;
const DATA_AVAILABLE: u8 = 0x10;
const VALID: u8 = 0x80;
/// A software TPM answers within milliseconds; each look at a register takes one as well.
const LOOKS_MAX: usize = 20_000;

/// The TPM of a running machine.
pub(crate) struct Registers {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Registers {
    pub(crate) fn open(socket: &Path) -> Registers {
        let writer = UnixStream::connect(socket).unwrap();
        Registers { reader: BufReader::new(writer.try_clone().unwrap()), writer }
    }

    /// The SHA-256 value of a PCR (`TPM2_PCR_Read`).
    pub(crate) fn pcr(&mut self, pcr: u8) -> Vec<u8> {
        let mut command = vec![0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 0];
        command[17 + usize::from(pcr / 8)] = 1 << (pcr % 8);
        let answer = self.run(&command);
        assert_eq!(answer[6..10], [0; 4], "TPM2_PCR_Read: {answer:02x?}");
        // Header, update counter, the selection that was read, a list of one, its size.
        let (size, value) = answer[10 + 4 + 10 + 4..].split_at(2);
        assert_eq!((size, value.len()), (&[0, 32][..], 32), "{answer:02x?}");
        value.to_vec()
    }

    fn run(&mut self, command: &[u8]) -> Vec<u8> {
        self.write(ACCESS, REQUEST_USE);
        self.wait(ACCESS, ACTIVE_LOCALITY);
        self.write(STATUS, COMMAND_READY);
        self.wait(STATUS, COMMAND_READY);
        for byte in command {
            self.write(FIFO, *byte);
        }
        self.write(STATUS, GO);
        let mut answer = Vec::new();
        let mut wanted = 10;
        while answer.len() < wanted {
            self.wait(STATUS, DATA_AVAILABLE | VALID);
            answer.push(self.read(FIFO));
            if answer.len() == 6 {
                wanted = usize::try_from(u32::from_be_bytes(answer[2..6].try_into().unwrap())).unwrap();
            }
        }
        self.write(STATUS, COMMAND_READY);
        answer
    }

    fn wait(&mut self, register: u64, bits: u8) {
        let there = (0..LOOKS_MAX).any(|_| self.read(register) & bits == bits);
        assert!(there, "the TPM's register {register:#x} never had {bits:#x}");
    }

    fn read(&mut self, at: u64) -> u8 {
        let answer = self.line(&format!("readb {at:#x}"));
        let value = answer.strip_prefix("OK 0x").unwrap_or_else(|| panic!("readb {at:#x}: {answer}"));
        u8::try_from(u64::from_str_radix(value, 16).unwrap()).unwrap()
    }

    fn write(&mut self, at: u64, value: u8) {
        assert_eq!(self.line(&format!("writeb {at:#x} {value:#x}")), "OK");
    }

    fn line(&mut self, command: &str) -> String {
        writeln!(self.writer, "{command}").unwrap();
        let mut answer = String::new();
        self.reader.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}
