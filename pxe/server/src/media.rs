//! Boot media for controllers that attach them as a CD: for each planted ticket a copy of the site's medium with the
//! ticket and the agents' address written on it.
//!
//! Copies lie in the state directory, so that a controller goes on reading after a restart, and are removed when their
//! ticket is.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use appliance_api::medium::{DESCRIPTOR_AT, DESCRIPTOR_BYTES, Note, NoteError};
use appliance_model::Ticket;

/// Why there is no medium for a boot.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// The site has none, or no address for agents.
    #[error(
        "this site has no boot medium: name it in image.medium (`scalerforge image build` writes discovery.iso) and set pxe.api_url"
    )]
    None,
    /// It cannot be read or copied.
    #[error("cannot {doing} {path}")]
    File {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The site's medium is not one that we built.
    #[error("cannot write the ticket on {path}")]
    Note {
        /// The medium.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: NoteError,
    },
    /// The copy cannot be served.
    #[error("cannot serve {path}")]
    Content {
        /// The copy.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pxe_http::ContentError,
    },
}

/// The site's medium and its copies.
#[derive(Debug)]
pub(crate) struct Media {
    template: Option<PathBuf>,
    api: Option<String>,
    folder: PathBuf,
    open: Mutex<BTreeMap<Ticket, Arc<pxe_http::Content>>>,
}

impl Media {
    pub(crate) fn new(template: Option<&Path>, api: Option<&str>, state: &Path) -> Self {
        Self {
            template: template.map(Path::to_owned),
            api: api.map(str::to_owned),
            folder: state.join("media"),
            open: Mutex::default(),
        }
    }

    /// Whether a medium could be made.
    pub(crate) fn possible(&self) -> Result<(), MediumError> {
        self.template.as_ref().zip(self.api.as_ref()).map(drop).ok_or(MediumError::None)
    }

    fn path(&self, ticket: Ticket) -> PathBuf {
        self.folder.join(format!("{ticket}.iso"))
    }

    /// Writes the copy for `ticket`, unless it is there.  Copies whose ticket `keeps` no longer knows are removed.  Takes
    /// as long as copying the medium does.
    pub(crate) fn write(&self, ticket: Ticket, keeps: impl Fn(Ticket) -> bool) -> Result<(), MediumError> {
        let (Some(template), Some(api)) = (&self.template, &self.api) else { return Err(MediumError::None) };
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| MediumError::File { doing, path, source }
        };
        fs::create_dir_all(&self.folder).map_err(failed("create", &self.folder))?;
        self.sweep(keeps);
        let path = self.path(ticket);
        if self.get(ticket).is_some() {
            return Ok(());
        }
        let part = path.with_extension("part");
        fs::copy(template, &part).map_err(failed("copy the boot medium to", &part))?;
        let file = fs::File::options().read(true).write(true).open(&part).map_err(failed("open", &part))?;
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        file.read_exact_at(&mut descriptor, DESCRIPTOR_AT).map_err(failed("read", template))?;
        let note = Note { ticket, api: api.clone() };
        note.write(&mut descriptor).map_err(|source| MediumError::Note { path: template.clone(), source })?;
        file.write_all_at(&descriptor, DESCRIPTOR_AT).map_err(failed("write", &part))?;
        file.sync_all().map_err(failed("write", &part))?;
        fs::rename(&part, &path).map_err(failed("rename", &part))?;
        self.load(ticket).map(drop)
    }

    /// The medium of `ticket`, if there is one.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<Arc<pxe_http::Content>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&ticket).cloned();
        open.or_else(|| self.path(ticket).exists().then(|| self.load(ticket).ok()).flatten())
    }

    fn load(&self, ticket: Ticket) -> Result<Arc<pxe_http::Content>, MediumError> {
        let path = self.path(ticket);
        let content = pxe_http::Content::file(&path);
        let content = Arc::new(content.map_err(|source| MediumError::Content { path, source })?);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, Arc::clone(&content));
        Ok(content)
    }

    fn sweep(&self, keeps: impl Fn(Ticket) -> bool) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let ticket = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let whole = path.extension().is_some_and(|extension| extension == "iso");
            if !ticket.is_some_and(|ticket| whole && keeps(ticket)) {
                // What cannot be removed now is tried again with the next medium.
                let _ = fs::remove_file(&path);
            }
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|ticket, _| keeps(*ticket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Ticket = Ticket([1; 16]);
    const T2: Ticket = Ticket([2; 16]);

    fn template(dir: &Path) -> PathBuf {
        let mut disc = vec![0; 40 * 2048];
        let at = usize::try_from(DESCRIPTOR_AT).unwrap();
        disc[at..at + 7].copy_from_slice(b"\x01CD001\x01");
        disc[at + 40..at + 72].copy_from_slice(b"SCALERFORGE                     ");
        let path = dir.join("discovery.iso");
        fs::write(&path, disc).unwrap();
        path
    }

    fn note(media: &Media, ticket: Ticket) -> Option<Note> {
        let bytes = fs::read(media.path(ticket)).ok()?;
        Note::read(bytes.get(usize::try_from(DESCRIPTOR_AT).ok()?..)?)
    }

    #[test]
    fn each_boot_has_its_own_medium_until_its_ticket_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let template = template(dir.path());
        let api = "https://10.77.0.1:8443";
        let media = Media::new(Some(&template), Some(api), dir.path());
        media.write(T1, |ticket| ticket == T1).unwrap();
        assert_eq!(note(&media, T1), Some(Note { ticket: T1, api: api.into() }));
        // After a restart it is still there.
        let again = Media::new(Some(&template), Some(api), dir.path());
        assert_eq!(again.get(T1).unwrap().length(), 40 * 2048);
        fs::write(dir.path().join("media/left.part"), "half").unwrap();
        again.write(T2, |ticket| ticket == T2).unwrap();
        assert!(again.get(T1).is_none() && note(&again, T2).is_some());
        assert!(!dir.path().join("media/left.part").exists());
    }

    #[test]
    fn a_site_without_one_says_so_and_a_foreign_disc_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let none = Media::new(None, Some("https://a"), dir.path());
        assert!(matches!(none.write(T1, |_| true), Err(MediumError::None)));
        let foreign = dir.path().join("other.iso");
        fs::write(&foreign, vec![0; 40 * 2048]).unwrap();
        let media = Media::new(Some(&foreign), Some("https://a"), dir.path());
        assert!(matches!(media.write(T1, |_| true), Err(MediumError::Note { .. })));
        assert!(media.get(T1).is_none());
    }
}
