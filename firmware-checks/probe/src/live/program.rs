//! Other people's programs, run for their output: bounded in time and in bytes.

use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use thiserror::Error;

/// Why a program gave no output.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("{program} could not be started")]
    Start {
        /// The program.
        program: String,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// It did not end.
    #[error("{program} said nothing for {seconds} s and was ended")]
    Slow {
        /// The program.
        program: String,
        /// How long it had, in seconds.
        seconds: u64,
    },
}

/// What `program` prints.  Its exit status is the caller's to find in there: the programs run here say it themselves.
pub(crate) fn output(
    program: &Path,
    arguments: &[&str],
    bytes_max: usize,
    wait: Duration,
) -> Result<Vec<u8>, ProgramError> {
    let name = program.display().to_string();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| ProgramError::Start { program: name.clone(), source })?;
    let stdout = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stdout) = stdout {
            // One byte more than allowed, so that the reader sees that it was cut.
            let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
            let _ = stdout.take(limit).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    let told = receiver.recv_timeout(wait);
    // A program that waits for a dead drive cannot even be killed: it is left to a thread that waits with it.
    let _ = child.kill();
    thread::spawn(move || child.wait());
    told.map_err(|_| ProgramError::Slow { program: name, seconds: wait.as_secs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded() {
        let run = |script: &str, wait| output(Path::new("/bin/sh"), &["-c", script], 4, wait);
        let long = Duration::from_secs(60);
        assert_eq!(run("printf abc", long).unwrap(), b"abc");
        assert_eq!(run("printf abcdefgh; exit 64", long).unwrap(), b"abcde");
        assert!(matches!(run("sleep 60", Duration::from_millis(20)).unwrap_err(), ProgramError::Slow { .. }));
        let nothing = output(Path::new("/nonexistent"), &[], 1, long);
        assert!(matches!(nothing.unwrap_err(), ProgramError::Start { .. }));
    }
}
