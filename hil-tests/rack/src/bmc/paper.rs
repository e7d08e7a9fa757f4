//! A server of paper: it has power, a boot override and a serial line, and nothing runs on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{broadcast, mpsc};

use super::power::{Medium, Outcome, ResetType, SecureBootKeys, SerialLine, Server};
use crate::boot::BootSetting;
use crate::spec::HostSpec;

/// What the serial line says when power comes.
const GREETING: &[u8] = b"\r\nLab server POST\r\nlab login: ";

/// Lines the serial output may be behind.
const SERIAL_BEHIND_MAX: usize = 64;

/// A server without a machine.
#[derive(Debug)]
pub(crate) struct Paper {
    spec: HostSpec,
    boot: BootSetting,
    on: AtomicBool,
    serial: broadcast::Sender<Vec<u8>>,
}

impl Paper {
    pub(crate) fn new(spec: HostSpec, on: bool) -> Self {
        let serial = broadcast::Sender::new(SERIAL_BEHIND_MAX);
        Self { spec, boot: BootSetting::default(), on: AtomicBool::new(on), serial }
    }

    fn say(&self, bytes: &[u8]) {
        // Nobody may be listening.
        drop(self.serial.send(bytes.to_vec()));
    }
}

impl Server for Paper {
    fn spec(&self) -> &HostSpec {
        &self.spec
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    fn boot(&self) -> &BootSetting {
        &self.boot
    }

    fn command(self: Arc<Self>, reset: ResetType) -> Outcome<'static> {
        Box::pin(async move {
            let on = match reset {
                ResetType::On if self.is_on() => return Ok(()),
                ResetType::Nmi => return Ok(()),
                ResetType::On
                | ResetType::ForceRestart
                | ResetType::GracefulRestart
                | ResetType::PowerCycle => true,
                ResetType::ForceOff | ResetType::GracefulShutdown => false,
            };
            if on {
                self.boot.consume();
                self.say(GREETING);
            }
            self.on.store(on, Ordering::SeqCst);
            Ok(())
        })
    }

    fn media(self: Arc<Self>, _slot: String, _medium: Option<Medium>) -> Outcome<'static> {
        Box::pin(async { Ok(()) })
    }

    fn secure_boot(&self, _keys: SecureBootKeys) {}

    fn serial(&self) -> Option<SerialLine> {
        let (input, mut typed) = mpsc::channel::<Vec<u8>>(16);
        let echo = self.serial.clone();
        tokio::spawn(async move {
            // A getty that echoes and asks again.
            while let Some(bytes) = typed.recv().await {
                let mut text = Vec::new();
                for byte in bytes {
                    match byte {
                        b'\r' | b'\n' => text.extend_from_slice(b"\r\nlab login: "),
                        byte => text.push(byte),
                    }
                }
                drop(echo.send(text));
            }
        });
        let output = self.serial.subscribe();
        if self.is_on() {
            self.say(b"\r\nlab login: ");
        }
        Some(SerialLine { output, input })
    }

    fn folder(&self) -> Option<PathBuf> {
        None
    }
}
