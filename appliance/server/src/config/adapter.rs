//! Which contracts the registry is, and what has to be said of ICN's: nothing about them has a default.

use appliance_model::Address;
use chain_client::IcnSettings;
use serde::Deserialize;

use super::wire;

/// Which contracts the registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adapter {
    /// The contracts of this project.
    #[default]
    Reference,
    /// ICN's own, as far as it is publicly known.  It was tried against a mock only.
    Icn,
}

/// What a site file says of ICN.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) adapter: Adapter,
    /// Whether there is a chain that is not the embedded one.
    pub(super) rpc: bool,
    pub(super) registry: Option<&'a str>,
    pub(super) owner: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    pub(super) register_signature: Option<&'a str>,
    pub(super) hp_id: u64,
}

/// A key, what it says, and what it should say.
pub(super) type Wrong = (&'static str, String, &'static str);

impl<'a> Said<'a> {
    pub(super) fn of(wire: &'a wire::Chain, hp_id: u64) -> Self {
        Self {
            adapter: wire.adapter,
            rpc: wire.rpc_url.is_some() || !wire.rpc_urls.is_empty(),
            registry: wire.registry.as_deref(),
            owner: wire.owner.as_deref(),
            token: wire.token.as_deref(),
            register_signature: wire.register_signature.as_deref(),
            hp_id,
        }
    }

    /// ICN's settings, where the adapter is `icn`; what is wrong with them otherwise.
    pub(super) fn understood(self) -> Result<Option<IcnSettings>, Wrong> {
        let said = |key, text: Option<&str>, should| (key, text.unwrap_or_default().to_owned(), should);
        if self.adapter == Adapter::Reference {
            let only = "absent: it is for `chain.adapter = \"icn\"` only";
            return match (self.token, self.register_signature) {
                (Some(_), _) => Err(said("chain.token", self.token, only)),
                (None, Some(_)) => Err(said("chain.register_signature", self.register_signature, only)),
                (None, None) => Ok(None),
            };
        }
        if !self.rpc {
            return Err(said("chain.rpc_url", None, "the JSON-RPC of the chain that ICN is on"));
        }
        if self.owner.is_some() {
            let should = "absent: ICN has no operators, the account that signs is the hardware provider";
            return Err(said("chain.owner", self.owner, should));
        }
        let address = |key, text: Option<&str>| {
            let should = "an EVM address: 0x and 40 hex digits; nothing is assumed for ICN";
            let parsed: Option<Address> = text.and_then(|text| text.parse().ok());
            parsed.ok_or_else(|| said(key, text, should))
        };
        let registry = address("chain.registry", self.registry)?;
        let token = address("chain.token", self.token)?;
        let register = self.register_signature.and_then(|text| text.parse().ok()).ok_or_else(|| {
            let should = "the registration's signature with its ten fields, or its selector (0x and 8 hex digits): ask ICN";
            said("chain.register_signature", self.register_signature, should)
        })?;
        Ok(Some(IcnSettings { registry, token, hp_id: self.hp_id, register }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icn_is_spoken_to_only_where_all_of_it_is_said() {
        let token = "0x2222222222222222222222222222222222222222";
        let whole = Said {
            adapter: Adapter::Icn,
            rpc: true,
            registry: Some("0x0101010101010101010101010101010101010101"),
            owner: None,
            token: Some(token),
            register_signature: Some("0x12345678"),
            hp_id: 7,
        };
        let settings = whole.understood().unwrap().unwrap();
        assert_eq!((settings.registry, settings.hp_id), (Address([1; 20]), 7));
        assert_eq!(settings.register.selector(), [0x12, 0x34, 0x56, 0x78]);
        for (said, key) in [
            (Said { rpc: false, ..whole }, "chain.rpc_url"),
            (Said { registry: None, ..whole }, "chain.registry"),
            (Said { owner: Some(token), ..whole }, "chain.owner"),
            (Said { token: None, ..whole }, "chain.token"),
            (Said { token: Some("ICNT"), ..whole }, "chain.token"),
            (Said { register_signature: Some("register"), ..whole }, "chain.register_signature"),
            (Said { register_signature: None, ..whole }, "chain.register_signature"),
            (Said { adapter: Adapter::Reference, ..whole }, "chain.token"),
        ] {
            assert_eq!(said.understood().unwrap_err().0, key);
        }
        let none = Said { adapter: Adapter::Reference, token: None, register_signature: None, ..whole };
        assert_eq!(none.understood().map(|found| found.is_none()), Ok(true));
    }
}
