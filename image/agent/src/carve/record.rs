//! What was there before: written before anything is changed, and never over what stands there already.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use appliance_model::inventory::MigPlace;
use serde::{Deserialize, Serialize};

/// Files, their contents, and groups that were made.
#[derive(Debug, Default)]
pub(crate) struct Record {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Path and content, in the order of their change.
    files: Vec<(String, String)>,
    /// Controllers that were switched on for a group's children: its path, the controller.
    controllers: Vec<(String, String)>,
    /// Groups that were made, parents first.
    groups: Vec<String>,
    /// Units of systemd that were written, by name.
    #[serde(default)]
    slices: Vec<String>,
    /// Parts of GPUs that were made: the GPU, where.
    #[serde(default)]
    parts: Vec<(String, MigPlace)>,
}

impl Record {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let kept = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), kept })
    }

    pub(crate) fn file(&mut self, file: &Path, before: &str) -> io::Result<()> {
        let file = file.to_string_lossy().into_owned();
        if self.kept.files.iter().any(|(known, _)| *known == file) {
            return Ok(());
        }
        self.kept.files.push((file, before.to_owned()));
        self.keep()
    }

    pub(crate) fn controller(&mut self, group: &str, name: &str) -> io::Result<()> {
        let pair = (group.to_owned(), name.to_owned());
        if self.kept.controllers.contains(&pair) {
            return Ok(());
        }
        self.kept.controllers.push(pair);
        self.keep()
    }

    pub(crate) fn group(&mut self, path: &str) -> io::Result<()> {
        if self.kept.groups.iter().any(|known| known == path) {
            return Ok(());
        }
        self.kept.groups.push(path.to_owned());
        self.keep()
    }

    pub(crate) fn slice(&mut self, name: &str) -> io::Result<()> {
        if self.kept.slices.iter().any(|known| known == name) {
            return Ok(());
        }
        self.kept.slices.push(name.to_owned());
        self.keep()
    }

    pub(crate) fn part(&mut self, gpu: &str, place: MigPlace) -> io::Result<()> {
        let part = (gpu.to_owned(), place);
        if self.kept.parts.contains(&part) {
            return Ok(());
        }
        self.kept.parts.push(part);
        self.keep()
    }

    pub(crate) fn parts(&self) -> impl DoubleEndedIterator<Item = (&str, MigPlace)> {
        self.kept.parts.iter().map(|(gpu, place)| (gpu.as_str(), *place))
    }

    pub(crate) fn slices(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.kept.slices.iter().map(String::as_str)
    }

    pub(crate) fn files(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.kept.files.iter().map(|(file, before)| (file.as_str(), before.as_str()))
    }

    pub(crate) fn controllers(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.kept.controllers.iter().map(|(group, name)| (group.as_str(), name.as_str()))
    }

    pub(crate) fn groups(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.kept.groups.iter().map(String::as_str)
    }

    pub(crate) fn forget(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Half a record would lose what was before: written aside, then renamed.
    fn keep(&self) -> io::Result<()> {
        let aside = self.path.with_extension("new");
        fs::write(&aside, serde_json::to_string(&self.kept)?)?;
        fs::rename(aside, &self.path)
    }
}
