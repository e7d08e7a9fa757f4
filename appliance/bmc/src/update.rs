//! Firmware updates: by address (SimpleUpdate) or pushed (multipart, or the plain push of older controllers), followed as a
//! task, and believed when the inventory shows another version (DSP2062; DSP2046: UpdateService, SoftwareInventory).
//!
//! An update has two steps, so that it survives a crash of ours: [`Bmc::start_update`] gives back what to keep, and
//! [`Bmc::finish_update`] goes on from there.  It is never started twice by itself: two updates at once have bricked boards.

use std::{collections::BTreeMap, time::Duration};

use appliance_model::Digest;
use reqwest::header;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    change::{Allowed, LOOKS_MAX, What, gate, in_doubt, succeeded},
    client::{Bmc, ROOT},
    error::BmcError,
    exchange::{Answer, said},
    field,
    inventory::Machine,
    link::local,
    quirks::Switch,
    session::Key,
    task::{Followed, Outcome},
    walk::Walk,
};

mod offers;

pub use offers::{UpdateOffers, Updateable};

/// Largest image pushed: the largest real ones (bundles for GPU boards) have 1.2 GB and go by address.
const IMAGE_BYTES_MAX: usize = 512 << 20;
/// A push over a controller's slow network, and its check of the image.
const PUSH_SECONDS_MAX: u64 = 1800;
/// Tasks looked at to find ours.
const TASKS_MAX: usize = 64;
/// Between two looks at the inventory: a controller that restarts itself is away for minutes.
const LOOK_SECONDS: u64 = 10;

/// An image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image<'a> {
    /// The controller fetches it from here.
    Address(&'a str),
    /// We push it: its file name and its bytes.
    Bytes(&'a str, &'a [u8]),
}

/// How an image gets to a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateWay {
    /// `SimpleUpdate`: it fetches.
    Simple,
    /// A multipart push.
    Multipart,
    /// The plain push of older services.
    Push,
    /// It was found under way, after a crash of ours.
    Unknown,
}

/// What was seen before an update was sent: kept before it is sent, it tells after a crash whether it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The components it is for; empty: the image knows.
    pub targets: Vec<String>,
    /// Versions of all components, by resource.
    pub before: BTreeMap<String, String>,
    /// The tasks that were there; `None`: the controller lists none.
    pub tasks: Option<Vec<String>>,
}

/// An update under way: to be kept until it is finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// How it went out.
    pub way: UpdateWay,
    /// The task; `None`: the controller told none.
    pub task: Option<String>,
    /// The components it is for; empty: the image knows.
    pub targets: Vec<String>,
    /// Versions of all components before, by resource.
    pub before: BTreeMap<String, String>,
}

/// A component whose version is another now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Updated {
    /// Its resource in the firmware inventory.
    pub component: String,
    /// The version before; `None`: it is new.
    pub before: Option<String>,
    /// The version now.
    pub now: String,
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// How its task ended.
    pub task: Followed,
    /// What the inventory shows otherwise than before.  Empty with [`Outcome::AwaitsRestart`] until the next start, and
    /// when the image had the version that was there.
    pub updated: Vec<Updated>,
}

impl Bmc {
    /// Versions of all components, by resource.
    ///
    /// # Errors
    /// When the controller has no update service or it cannot be read.
    pub async fn firmware_versions(&self) -> Result<BTreeMap<String, String>, BmcError> {
        let (_, service) = self.update_service().await?;
        let mut walk = Walk::new(self);
        let found = walk.members(ROOT, &service, &["FirmwareInventory"]).await.unwrap_or_default();
        Ok(found
            .iter()
            .filter_map(|(url, one)| Some((url.clone(), field::text(one, &["Version"])?)))
            .collect())
    }

    /// Looks at what an update of `targets` (resources of the firmware inventory; none: the image knows) would change.
    /// Nothing is sent.
    ///
    /// # Errors
    /// When the controller has no update service, or no such firmware.
    pub async fn plan_update(&self, targets: &[String]) -> Result<Planned, BmcError> {
        let (at, _) = self.update_service().await?;
        let before = self.firmware_versions().await?;
        if let Some(unknown) = targets.iter().find(|target| !before.contains_key(*target)) {
            return Err(self.unfit(&at, format!("there is no firmware {unknown} to update")));
        }
        Ok(Planned { targets: targets.to_vec(), before, tasks: self.task_paths().await })
    }

    /// Whether a planned update was sent, as far as the controller shows: a task that was not there, or another version.
    /// `None` with a controller that lists no tasks is no proof that it was not.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub async fn find_update(&self, planned: &Planned) -> Result<Option<Started>, BmcError> {
        let started = |task| Started {
            way: UpdateWay::Unknown,
            task,
            targets: planned.targets.clone(),
            before: planned.before.clone(),
        };
        if let (Some(old), Some(now)) = (&planned.tasks, self.task_paths().await) {
            for path in now.into_iter().filter(|path| !old.contains(path)) {
                let Ok(task) = self.inner.get(&path).await else { continue };
                if about_firmware(&task.body) {
                    return Ok(Some(started(Some(path))));
                }
            }
        }
        // Components that are not shown prove nothing: a controller that has just started shows them one after the other.
        let (now, unseen) = (self.firmware_versions().await?, started(None));
        Ok((!changes(&unseen, &now).is_empty()).then_some(unseen))
    }

    /// Gives the controller an image for `targets` (resources of the firmware inventory; none: the image knows).
    ///
    /// # Errors
    /// When it is not allowed for this machine, the controller takes no such image, refuses, or wants a licence.
    pub async fn start_update(
        &self,
        allowed: &Allowed,
        image: Image<'_>,
        targets: &[String],
    ) -> Result<Started, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Firmware)?;
        let planned = self.plan_update(targets).await?;
        self.start_planned_update(allowed, image, &planned).await
    }

    /// The same for a plan that was kept: one whose answer was lost is looked for, and not sent again.
    ///
    /// # Errors
    /// When it is not allowed for this machine, the controller takes no such image, refuses, or wants a licence; and when
    /// the answer was lost and the controller shows no sign of it: look again ([`Bmc::find_update`]) before it is sent again.
    pub async fn start_planned_update(
        &self,
        allowed: &Allowed,
        image: Image<'_>,
        planned: &Planned,
    ) -> Result<Started, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Firmware)?;
        let (way, sent) = self.send_image(&machine, image, &planned.targets).await?;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) if in_doubt(&error) => {
                for look in 0..LOOKS_MAX {
                    if look > 0 {
                        tokio::time::sleep(self.inner.options.pause).await;
                    }
                    if let Ok(Some(found)) = self.find_update(planned).await {
                        return Ok(Started { way, ..found });
                    }
                }
                return Err(error);
            }
            Err(error) => return Err(gate(error, What::Firmware, &machine.quirks)),
        };
        let (targets, before) = (planned.targets.clone(), planned.before.clone());
        Ok(Started { way, task: self.accepted(&answer).at, targets, before })
    }

    /// Tasks that the controller lists.
    async fn task_paths(&self) -> Option<Vec<String>> {
        let (_, service) = self.service("TaskService", "tasks").await.ok()?;
        let tasks = field::link(&service, &["Tasks"]).and_then(|link| local(&self.inner.base, link))?;
        let listed = self.inner.get(&tasks).await.ok()?.body;
        let links = field::links(&listed, &["Members"]).into_iter();
        Some(links.filter_map(|link| local(&self.inner.base, link)).take(TASKS_MAX).collect())
    }

    /// Sends the image, the way the controller takes it.
    async fn send_image(
        &self,
        machine: &Machine,
        image: Image<'_>,
        targets: &[String],
    ) -> Result<(UpdateWay, Result<Answer, BmcError>), BmcError> {
        let (at, service) = self.update_service().await?;
        Ok(match image {
            Image::Address(address) => {
                let target = self.action(&at, &service, "UpdateService.SimpleUpdate");
                let target = target.ok_or_else(|| self.lacks(&at, "updates by address"))?;
                let body = simple(&service, &target, address, targets);
                (UpdateWay::Simple, self.tagged("POST", &target, Some(&body), &machine.quirks).await)
            }
            Image::Bytes(name, bytes) => {
                if bytes.is_empty() || bytes.len() > IMAGE_BYTES_MAX {
                    let why =
                        format!("an image of {} bytes is not pushed; at most {IMAGE_BYTES_MAX}", bytes.len());
                    return Err(BmcError::Unfit { url: self.inner.url(&at), why });
                }
                let told = |key: &str| {
                    let uri = field::text(&service, &[key])?;
                    local(&self.inner.base, &uri)
                };
                let quirk = machine.quirks.switches().find_map(|switch| {
                    let Switch::MultipartAt(path) = switch else { return None };
                    Some(path.to_owned())
                });
                match (told("MultipartHttpPushUri").or(quirk), told("HttpPushUri")) {
                    (Some(uri), _) => {
                        let (kind, body) = multipart(name, bytes, targets);
                        (UpdateWay::Multipart, self.push(&uri, &kind, body).await)
                    }
                    (None, Some(uri)) => {
                        self.aim(&at, &service, targets, &machine.quirks).await?;
                        let body = bytes.to_vec();
                        (UpdateWay::Push, self.push(&uri, "application/octet-stream", body).await)
                    }
                    (None, None) => return Err(self.lacks(&at, "updates by push")),
                }
            }
        })
    }

    /// Follows an update that was started, also by an earlier run of ours, for so long in all: its task, then the inventory,
    /// while a controller that restarts itself comes back.
    ///
    /// # Errors
    /// When its task failed, the login is refused meanwhile, or the controller shows another key.
    pub async fn finish_update(&self, started: &Started, time: Duration) -> Result<Finished, BmcError> {
        let until = Instant::now() + time;
        let task = match &started.task {
            Some(task) => succeeded(self.follow_task(task, time).await?)?,
            None => Followed::untracked(),
        };
        let pause = Duration::from_secs(LOOK_SECONDS).min(self.inner.options.pause * 5);
        // A task that is done has done it; one that was lost or never told may go on.
        let patient = matches!(task.outcome, Outcome::Lost | Outcome::Untracked);
        let mut attempts_left = 5_u32;
        loop {
            match self.firmware_versions().await {
                Ok(now) => {
                    let updated = changes(started, &now);
                    let enough = !updated.is_empty() || (!patient && attempts_left == 0);
                    if enough || task.outcome == Outcome::AwaitsRestart || Instant::now() + pause > until {
                        return Ok(Finished { task, updated });
                    }
                    attempts_left = attempts_left.saturating_sub(1);
                }
                // It restarts itself.
                Err(
                    error @ (BmcError::NoAnswer { .. } | BmcError::NotJson { .. } | BmcError::Refused { .. }),
                ) => {
                    if Instant::now() + pause > until {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn update_service(&self) -> Result<(String, Value), BmcError> {
        self.service("UpdateService", "an update service").await
    }

    /// The plain push takes its targets beforehand, from the service itself.
    async fn aim(
        &self,
        at: &str,
        service: &Value,
        targets: &[String],
        quirks: &crate::quirks::Quirks,
    ) -> Result<(), BmcError> {
        if targets.is_empty() {
            return Ok(());
        }
        if service.get("HttpPushUriTargets").is_none() {
            return Err(self.lacks(at, "targets for a plain push; give none if the image knows its own"));
        }
        let body = json!({ "HttpPushUriTargets": targets });
        self.tagged("PATCH", at, Some(&body), quirks).await.map(drop)
    }

    /// Sends an image.  Once: the session was renewed by the reads just before.
    async fn push(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<Answer, BmcError> {
        let inner = &self.inner;
        let key = inner.key(None).await?;
        let _permit = inner.permits.acquire().await;
        let url = inner.url(path);
        let mut request = inner
            .http
            .post(&url)
            .timeout(Duration::from_secs(PUSH_SECONDS_MAX))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, kind)
            .body(body);
        request = match &key {
            Key::None => request,
            Key::Token(token) => request.header("X-Auth-Token", token),
            Key::Basic => request.basic_auth(&inner.user, Some(inner.password.reveal())),
        };
        let lost = |source: reqwest::Error| BmcError::NoAnswer {
            method: "POST",
            url: url.clone(),
            source: source.into(),
        };
        let answer = inner.read("POST", path, request.send().await.map_err(lost)?).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(BmcError::Refused { method: "POST", url, status: answer.status, said: said(&answer.body) })
    }
}

/// The body of SimpleUpdate; the protocol only where the service knows the word.
fn simple(service: &Value, target: &str, address: &str, targets: &[String]) -> Value {
    let mut body = json!({ "ImageURI": address });
    let path = ["Actions", "#UpdateService.SimpleUpdate", "TransferProtocol@Redfish.AllowableValues"];
    let protocols = field::texts(service, &path);
    let scheme = address.split("://").next().unwrap_or_default().to_ascii_uppercase();
    if protocols.contains(&scheme) {
        body["TransferProtocol"] = scheme.into();
    }
    if !targets.is_empty() {
        body["Targets"] = json!(targets);
    }
    tracing::debug!(target, "update by address");
    body
}

/// A multipart body (DSP0266, 12.6.2): parameters, then the file.  The boundary is a digest of the image: no image holds its
/// own.
fn multipart(name: &str, bytes: &[u8], targets: &[String]) -> (String, Vec<u8>) {
    let boundary = format!("image-{}", Digest::of(bytes));
    let safe: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(128).collect();
    let mut parameters = json!({ "@Redfish.OperationApplyTime": "Immediate" });
    if !targets.is_empty() {
        parameters["Targets"] = json!(targets);
    }
    let mut body = Vec::with_capacity(bytes.len().saturating_add(1024));
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\nContent-Type: application/json\
         \r\n\r\n{parameters}\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"UpdateFile\"; \
         filename=\"{safe}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// Whether a task is an update, or does not say what it is.
fn about_firmware(task: &Value) -> bool {
    let told = ["Name", "Description", "TaskType"].iter().filter_map(|name| field::text(task, &[name]));
    let target = field::text(task, &["Payload", "TargetUri"]);
    let words: Vec<String> = told.chain(target).map(|text| text.to_ascii_lowercase()).collect();
    let about = |word: &str| words.iter().any(|text| text.contains(word));
    ["update", "firmware", "upload", "flash", "install"].iter().any(|word| about(word))
        || !["reset", "power", "bios", "media", "certificate", "account", "log"]
            .iter()
            .any(|word| about(word))
}

fn changes(started: &Started, now: &BTreeMap<String, String>) -> Vec<Updated> {
    let one = |(component, version): (&String, &String)| {
        let before = started.before.get(component);
        (before != Some(version)).then(|| Updated {
            component: component.clone(),
            before: before.cloned(),
            now: version.clone(),
        })
    };
    now.iter().filter_map(one).collect()
}
