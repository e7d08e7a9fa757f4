//! How a machine feels now: its sensors and its event logs, and nothing else, for whoever asks often.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    body,
    client::{Bmc, ROOT},
    control_plane,
    error::BmcError,
    inventory::find_machine,
    view::{Finding, LogEntry, Sensor, Severity},
    walk::Walk,
};

/// One look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// Sensors of all chassis.
    pub sensors: Vec<Sensor>,
    /// Entries of all event logs: of long ones the first and the last page.
    pub logs: Vec<LogEntry>,
    /// Whether a log has entries that were not read, or none could be found.
    pub logs_cut: bool,
    /// What was missing or odd.
    pub findings: Vec<Finding>,
}

impl Bmc {
    /// Reads sensors and event logs.
    ///
    /// # Errors
    /// When the controller cannot be asked at all, or lists no machine.
    pub async fn vitals(&self) -> Result<Vitals, BmcError> {
        let mut walk = Walk::new(self);
        let root = self.inner.get(ROOT).await?.body;
        self.inner.enter().await?;
        let found = find_machine(&mut walk, self, &root, &[]).await?;
        let mut chassis: Vec<(String, Arc<Value>)> = found.chassis.iter().cloned().collect();
        for (url, one) in walk.members(ROOT, &root, &["Chassis"]).await.unwrap_or_default() {
            if chassis.iter().all(|(known, _)| *known != url) {
                chassis.push((url, one));
            }
        }
        let (mut sensors, mut supplies) = (Vec::new(), Vec::new());
        for (url, one) in &chassis {
            body::readings(&mut walk, (url, one), &mut sensors, &mut supplies).await;
        }
        let mut logged: Vec<(&str, &Value)> = vec![(&found.machine.path, found.machine.system.as_ref())];
        logged.extend(found.manager.iter().map(|(url, value)| (url.as_str(), value.as_ref())));
        let (mut logs, before) = (Vec::new(), walk.findings.len());
        let read = control_plane::newest_logs(&mut walk, &logged, &mut logs).await;
        let failed = walk
            .findings
            .get(before..)
            .is_some_and(|new| new.iter().any(|finding| finding.severity > Severity::Info));
        Ok(Vitals { sensors, logs, logs_cut: !read || failed, findings: walk.findings })
    }
}
