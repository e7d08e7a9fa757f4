//! A real TPM behind a line that flips bits: every flow ends, without a panic, and the TPM is as good as before.

mod machine;

use std::io;

use attest_tpm::{Socket, Tpm, Transport};
use attest_wire::templates::Template;
use machine::Machine;

/// Flips one bit of one response, and passes everything else on.
#[derive(Debug)]
struct FlippedBit {
    line: Socket,
    /// Which response, counted from 0.
    response: usize,
    bit: usize,
    seen: usize,
}

impl Transport for FlippedBit {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = self.line.exchange(command)?;
        if self.seen == self.response {
            let at = self.bit / 8 % answer.len();
            if let Some(byte) = answer.get_mut(at) {
                *byte ^= 1 << (self.bit % 8);
            }
        }
        self.seen += 1;
        Ok(answer)
    }
}

#[test]
fn flipped_bits_end_in_errors_or_nothing() {
    let mut machine = Machine::new();
    let mut plain = machine.power_on();
    let ak = plain.create_ak().unwrap();
    let ek = plain.create_ek(Template::EkP256).unwrap();
    drop(plain);

    let mut failures = 0;
    for round in 0..240 {
        // Bits of the header, of handles and lengths, and far behind, each in many responses of the flow.
        let (response, bit) = (round % 12, round * 23 % 640);
        let line = Socket::connect(&machine.path("tpm.sock")).unwrap();
        let mut tpm = Tpm::over(Box::new(FlippedBit { line, response, bit, seen: 0 }));
        let quote = tpm.create_ak().and_then(|ak| tpm.quote(&ak, &[1; 32], &[0, 1, 2, 3, 4, 5, 6, 7, 9, 11]));
        let other = tpm.read_certificates().is_err() | tpm.create_ek(Template::EkP256).is_err();
        failures += usize::from(quote.is_err() || other);
        drop(tpm);
        // A handle that was garbled cannot be flushed: only a restart brings its room back.
        if round % 20 == 19 {
            machine.power_cut();
            drop(machine.power_on());
        }
    }
    assert!(failures > 60, "only {failures} of 240 flips were noticed: are they made at all?");

    machine.power_cut();
    let mut tpm = machine.power_on();
    assert_eq!(tpm.create_ak().unwrap(), ak);
    assert_eq!(tpm.create_ek(Template::EkP256).unwrap(), ek);
}
