//! The management controller of one server: Redfish on HTTPS with its own self-signed certificate, and IPMI by UDP.
//!
//! It shows a tree made from the description that QEMU's command line is made from, or one captured from a real BMC,
//! lays over it what is alive ([`live`]), and drives the server through [`power::Server`].  It stays up when the
//! server loses power.  Bodies, connections, sessions and handshakes are bounded: it is attacked by fuzzers as any
//! BMC would be.  Tests bend it by makers' quirks ([`quirks`]), rules and lies ([`faults`]); it shares no code with
//! our clients (`appliance/bmc`, `appliance/ipmi`).  Read next: `desk.rs` (a request's way), `write.rs`, `store.rs`.

mod accounts;
mod answer;
mod bios;
mod certificates;
mod clock;
mod desk;
mod events;
mod faults;
mod firmware;
pub(crate) mod ipmi;
mod journal;
mod listen;
mod live;
mod load;
mod media;
mod outbound;
mod paper;
mod patch;
mod power;
mod query;
mod quirks;
mod secure_boot;
mod sensors;
mod sessions;
mod store;
mod system;
mod tasks;
#[cfg(test)]
mod tests;
mod tree;
mod write;
mod writes;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::error::RackError;
pub(crate) use desk::{Desk, Temper};
pub use faults::{BmcAction, BmcFault};
pub use ipmi::IpmiPolicy;
pub(crate) use paper::Paper;
pub(crate) use power::{Medium, Outcome, ResetType, SecureBootKeys, SerialLine, Server};
pub use quirks::Quirks;
use store::{Store, Tree};
pub use writes::Written;

/// The first account's name; passwords differ per BMC.
const USER: &str = "admin";

/// What a BMC is started with, beside its server.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Where Redfish listens; port 0 takes a free one.
    pub(crate) bind: SocketAddr,
    /// Where IPMI listens, if at all.
    pub(crate) ipmi: Option<(SocketAddr, IpmiPolicy)>,
    /// Without TLS, for tools that want it.
    pub(crate) plain: bool,
    /// A captured tree; else one is made from the server's description.
    pub(crate) base: Option<Arc<Tree>>,
    /// Whether serial and UUID of a captured tree give way to those of the server.
    pub(crate) own_identity: bool,
    pub(crate) quirks: Quirks,
    pub(crate) temper: Temper,
    /// User and password; else `admin` with a random one.
    pub(crate) account: Option<(String, String)>,
}

impl Setup {
    pub(crate) fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            ipmi: None,
            plain: false,
            base: None,
            own_identity: true,
            quirks: Quirks::default(),
            temper: Temper::default(),
            account: None,
        }
    }
}

/// The base that a server's description makes.
pub(crate) fn built_in(spec: &crate::HostSpec) -> Arc<Tree> {
    Arc::new(tree::built_in(spec))
}

/// The base that a folder or `.tar.gz` holds.
pub(crate) fn captured(path: &Path) -> Result<Arc<Tree>, RackError> {
    load::tree(path).map(Arc::new)
}

/// A running BMC; it ends with this value.
#[derive(Debug)]
pub(crate) struct Bmc {
    address: SocketAddr,
    plain: bool,
    ipmi: Option<SocketAddr>,
    user: String,
    password: String,
    desk: Arc<Desk>,
    tasks: Vec<AbortHandle>,
}

impl Bmc {
    /// Starts serving.
    pub(crate) async fn start(setup: Setup, server: Arc<dyn Server>) -> Result<Self, RackError> {
        let Setup { bind, ipmi, plain, base, own_identity, quirks, temper, account } = setup;
        let tls = if plain {
            None
        } else {
            Some(certificates::Shown::self_signed(bind.ip(), &server.spec().serial)?)
        };
        let acceptor = tls.as_ref().map(certificates::Shown::acceptor).transpose()?;
        let listener = TcpListener::bind(bind)
            .await
            .map_err(RackError::io("listen for the BMC on", bind.to_string()))?;
        let address =
            listener.local_addr().map_err(RackError::io("listen for the BMC on", bind.to_string()))?;
        let base = base.unwrap_or_else(|| built_in(server.spec()));
        let mut desk = Desk::new(Store::new(base), server, quirks, temper, tls);
        desk.own_identity = own_identity;
        let (user, password) = match account {
            Some(account) => account,
            // Twenty characters are the longest that IPMI takes.
            None => (USER.to_owned(), sessions::random_hex()?.chars().take(20).collect()),
        };
        accounts::settle(&desk, &user, &password);
        quirk_the_tree(&desk);
        let desk = Arc::new(desk);
        let mut tasks =
            vec![tokio::spawn(listen::accept(listener, acceptor, Arc::clone(&desk))).abort_handle()];
        let mut ipmi_address = None;
        if let Some((bind, policy)) = ipmi {
            let (address, task) = ipmi::start(bind, policy, Arc::clone(&desk)).await?;
            ipmi_address = Some(address);
            tasks.push(task);
        }
        Ok(Self { address, plain, ipmi: ipmi_address, user, password, desk, tasks })
    }

    /// `https://ADDRESS` with the port only when it is not 443.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        match self.address.port() {
            443 => format!("{scheme}://{}", self.address.ip()),
            port => format!("{scheme}://{}:{port}", self.address.ip()),
        }
    }

    pub(crate) fn ipmi(&self) -> Option<SocketAddr> {
        self.ipmi
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.desk.tls.as_ref().map(certificates::Shown::pem).unwrap_or_default()
    }

    pub(crate) fn fault(&self, rule: BmcFault) {
        self.desk.faults.add(rule);
    }

    pub(crate) fn lie(&self, path: &str, patch: Value) {
        self.desk.faults.lie(path, patch);
    }

    pub(crate) fn written(&self) -> Vec<Written> {
        self.desk.written.all()
    }

    pub(crate) fn be_honest(&self) {
        self.desk.faults.clear();
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Takes out of the tree what a quirk says is not there.
fn quirk_the_tree(desk: &Desk) {
    if desk.quirks.media_by_patch_only {
        for slot in desk.store.of_kind("VirtualMedia") {
            desk.store.edit(&slot, |value| {
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("Actions");
                }
            });
        }
    }
    for system in desk.store.of_kind("ComputerSystem") {
        let quirks = &desk.quirks;
        if !quirks.no_http_boot && !quirks.no_continuous {
            break;
        }
        desk.store.edit(&system, |value| {
            let mut strike = |key: &str, word: &str| {
                let list = value.pointer_mut(&format!("/Boot/{key}@Redfish.AllowableValues"));
                if let Some(list) = list.and_then(Value::as_array_mut) {
                    list.retain(|value| value != word);
                }
            };
            if quirks.no_http_boot {
                strike("BootSourceOverrideTarget", "UefiHttp");
            }
            if quirks.no_continuous {
                strike("BootSourceOverrideEnabled", "Continuous");
            }
        });
    }
}
