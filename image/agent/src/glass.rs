//! Break-glass: SSH for one key and some minutes, on an installed host, because its command line says so and its appliance
//! says so in this boot.  Neither alone opens anything.
//!
//! Time is counted from the appliance's order on, by the clock that nobody sets: what the host's own clock says can only
//! end it.  At the end, whoever ends it, the server and its sessions are killed, the addon is taken off the drive and the
//! machine restarts.  If this program dies, its service's processes die with it, the packet filter forgets the port by
//! itself, and a timer of systemd's restarts the machine.  An addon that is found at the start and is not for this
//! server, or is over, opens nothing and is taken away.
//! Next: `door` (what is opened), `ear` (what is heard of it).

mod door;
mod ear;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use appliance_api::agent::{
    Outcome,
    glass::{GlassWord, MINUTES_MAX, PlantOrder, UnlockOrder, Words, grant},
};
use appliance_model::{HostId, Serial};
use image_slots::install;
use nix::time::{ClockId, clock_gettime};

use crate::{
    client::Client,
    console::chain,
    residence::{self, Running},
    say,
    system::{self, Leave},
    work::Hands,
};
use door::Door;
use ear::Ear;

/// Between two looks at the clock, and two words to the appliance.
const LOOK: Duration = Duration::from_secs(1);
/// An addon is a few kilobytes.
const ADDON_BYTES_MAX: usize = 64 << 10;
/// How long the last lines may take to be told.
const LAST_WORDS_LOOKS: u32 = 5;

/// The door of this machine, where it is open.
#[derive(Debug, Clone, Default)]
pub struct Glass(Arc<Mutex<Option<Open>>>);

#[derive(Debug)]
struct Open {
    door: Door,
    ear: Ear,
    words: Words,
}

impl Hands<'_> {
    /// Puts an addon beside the running system.
    pub(crate) fn plant(&self, order: &PlantOrder) -> Result<Outcome, String> {
        let running = Running::read(&self.talk.root)
            .ok_or("no installed system runs here, and only such a one has an addon")?;
        let addon = hex::decode(&order.addon).ok().filter(|addon| addon.len() <= ADDON_BYTES_MAX);
        let addon = addon.ok_or("the order's addon cannot be read, or is larger than any")?;
        let mut block = running.block(&self.talk.root)?;
        install::plant(&mut block, &running.release.root_hash.0, &addon).map_err(|error| chain(&error))?;
        say!("break-glass: an addon stands beside this system, and counts from the next start on");
        Ok(Outcome::Planted)
    }

    /// Opens, if this boot was started for it.
    pub(crate) fn unlock(&self, order: &UnlockOrder) -> Result<Outcome, String> {
        let root = &self.talk.root;
        Running::read(root).ok_or("no installed system runs here: nothing is opened")?;
        let words = allowed(&command_line(root), own_id(root).as_ref(), order)?;
        let mut glass = self.talk.glass.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = glass.as_ref().filter(|open| open.words == words) {
            return Ok(Outcome::Unlocked { host_key: open.door.host_key.clone() });
        }
        let said = self.talk.client.date().and_then(|date| system::unix_seconds(&date));
        let now = said.and_then(|seconds| u64::try_from(seconds).ok());
        let seconds = seconds_left(order.seconds, words.until_seconds, now.into_iter().chain(clock()));
        if seconds == 0 {
            return Err("its time is up: nothing is opened".into());
        }
        let until = boot_seconds().saturating_add(seconds);
        let (door, said) = Door::open(root, &order.key, seconds)?;
        let host_key = door.host_key.clone();
        say!(
            "break-glass: SSH is open for {} for {seconds} s; this host's key is {host_key}",
            order.key.fingerprint()
        );
        let ear = Ear::new(said);
        *glass = Some(Open { door, ear, words });
        drop(glass);
        watch(self.talk.glass.clone(), Arc::clone(&self.talk.client), root.clone(), until);
        Ok(Outcome::Unlocked { host_key })
    }

    /// Closes, and takes the addon away.
    pub(crate) fn lock(&self) -> Result<Outcome, String> {
        let root = &self.talk.root;
        self.talk.glass.close(&self.talk.client);
        let found = uproot(root)?;
        Ok(Outcome::Locked { restart: found || Words::are_on(&command_line(root)) })
    }
}

impl Glass {
    /// Ends it, and tells what was heard last; whether it was open.
    fn close(&self, client: &Client) -> bool {
        let Some(mut open) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return false;
        };
        open.door.close();
        say!("break-glass: SSH is closed, its sessions have ended");
        for _ in 0..LAST_WORDS_LOOKS {
            if open.tell(client) {
                break;
            }
            thread::sleep(LOOK);
        }
        true
    }
}

impl Open {
    /// Tells what was heard and not told; whether that was all.
    fn tell(&mut self, client: &Client) -> bool {
        while let Some((from, lines)) = self.ear.untold() {
            let count = lines.len();
            let word = GlassWord { host_key: self.door.host_key.clone(), from, lines };
            if client.mention(appliance_api::agent::glass::GLASS, &word).is_err() {
                return false;
            }
            self.ear.told(count);
        }
        true
    }
}

/// Why this boot and this order do not go together, or what the command line says.
fn allowed(command_line: &str, own: Option<&HostId>, order: &UnlockOrder) -> Result<Words, String> {
    let words =
        Words::read(command_line).ok_or("this boot was not started to be opened: nothing is opened")?;
    let own = own.ok_or("this server tells no serial: nothing is opened")?;
    if words.host != *own {
        return Err(format!("the addon of this boot is for server {}: nothing is opened", words.host));
    }
    if grant(own, words.until_seconds, &order.key) != words.grant {
        return Err("the addon of this boot is for another key than the order's: nothing is opened".into());
    }
    Ok(words)
}

/// What is left by the strictest of the order, the longest that there may be, and every clock that says anything.
fn seconds_left(ordered: u64, until: u64, clocks: impl Iterator<Item = u64>) -> u64 {
    clocks.map(|now| until.saturating_sub(now)).fold(ordered.min(MINUTES_MAX * 60), u64::min)
}

/// Ends it when its time is up, and tells meanwhile what is heard.
fn watch(glass: Glass, client: Arc<Client>, root: std::path::PathBuf, until: u64) {
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK);
            let over = {
                let mut open = glass.0.lock().unwrap_or_else(PoisonError::into_inner);
                // Somebody else has ended it.
                let Some(open) = open.as_mut() else { return };
                let passed = clock().is_some_and(|now| now >= open.words.until_seconds);
                let over = boot_seconds() >= until || passed || open.door.is_dead();
                if !over {
                    let _ = open.tell(&client);
                }
                over
            };
            if over {
                break;
            }
        }
        say!("break-glass: its time is up");
        if glass.close(&client) {
            match uproot(&root) {
                Ok(_) => {}
                Err(why) => say!(
                    "break-glass: the addon could not be taken away ({why}); the next start opens nothing"
                ),
            }
            residence::leave_installed(Leave::Reboot);
        }
    });
}

/// What an earlier run of this program has left open is closed; an addon that is not for this server, or is over, is
/// taken away, and the machine restarts without it.
pub fn at_start(root: &Path) {
    if Running::read(root).is_none() {
        return;
    }
    door::shut(root);
    let command_line = command_line(root);
    if !Words::are_on(&command_line) {
        return;
    }
    let Some(why) = void(Words::read(&command_line).as_ref(), own_id(root).as_ref(), clock()) else {
        say!("break-glass: this boot may be opened, once the appliance has seen its quote and says so");
        return;
    };
    say!("break-glass: {why}; nothing is opened, and the addon is taken away");
    match uproot(root) {
        Ok(true) => residence::leave_installed(Leave::Reboot),
        // Without having changed anything, a restart would come back here.
        Ok(false) => say!("break-glass: there is none beside this system; look at the boot loader's volume"),
        Err(why) => say!("break-glass: it could not be taken away: {why}"),
    }
}

/// Why an addon's words are worth nothing here, if so.
fn void(words: Option<&Words>, own: Option<&HostId>, clock: Option<u64>) -> Option<String> {
    let Some(words) = words else { return Some("the addon's words cannot be read".into()) };
    if own != Some(&words.host) {
        return Some(format!("the addon is for server {}", words.host));
    }
    clock.filter(|now| *now >= words.until_seconds).map(|_| "the addon's time is up".into())
}

fn uproot(root: &Path) -> Result<bool, String> {
    let running = Running::read(root).ok_or("no installed system runs here")?;
    let mut block = running.block(root)?;
    install::uproot(&mut block, &running.release.root_hash.0).map_err(|error| chain(&error))
}

fn command_line(root: &Path) -> String {
    fs::read_to_string(root.join("proc/cmdline")).unwrap_or_default()
}

fn own_id(root: &Path) -> Option<HostId> {
    let serial: Serial = firmware_checks_probe::probe(root).system.serial?;
    Some(HostId::of_serial(&serial))
}

/// Seconds since 1970, if this machine's clock was ever set.
fn clock() -> Option<u64> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).ok()?.tv_sec();
    (now >= system::CLOCK_SECONDS_MIN).then_some(now).and_then(|now| u64::try_from(now).ok())
}

/// Seconds since this machine was started, by the clock that nobody sets.
fn boot_seconds() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(i64::MAX, |now| now.tv_sec());
    u64::try_from(now).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use appliance_model::{Digest, SshKey};

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgjaIe0y3qBzXnh3ZfnhcS4JyLqfWSWk0mkedqXqmLF";
    const UNTIL: u64 = 1_795_243_403;

    fn id(serial: &str) -> HostId {
        HostId::of_serial(&Serial::parse(serial).unwrap())
    }

    #[test]
    fn words_of_this_server_and_this_key_alone_allow_it() {
        let key = SshKey::parse(KEY).unwrap();
        let order = UnlockOrder { key: key.clone(), seconds: 60 };
        let s1 = id("S1");
        let refused = |words: &str| allowed(words, Some(&s1), &order).unwrap_err();
        let own = Words::new(id("S1"), UNTIL, &key);
        assert_eq!(allowed(&own.to_string(), Some(&s1), &order), Ok(own.clone()));
        assert!(refused("").contains("not started to be opened"));
        assert!(refused(&Words::new(id("S2"), UNTIL, &key).to_string()).contains("is for server"));
        assert!(allowed(&own.to_string(), None, &order).is_err());
        let other = Words { grant: Digest([1; 32]), ..own.clone() };
        assert!(refused(&other.to_string()).contains("another key"));
        let longer = Words { until_seconds: UNTIL + 1, ..own };
        assert!(refused(&longer.to_string()).contains("another key"), "the grant is over the end, too");
    }

    #[test]
    fn the_strictest_clock_counts() {
        for (ordered, clocks, expected) in [
            (600, vec![], 600),
            (600, vec![UNTIL - 10], 10),
            (600, vec![UNTIL - 10, UNTIL - 900], 10),
            (600, vec![UNTIL], 0),
            (600, vec![UNTIL + 1], 0),
            (u64::MAX, vec![], 240 * 60),
            (0, vec![UNTIL - 10], 0),
        ] {
            assert_eq!(
                seconds_left(ordered, UNTIL, clocks.iter().copied()),
                expected,
                "{ordered} {clocks:?}"
            );
        }
    }

    #[test]
    fn an_addon_that_is_over_or_of_another_server_is_void() {
        let words = Words::new(id("S1"), UNTIL, &SshKey::parse(KEY).unwrap());
        let own = id("S1");
        for (words, own, clock, expected) in [
            (Some(&words), Some(&own), None, None),
            (Some(&words), Some(&own), Some(UNTIL - 1), None),
            (Some(&words), Some(&own), Some(UNTIL), Some("time is up")),
            (Some(&words), Some(&id("S2")), None, Some("for server")),
            (Some(&words), None, None, Some("for server")),
            (None, Some(&own), None, Some("cannot be read")),
        ] {
            let why = void(words, own, clock);
            assert_eq!(why.is_some(), expected.is_some(), "{why:?}");
            assert!(why.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
    }
}
