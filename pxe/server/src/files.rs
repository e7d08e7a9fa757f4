//! Who may read what: the boot files under tickets, for TFTP and HTTP, and what became of it for the recorder.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
};

use appliance_model::{Mac, Ticket};
use bytes::Bytes;
use pxe_policy::{GRUB_MENU, Name, REFUSED, UefiPxe, menu, optional, parse_path, recorder::Note, script};

use crate::{config::Config, media::Media, shared::Shared, tally::count};

mod tell;

/// Files larger than this are refused: firmware needs memory for them, too.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a boot file cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It is not what it should be.
    #[error("{0}")]
    Wrong(String),
    /// The folder of images.
    #[error("cannot open the folder of images")]
    Library(#[source] pxe_http::LibraryError),
    /// The HTTP server cannot open it.
    #[error("cannot open it for HTTP")]
    Content(#[source] pxe_http::ContentError),
}

/// The boot files.
#[derive(Debug)]
pub(crate) struct Stock {
    /// By HTTP, from the page cache.
    http: BTreeMap<Name, Arc<pxe_http::Content>>,
    /// By TFTP, from memory: only those that the policy names in TFTP answers.
    tftp: BTreeMap<Name, Bytes>,
    /// Images by their digests.
    library: Option<pxe_http::Library>,
    /// Boot media, each under its ticket.
    pub(crate) media: Media,
}

impl Stock {
    /// Opens all files of the configuration.
    pub(crate) fn open(config: &Config, state: &Path) -> Result<Self, (std::path::PathBuf, FileError)> {
        let library = config.folder.as_ref().map(|folder| {
            // What was checked once is not read again at the next start.
            pxe_http::Library::open(folder, &state.join("images.json"))
                .map_err(|error| (folder.clone(), FileError::Library(error)))
        });
        let media = Media::new(config.medium.as_deref(), config.api_url.as_deref(), state);
        let mut stock =
            Self { http: BTreeMap::new(), tftp: BTreeMap::new(), library: library.transpose()?, media };
        for (name, path) in &config.files {
            let failed = |error| (path.clone(), error);
            check(*name, path).map_err(failed)?;
            // The HTTP server follows no link at a path's end; a site may well keep its images behind one.
            let path = &path.canonicalize().map_err(FileError::Read).map_err(failed)?;
            let content = pxe_http::Content::file(path).map_err(FileError::Content).map_err(failed)?;
            stock.http.insert(*name, Arc::new(content));
            if by_tftp(*name, config) {
                let bytes = std::fs::read(path).map_err(FileError::Read).map_err(failed)?;
                stock.tftp.insert(*name, bytes.into());
            }
        }
        Ok(stock)
    }
}

/// Whether TFTP serves it: memory is spent only on what can be asked for.
fn by_tftp(name: Name, config: &Config) -> bool {
    match name {
        Name::Discovery | Name::DiscoveryArm64 => config.site.uefi_pxe == UefiPxe::Uki,
        Name::SnpOnly | Name::Undionly => true,
        Name::Shim | Name::Grub | Name::Kernel | Name::Initrd => config.site.uefi_pxe == UefiPxe::Shim,
        Name::Script | Name::Planted | Name::Medium => false,
    }
}

fn check(name: Name, path: &Path) -> Result<(), FileError> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).map_err(FileError::Read)?;
    let meta = file.metadata().map_err(FileError::Read)?;
    if !meta.is_file() {
        return Err(FileError::Wrong("it is not a file".into()));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(FileError::Wrong(format!("it has {} bytes, {FILE_BYTES_MAX} is the limit", meta.len())));
    }
    let pe = match name {
        Name::Discovery | Name::DiscoveryArm64 | Name::SnpOnly | Name::Shim | Name::Grub | Name::Planted => {
            true
        }
        Name::Script | Name::Kernel | Name::Initrd | Name::Undionly | Name::Medium => false,
    };
    let mut start = [0; 2];
    // PE images start with "MZ"; firmware would load all of anything else before it refuses it.
    if pe && (file.read_exact(&mut start).is_err() || start != *b"MZ") {
        return Err(FileError::Wrong("it does not start as a PE image does".into()));
    }
    Ok(())
}

/// What comes back with each event: whose file, which, and under which ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    mac: Mac,
    name: Name,
    /// The ticket's first bits: tells an old ticket's transfer from a new one's.
    mark: u8,
}

impl Tag {
    fn new(mac: Mac, ticket: Ticket, name: Name) -> Self {
        Self { mac, name, mark: ticket.0[0] }
    }

    fn pack(self) -> u64 {
        let [a, b, c, d, e, f] = self.mac.0;
        let name = Name::ALL.iter().position(|name| *name == self.name);
        let name = name.and_then(|name| u8::try_from(name).ok()).unwrap_or(u8::MAX);
        u64::from_be_bytes([name, self.mark, a, b, c, d, e, f])
    }

    fn unpack(tag: u64) -> Option<Self> {
        let [name, mark, a, b, c, d, e, f] = tag.to_be_bytes();
        let name = *Name::ALL.get(usize::from(name))?;
        Some(Self { mac: Mac([a, b, c, d, e, f]), name, mark })
    }
}

/// Answers both servers.
#[derive(Debug)]
pub(crate) struct Door {
    shared: Arc<Shared>,
    stock: Arc<Stock>,
    /// Where boot URLs start on this interface.
    boot_base: String,
    started: Mutex<tell::Started>,
}

impl Door {
    pub(crate) fn new(shared: Arc<Shared>, stock: Arc<Stock>, boot_base: String) -> Self {
        Self { shared, stock, boot_base, started: Mutex::default() }
    }

    /// Whose open ticket this is; notes that it was used.
    fn admit(&self, ticket: Ticket) -> Option<Mac> {
        let now = self.shared.clock.now();
        let mut desk = self.shared.desk();
        let mac = desk.open_ticket(ticket, now)?;
        if let Some(change) = desk.asked(mac) {
            // Nobody waits for it: what is fetched proves nothing until the agent comes back.
            drop(self.shared.journal.queue([change]));
        }
        Some(mac)
    }

    /// A file went out in full.
    fn fetched(&self, tag: Tag) {
        let mut desk = self.shared.desk();
        if let Some(change) = desk.fetched(tag.mac, tag.name, tag.mark) {
            drop(self.shared.journal.queue([change]));
        }
    }

    fn http(&self, path: &str, from: IpAddr) -> Result<pxe_http::Grant, pxe_http::Refusal> {
        let tally = &self.shared.tally;
        if let Some(library) = self.stock.library.as_ref().filter(|_| path.starts_with("/images/")) {
            let content = library.resolve(path).inspect_err(|_| count(&tally.odd_requests))?;
            // No machine's ticket: its events are counted, not recorded.
            return Ok(pxe_http::Grant { content, tag: u64::MAX, content_type: "application/octet-stream" });
        }
        let plain = path.strip_prefix('/').unwrap_or_default();
        if plain == GRUB_MENU {
            return self.menu(from).map_or(Err(pxe_http::Refusal::Missing), |(text, mac, ticket)| {
                let (content, tag) =
                    (Arc::new(pxe_http::Content::bytes(text)), Tag::new(mac, ticket, Name::Script));
                Ok(pxe_http::Grant { content, tag: tag.pack(), content_type: "text/plain" })
            });
        }
        let Some((ticket, name)) = parse_path(plain) else {
            if !optional(plain) {
                count(&tally.odd_requests);
            }
            return Err(pxe_http::Refusal::Missing);
        };
        let Some(mac) = self.admit(ticket) else {
            count(&tally.unknown_tickets);
            if let Some(mac) = self.shared.who(from) {
                let why = "its boot ticket is unknown, spent or older than 30 minutes".into();
                self.shared.tell(mac, Note::HttpRefused { file: name.as_str().into(), why });
            }
            return Err(pxe_http::Refusal::Missing);
        };
        let content = match name {
            Name::Script => {
                let text = self.script(ticket);
                text.map(|text| Arc::new(pxe_http::Content::bytes(text)))
            }
            Name::Discovery
            | Name::DiscoveryArm64
            | Name::Kernel
            | Name::Initrd
            | Name::SnpOnly
            | Name::Undionly
            | Name::Shim
            | Name::Grub => self.stock.http.get(&name).cloned(),
            Name::Planted => self.stock.http.get(&Name::Discovery).cloned(),
            Name::Medium => self.stock.media.get(ticket),
        };
        let content_type = match name {
            Name::Discovery
            | Name::DiscoveryArm64
            | Name::SnpOnly
            | Name::Shim
            | Name::Grub
            | Name::Planted => "application/efi",
            Name::Script => "text/plain",
            Name::Kernel | Name::Initrd | Name::Undionly => "application/octet-stream",
            Name::Medium => "application/x-iso9660-image",
        };
        let Some(content) = content else {
            count(&tally.odd_requests);
            return Err(pxe_http::Refusal::Missing);
        };
        Ok(pxe_http::Grant { content, tag: Tag::new(mac, ticket, name).pack(), content_type })
    }

    /// What iPXE is to do under this ticket, if there is what it needs for that.
    fn script(&self, ticket: Ticket) -> Option<Bytes> {
        let config = &self.shared.config;
        config.site.stock.kernel.then(|| script(&self.boot_base, ticket, &config.command_line).into())
    }

    /// GRUB's menu for the machine that has this address and an open ticket.
    fn menu(&self, from: IpAddr) -> Option<(Bytes, Mac, Ticket)> {
        let mac = self.shared.who(from)?;
        let ticket = self.shared.desk().ticket_of(mac, self.shared.clock.now())?;
        let from = self.boot_base.strip_prefix("http://")?;
        let text = menu(from, ticket, &self.shared.config.command_line);
        self.shared.config.site.stock.kernel.then(|| (text.into(), mac, ticket))
    }

    fn tftp(&self, asked: &str, from: SocketAddr) -> Result<pxe_tftp::Opened, pxe_tftp::Refusal> {
        let refuse = |code, text: &'static str| Err(pxe_tftp::Refusal { code, text: text.into() });
        let tally = &self.shared.tally;
        // Firmware puts a slash before the name, or does not.
        let plain = asked.strip_prefix('/').unwrap_or(asked);
        if plain == REFUSED {
            count(&tally.refused_tftp);
            self.refused(
                from,
                asked,
                "there is nothing for it by TFTP: it goes on to its next boot entry",
                true,
            );
            return refuse(pxe_tftp::Code::NotFound, "use HTTP boot");
        }
        if plain == GRUB_MENU {
            let Some((bytes, mac, ticket)) = self.menu(from.ip()) else {
                tally.reason("tftp_menu_for_nobody");
                self.refused(from, asked, "it has no open boot ticket", false);
                return refuse(pxe_tftp::Code::NotFound, "no boot ticket: boot again");
            };
            return Ok(pxe_tftp::Opened { bytes, tag: Tag::new(mac, ticket, Name::Script).pack() });
        }
        if optional(plain) {
            tally.reason("tftp_optional_file");
            return refuse(pxe_tftp::Code::NotFound, "no such file, and it is not needed");
        }
        let Some((ticket, name)) = parse_path(plain) else {
            tally.reason(if asked.contains("..") { "tftp_traversal" } else { "tftp_unknown_file" });
            self.refused(from, asked, "no such boot file", false);
            return refuse(pxe_tftp::Code::NotFound, "no such file");
        };
        let Some(mac) = self.admit(ticket) else {
            count(&tally.unknown_tickets);
            self.refused(from, name.as_str(), "its boot ticket is unknown, spent or too old", false);
            return refuse(pxe_tftp::Code::NotFound, "boot ticket unknown: boot again");
        };
        match self.stock.tftp.get(&name).cloned() {
            Some(bytes) => {
                let tag = Tag::new(mac, ticket, name).pack();
                Ok(pxe_tftp::Opened { bytes, tag })
            }
            None => {
                tally.reason("tftp_not_by_tftp");
                self.refused(from, name.as_str(), "this file is not served by TFTP", false);
                refuse(pxe_tftp::Code::NotFound, "not by TFTP")
            }
        }
    }

    fn refused(&self, from: SocketAddr, file: &str, why: &'static str, on_purpose: bool) {
        if let Some(mac) = self.shared.who(from.ip()) {
            let file = file.to_owned().into();
            self.shared.tell(mac, Note::TftpRefused { file, why: why.into(), on_purpose });
        }
    }
}

impl pxe_http::Gate for Door {
    fn resolve(&self, path: &str, from: IpAddr) -> Result<pxe_http::Grant, pxe_http::Refusal> {
        self.http(path, from)
    }

    fn tell(&self, event: pxe_http::Event) {
        self.told_by_http(event);
    }
}

impl pxe_tftp::Files for Door {
    fn open(&self, name: &str, from: SocketAddr) -> Result<pxe_tftp::Opened, pxe_tftp::Refusal> {
        self.tftp(name, from)
    }

    fn tell(&self, event: pxe_tftp::Event) {
        self.told_by_tftp(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back_as_they_went() {
        for name in Name::ALL {
            let tag = Tag::new(Mac([2, 1, 2, 3, 4, 0xff]), Ticket([0x9c; 16]), name);
            assert_eq!(Tag::unpack(tag.pack()), Some(tag));
        }
        assert_eq!(Tag::unpack(u64::MAX), None);
    }
}
