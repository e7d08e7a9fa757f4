//! What a controller can update and how, and which tasks it has: what is looked at before an image is sent, and again
//! when it is not known whether it was.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    client::{Bmc, ROOT},
    error::BmcError,
    field,
    link::local,
    quirks::Switch,
    walk::Walk,
};

/// A component whose firmware the controller lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Updateable {
    /// Its resource: a target of an update.
    pub url: String,
    /// Its id (`BIOS`, `BMC`, `FW_GPU_SXM_1`).
    pub id: String,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its version as told.
    pub version: Option<String>,
    /// Whether the controller updates it; `None` where it does not say.
    pub updateable: Option<bool>,
}

/// What a controller can update, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpdateOffers {
    /// It fetches images (`SimpleUpdate`).
    pub fetch: bool,
    /// It takes pushed images.
    pub push: bool,
    /// Its components.
    pub components: Vec<Updateable>,
}

impl Bmc {
    /// What can be updated, and how.
    ///
    /// # Errors
    /// When the controller has no update service or it cannot be read.
    pub async fn update_offers(&self) -> Result<UpdateOffers, BmcError> {
        let machine = self.machine().await?;
        let (at, service) = self.update_service().await?;
        let told = |key: &str| field::text(&service, &[key]).is_some();
        let quirk = machine.quirks.switches().any(|switch| matches!(switch, Switch::MultipartAt(_)));
        let mut walk = Walk::new(self);
        let found = walk.members(ROOT, &service, &["FirmwareInventory"]).await.unwrap_or_default();
        let component = |(url, one): &(String, std::sync::Arc<serde_json::Value>)| {
            let last = || url.trim_end_matches('/').rsplit('/').next().map(str::to_owned);
            Updateable {
                url: url.clone(),
                id: field::text(one, &["Id"]).or_else(last).unwrap_or_default(),
                name: field::text(one, &["Name"]),
                version: field::text(one, &["Version"]),
                updateable: field::flag(one, &["Updateable"]),
            }
        };
        Ok(UpdateOffers {
            fetch: self.action(&at, &service, "UpdateService.SimpleUpdate").is_some(),
            push: quirk || told("MultipartHttpPushUri") || told("HttpPushUri"),
            components: found.iter().map(component).collect(),
        })
    }

    /// When the machine was reset last, as the controller tells; `None` where it does not.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn last_reset(&self) -> Result<Option<String>, BmcError> {
        Ok(field::text(&self.machine().await?.system, &["LastResetTime"]))
    }

    /// The tasks that the controller lists, done or not; empty where it keeps none.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn tasks(&self) -> Result<BTreeSet<String>, BmcError> {
        // Logs in, so that a refused password is no empty list.
        self.machine().await?;
        let root = self.inner.get(ROOT).await?.body;
        let link = field::link(&root, &["Tasks"]).or_else(|| field::link(&root, &["TaskService"]));
        let Some(service) = link.and_then(|link| local(&self.inner.base, link)) else {
            return Ok(BTreeSet::new());
        };
        let service = match self.inner.get(&service).await {
            Ok(answer) => answer.body,
            Err(BmcError::Refused { status: 404 | 405 | 501, .. }) => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let mut walk = Walk::new(self);
        Ok(walk.member_paths(ROOT, &service, &["Tasks"]).await.into_iter().collect())
    }
}
