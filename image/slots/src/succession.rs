//! Which release may follow the one that runs: a newer one of the same name, and none below the floor.
//!
//! How two versions compare is the caller's to bring: whoever names versions knows their order.

use std::cmp::Ordering;

use appliance_api::agent::host::Release;

/// Why a release is not put beside the one that runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNext {
    /// Another system.
    #[error("this is a release of {offered}, and {running} runs here: name a release of {running}")]
    OtherSystem {
        /// What runs.
        running: String,
        /// What was offered.
        offered: String,
    },
    /// The same.
    #[error("version {version} with this very root runs here already: there is nothing to update")]
    Same {
        /// Its version.
        version: String,
    },
    /// An older epoch.
    #[error(
        "release {version} has epoch {epoch}, and this machine demands {least}: releases before that have a fault that is \
         known, take a newer one"
    )]
    OldEpoch {
        /// Its version.
        version: String,
        /// Its epoch.
        epoch: u32,
        /// The least that is taken.
        least: u32,
    },
    /// An older version.
    #[error(
        "version {offered} is not newer than {running}, which runs here: take a newer one; the way back to what ran before \
         is the other slot"
    )]
    NotNewer {
        /// What runs.
        running: String,
        /// What was offered.
        offered: String,
    },
}

/// Whether `offered` may follow `running` on a machine whose TPM counts `floor`.
///
/// # Errors
/// Why not.
pub fn follows(
    running: &Release,
    offered: &Release,
    floor: Option<u32>,
    order: impl Fn(&str, &str) -> Ordering,
) -> Result<(), NotNext> {
    if offered.name != running.name {
        return Err(NotNext::OtherSystem { running: running.name.clone(), offered: offered.name.clone() });
    }
    let version = offered.version.clone();
    if offered.root_hash == running.root_hash {
        return Err(NotNext::Same { version });
    }
    let least = floor.unwrap_or(0).max(running.epoch);
    if offered.epoch < least {
        return Err(NotNext::OldEpoch { version, epoch: offered.epoch, least });
    }
    match order(&offered.version, &running.version) {
        Ordering::Greater => Ok(()),
        // The boot loader takes the entry with the larger version: an equal one would be a matter of luck.
        Ordering::Equal | Ordering::Less => {
            Err(NotNext::NotNewer { running: running.version.clone(), offered: version })
        }
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::Digest;

    use super::*;

    fn release(name: &str, version: &str, epoch: u32, root: u8) -> Release {
        Release { name: name.into(), version: version.into(), epoch, root_hash: Digest([root; 32]) }
    }

    #[test]
    fn only_newer_releases_of_the_same_system_follow() {
        let running = release("scalerforge-appliance", "1.2", 3, 1);
        let order = |a: &str, b: &str| a.cmp(b);
        let table = [
            (("scalerforge-appliance", "1.3", 3, 2), None, None),
            (("scalerforge-appliance", "1.3", 4, 2), Some(4), None),
            (("scalerforge-host", "1.3", 3, 2), None, Some("a release of scalerforge-host")),
            (("scalerforge-appliance", "1.2", 3, 1), None, Some("nothing to update")),
            (("scalerforge-appliance", "1.3", 2, 2), None, Some("epoch 2, and this machine demands 3")),
            (("scalerforge-appliance", "1.3", 3, 2), Some(5), Some("demands 5")),
            (("scalerforge-appliance", "1.1", 3, 2), None, Some("not newer than 1.2")),
            (("scalerforge-appliance", "1.2", 3, 2), None, Some("not newer than 1.2")),
        ];
        for ((name, version, epoch, root), floor, refused) in table {
            let said = follows(&running, &release(name, version, epoch, root), floor, order);
            match (said, refused) {
                (Ok(()), None) => {}
                (Err(why), Some(words)) => assert!(why.to_string().contains(words), "{why}"),
                (said, refused) => panic!("{version} {epoch} {floor:?}: {said:?}, not {refused:?}"),
            }
        }
    }
}
