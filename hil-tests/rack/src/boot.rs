//! The one-time boot override that BMC and firmware share.
//!
//! The BMC writes it, the machine consumes it at power-on and at each reset; `Once` is gone after the first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::spec::BootTarget;

/// How long an override lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverrideEnabled {
    /// No override.
    #[default]
    Disabled,
    /// For one start.
    Once,
    /// Until it is taken back.
    Continuous,
}

/// The override as the BMC shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// What to boot; nothing means the firmware's own order (Redfish `None`).
    pub target: Option<BootTarget>,
    /// For how long.
    pub enabled: OverrideEnabled,
}

/// The shared cell.
#[derive(Debug, Default)]
pub(crate) struct BootSetting {
    setting: Mutex<Override>,
    starts: AtomicU64,
}

impl BootSetting {
    pub(crate) fn read(&self) -> Override {
        *self.setting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, new: Override) {
        *self.setting.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// How often the server started so far.
    pub(crate) fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }

    /// What this start boots; a `Once` override is used up by asking.
    pub(crate) fn consume(&self) -> BootTarget {
        self.starts.fetch_add(1, Ordering::SeqCst);
        let mut setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let Override { target, enabled } = *setting;
        match enabled {
            OverrideEnabled::Disabled => BootTarget::Disk,
            OverrideEnabled::Once => {
                *setting = Override::default();
                target.unwrap_or_default()
            }
            OverrideEnabled::Continuous => target.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_is_once() {
        let http = Some(BootTarget::UefiHttp);
        for (enabled, first, second) in [
            (OverrideEnabled::Disabled, BootTarget::Disk, BootTarget::Disk),
            (OverrideEnabled::Once, BootTarget::UefiHttp, BootTarget::Disk),
            (OverrideEnabled::Continuous, BootTarget::UefiHttp, BootTarget::UefiHttp),
        ] {
            let setting = BootSetting::default();
            setting.write(Override { target: http, enabled });
            assert_eq!((setting.consume(), setting.consume()), (first, second), "{enabled:?}");
        }
    }
}
