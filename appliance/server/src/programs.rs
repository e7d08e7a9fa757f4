//! The programs that servers in the discovery image fetch when they need them: a file beside each image that is served.
//!
//! The image holds the file's hash and is measured, so what is served here is as fixed as what came along.  Files are kept
//! below the site directory under their hash, because servers run an image until they are started again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use appliance_model::Digest;

use crate::config::Config;

/// Where they are kept, below the site directory.
const FOLDER: &str = "images/programs";
/// Many times what a handful of programs has.
const BYTES_MAX: u64 = 64 << 20;

/// What is served.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    folder: PathBuf,
}

/// Where the files of the images that the site file names would be.
pub(crate) fn beside(config: &Config) -> Vec<PathBuf> {
    let arm64 = config.arm64.as_ref().map(|image| &image.uki);
    [Some(&config.uki), arm64]
        .into_iter()
        .flatten()
        .map(|uki| uki.with_file_name(image_seal::PROGRAMS))
        .collect()
}

impl Programs {
    /// Keeps the files that are there; one that is not is said, because only parts of drives need it.
    pub(crate) fn keep(dir: &Path, files: &[PathBuf]) -> Self {
        let folder = dir.join(FOLDER);
        for file in files {
            match keep(&folder, file) {
                Ok(digest) => {
                    tracing::info!(file = %file.display(), sha256 = %digest, "programs for servers")
                }
                Err(error) => tracing::warn!(
                    file = %file.display(), %error,
                    "servers that run from the network cannot make parts of drives: this file belongs beside their image, \
                     where `scalerforge image build` and `seal` write it"
                ),
            }
        }
        Self { folder }
    }

    /// The file with this hash, and its size in bytes.
    pub(crate) fn find(&self, sha256: Digest) -> Option<(u64, PathBuf)> {
        let path = self.folder.join(name(sha256));
        Some((fs::metadata(&path).ok()?.len(), path))
    }
}

fn name(sha256: Digest) -> String {
    format!("{sha256}.tar")
}

fn keep(folder: &Path, file: &Path) -> io::Result<Digest> {
    if fs::metadata(file)?.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any that we make"));
    }
    let content = fs::read(file)?;
    let digest = Digest::of(&content);
    let path = folder.join(name(digest));
    if fs::read(&path).is_ok_and(|kept| kept == content) {
        return Ok(digest);
    }
    fs::create_dir_all(folder)?;
    let part = path.with_extension("part");
    fs::write(&part, &content)?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, &path)?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_served_once_is_served_on() {
        let (site, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = image.path().join(image_seal::PROGRAMS);
        fs::write(&file, "one").unwrap();
        Programs::keep(site.path(), std::slice::from_ref(&file));
        fs::write(&file, "other").unwrap();
        let missing = image.path().join("none");
        let programs = Programs::keep(site.path(), &[file, missing]);
        for content in ["one", "other"] {
            let (bytes, path) = programs.find(Digest::of(content.as_bytes())).unwrap();
            assert_eq!((bytes, fs::read_to_string(path).unwrap().as_str()), (content.len() as u64, content));
        }
        assert!(programs.find(Digest([7; 32])).is_none());
        // A file that was damaged is written again.
        let kept = programs.find(Digest::of(b"other")).unwrap().1;
        fs::write(&kept, "dust").unwrap();
        Programs::keep(site.path(), &[image.path().join(image_seal::PROGRAMS)]);
        assert_eq!(fs::read_to_string(kept).unwrap(), "other");
    }
}
