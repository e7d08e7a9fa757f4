//! Where people reach the page from other machines: over TLS, with the admin's password.

use std::net::SocketAddr;

use super::{ConfigError, Reader, wire};
use crate::admin::Hash;

/// The page for other machines, understood.
#[derive(Debug, Clone)]
pub struct Page {
    /// Address and port.
    pub listen: SocketAddr,
    /// The admin's password.
    pub admin: Hash,
}

impl Reader<'_> {
    pub(super) fn page(&self, wire: &wire::Page) -> Result<Page, ConfigError> {
        let file = self.dir.join(&wire.password_file);
        super::readable(&file, "operator.page.password_file", self.config)?;
        let admin = Hash::read(&file).map_err(|_| {
            let expected = "a file that `scalerforge site password` or the first run wrote";
            self.value("operator.page.password_file", &wire.password_file, expected)
        })?;
        Ok(Page { listen: self.socket("operator.page.listen", &wire.listen)?, admin })
    }
}
