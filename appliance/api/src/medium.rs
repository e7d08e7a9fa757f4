//! What the appliance writes on a boot medium for one boot: the ticket, and where to call.
//!
//! It stands in the field "application use" of the ISO 9660 primary volume descriptor (ECMA-119, 8.4.32), which is
//! there for such things, so that one image serves all machines and nothing that is measured changes.  Nobody signs
//! it: the ticket names a boot, and the agent still trusts only the CA inside its image.

use appliance_model::Ticket;

/// Volume identifier of our media.
pub const VOLUME: &str = "SCALERFORGE";
/// Where the descriptor starts: the sixteenth sector of 2,048 bytes.
pub const DESCRIPTOR_AT: u64 = 16 * 2048;
/// Size of the descriptor, bytes.
pub const DESCRIPTOR_BYTES: usize = 2048;
/// Where the note starts in the descriptor, and its size.
const NOTE_AT: usize = 883;
const NOTE_BYTES: usize = 512;
/// The first line of a note.
const MAGIC: &str = "scalerforge-boot 1";

/// What is written for one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The boot ticket.
    pub ticket: Ticket,
    /// Where agents call, `https://10.77.0.1:8443`.
    pub api: String,
}

/// A note does not fit, or the bytes are no descriptor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The descriptor is not one of an ISO 9660 volume called [`VOLUME`].
    #[error("this is no boot medium of ours: no ISO 9660 volume {VOLUME}; build the image anew")]
    NotOurs,
    /// The API's address is too long or has odd characters.
    #[error("the agents' address must be an https address of at most 400 plain characters")]
    Address,
}

impl Note {
    /// Writes the note into a descriptor.
    ///
    /// # Errors
    /// When it does not fit, or the descriptor is not ours.
    pub fn write(&self, descriptor: &mut [u8]) -> Result<(), NoteError> {
        if !plain(&self.api) {
            return Err(NoteError::Address);
        }
        let field = field(descriptor).ok_or(NoteError::NotOurs)?;
        let text = format!("{MAGIC}\nticket={}\napi={}\n", self.ticket, self.api);
        field.fill(0);
        field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// Reads the note of a descriptor; `None` where it is no medium of ours, or nothing was written for this boot.
    #[must_use]
    pub fn read(descriptor: &[u8]) -> Option<Self> {
        let mut copy = descriptor.get(..DESCRIPTOR_BYTES)?.to_vec();
        let field = field(&mut copy)?;
        let text = field.split(|byte| *byte == 0).next()?;
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let ticket = lines.next()?.strip_prefix("ticket=")?.parse().ok()?;
        let api = lines.next()?.strip_prefix("api=").filter(|api| plain(api))?.to_owned();
        lines.next().is_none().then_some(Self { ticket, api })
    }
}

fn plain(api: &str) -> bool {
    api.len() <= 400 && api.starts_with("https://") && api.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The field of a descriptor that is ours.
fn field(descriptor: &mut [u8]) -> Option<&mut [u8]> {
    let volume = descriptor.get(40..72)?;
    let ours = descriptor.get(..6)? == b"\x01CD001" && volume.trim_ascii_end() == VOLUME.as_bytes();
    descriptor.get_mut(NOTE_AT..NOTE_AT + NOTE_BYTES).filter(|_| ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank() -> Vec<u8> {
        let mut descriptor = vec![0; DESCRIPTOR_BYTES];
        descriptor[..7].copy_from_slice(b"\x01CD001\x01");
        descriptor[40..72].fill(b' ');
        descriptor[40..51].copy_from_slice(VOLUME.as_bytes());
        descriptor
    }

    #[test]
    fn what_is_written_is_read() {
        let note = Note { ticket: Ticket([7; 16]), api: "https://10.77.0.1:8443".into() };
        let mut descriptor = blank();
        assert_eq!(Note::read(&descriptor), None, "nothing written yet");
        note.write(&mut descriptor).unwrap();
        assert_eq!(Note::read(&descriptor), Some(note.clone()));
        // A shorter note leaves nothing of the longer one.
        let short = Note { api: "https://a".into(), ..note };
        short.write(&mut descriptor).unwrap();
        assert_eq!(Note::read(&descriptor), Some(short));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let note = |api: &str| Note { ticket: Ticket([7; 16]), api: api.into() };
        assert_eq!(note("https://a").write(&mut vec![0; 2048]), Err(NoteError::NotOurs));
        for api in ["http://a", "https://a b", &format!("https://{}", "a".repeat(400))] {
            assert_eq!(note(api).write(&mut blank()), Err(NoteError::Address), "{api}");
        }
        let mut odd = blank();
        for text in ["scalerforge-boot 2\n", "scalerforge-boot 1\nticket=zz\napi=https://a\n", "\u{ff}"] {
            odd[NOTE_AT..NOTE_AT + NOTE_BYTES].fill(0);
            odd[NOTE_AT..NOTE_AT + text.len()].copy_from_slice(text.as_bytes());
            assert_eq!(Note::read(&odd), None, "{text}");
        }
        assert_eq!(Note::read(&[]), None);
    }
}
