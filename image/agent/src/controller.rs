//! The machine's own controller, asked from inside: where it is, and, only when the appliance orders it, an account on it.
//!
//! The way is `/dev/ipmi0`, which asks for no password: whoever is root on the machine may do this, and the agent is.

use std::path::Path;

use appliance_api::agent::BmcAccount;
use appliance_ipmi::{
    IpmiError, Level, Password,
    command::lan::Lan,
    local::{self, Device},
};
use appliance_model::inventory::{BmcSeen, Inventory};

use crate::{console::chain, say};

/// Adds to the inventory what the controller tells of itself, and makes the account.  What cannot be done is a gap.
pub fn ask(root: &Path, account: Option<&BmcAccount>, inventory: &mut Inventory) {
    let device = root.join(local::PATH.trim_start_matches('/'));
    if !device.exists() {
        if account.is_some() {
            inventory.gaps.push("no account was made on the controller: there is no IPMI device".into());
        }
        return;
    }
    match told(&device, account) {
        Ok((lan, made)) => {
            let seen = inventory.bmc.get_or_insert_with(BmcSeen::default);
            seen.lan_address = lan.map(|lan| lan.address);
            seen.lan_mac = lan.map(|lan| lan.mac);
            inventory.sources.insert("bmc_lan".into(), local::PATH.into());
            if let Some(user) = made {
                say!("made the account {user} on the controller");
            }
        }
        Err(error) => {
            inventory.gaps.push(format!("the controller was not asked from inside: {}", chain(&error)))
        }
    }
}

/// The first LAN channel with an address, and the user that was made there.
fn told<'a>(
    device: &Path,
    account: Option<&'a BmcAccount>,
) -> Result<(Option<Lan>, Option<&'a str>), IpmiError> {
    let mut device = Device::open(device)?;
    let lans = device.lans()?;
    let lan = lans.into_iter().find(|lan| !lan.address.is_unspecified());
    let Some(account) = account else { return Ok((lan, None)) };
    let cannot = |why| IpmiError::CannotBe { host: local::PATH.to_owned(), why };
    let channel = lan.ok_or_else(|| cannot("it has no LAN channel with an address"))?.channel;
    let password =
        Password::new(account.password.as_str()).ok_or_else(|| cannot("the password is too long"))?;
    // Virtual media and Secure Boot keys are an administrator's on most.
    device.create_account(channel, &account.user, &password, Level::Administrator)?;
    Ok((lan, Some(&account.user)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_a_gap() {
        let root = tempfile::tempdir().unwrap();
        let mut inventory = Inventory::default();
        ask(root.path(), None, &mut inventory);
        assert_eq!((inventory.gaps.len(), &inventory.bmc), (0, &None), "most machines have no such device");
        let account = BmcAccount { user: "scalerforge".into(), password: "secret-1".into() };
        ask(root.path(), Some(&account), &mut inventory);
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/ipmi0"), "no device").unwrap();
        ask(root.path(), Some(&account), &mut inventory);
        assert_eq!(inventory.gaps.len(), 2, "{:?}", inventory.gaps);
        assert!(!format!("{:?}", inventory.gaps).contains("secret-1"));
    }
}
