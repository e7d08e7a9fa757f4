//! What a controller says to anybody: its service root, which DSP0266 (13.3.4) leaves open, asked for without a password.
//!
//! Nothing of it is believed: the key it shows is noted, not pinned, until a password is known that it accepts.

use serde_json::Value;

use crate::{
    client::{Bmc, Contact, Options, ROOT},
    credentials::Password,
    error::BmcError,
    evidence::Keep,
    field,
    pin::Pin,
    session::Login,
};

/// A controller that was not spoken to yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// The key it showed.
    pub key: Option<Pin>,
    /// Maker, product and version as its service root has them.
    pub service: String,
}

/// Bounds for somebody who may be anybody.  A service root has some 4 KiB.
fn bounds() -> Options {
    Options {
        requests_at_once: 1,
        body_bytes_max: 64 << 10,
        request_seconds_max: 10,
        connect_seconds_max: 4,
        connect_again: false,
        keep: Keep::Digests,
        ..Options::default()
    }
}

/// Asks an address whether it is a Redfish service.
///
/// # Errors
/// When it does not answer, or is something else.
pub async fn meet(url: &str) -> Result<Stranger, BmcError> {
    let contact =
        Contact { url: url.to_owned(), user: String::new(), password: Password::new(""), pin: None };
    let bmc = Bmc::with(contact, bounds())?;
    let root = bmc.inner.get(ROOT).await?.body;
    let service = service(&root)
        .ok_or_else(|| BmcError::Lacks { url: bmc.inner.url(ROOT), what: "a Redfish service root".into() })?;
    Ok(Stranger { key: bmc.pin(), service })
}

impl Bmc {
    /// Whether the password of this contact was refused: whoever asks again soon locks the account.  To be asked before
    /// the session is ended.
    pub async fn was_refused(&self) -> bool {
        matches!(*self.inner.login.lock().await, Login::Refused)
    }
}

/// `None` where this is no service root.
fn service(root: &Value) -> Option<String> {
    let version = field::text(root, &["RedfishVersion"]);
    let kind = field::text(root, &["@odata.type"]).is_some_and(|kind| kind.starts_with("#ServiceRoot."));
    if version.is_none() && !kind {
        return None;
    }
    let words = [field::text(root, &["Vendor"]), field::text(root, &["Product"])];
    let version = version.map(|version| format!("Redfish {version}"));
    Some(words.into_iter().flatten().chain(version).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_service_root_is_one() {
        for (root, words) in [
            (
                json!({ "RedfishVersion": "1.11.0", "Vendor": "A", "Product": "B" }),
                Some("A, B, Redfish 1.11.0"),
            ),
            (json!({ "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot" }), Some("")),
            (json!({ "RedfishVersion": 7, "Vendor": ["A"] }), None),
            (json!([1]), None),
            (json!({ "error": {} }), None),
        ] {
            assert_eq!(service(&root).as_deref(), words, "{root}");
        }
    }
}
