//! The rules, in the order in which their answers count: the further a machine got, the earlier.
//!
//! A rule reads the latest boot of one machine and finds something or nothing.  The first finding is the verdict, the
//! others are told beside it.  Each rule has a name that stays, and a test made of packets' bytes.

mod answers;
mod asks;
mod rivals;
mod transfer;
mod v6;

use super::{story::Story, verdict::Found};

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) code: &'static str,
    pub(super) check: fn(&Story<'_>) -> Option<Found>,
}

macro_rules! rules {
    ($($code:literal => $check:path,)*) => { &[$(Rule { code: $code, check: $check },)*] };
}

pub(super) const RULES: &[Rule] = rules! {
    "booted" => transfer::booted,
    "agent-silent" => transfer::agent_silent,
    "loaded-and-back" => transfer::loaded_and_back,
    "loaded-no-hello" => transfer::loaded_no_hello,
    "loaded" => transfer::loaded_alone,
    "http-broken" => transfer::http_broken,
    "tls-failed" => transfer::tls_failed,
    "http-refused" => transfer::http_refused,
    "tftp-lost-block" => transfer::tftp_lost_block,
    "tftp-broken" => transfer::tftp_broken,
    "tftp-unknown-file" => transfer::tftp_unknown_file,
    "tftp-write" => transfer::tftp_write,
    "loading" => transfer::loading,
    "sent-on-to-http" => transfer::sent_on_to_http,
    "relay-not-configured" => answers::relay_not_configured,
    "relay-stripped-arch" => asks::relay_stripped_arch,
    "no-arch" => asks::no_arch,
    "second-server-first" => rivals::second_server_first,
    "second-server-taken" => rivals::second_server_taken,
    "second-server-boots" => rivals::second_server_boots,
    "never-asked-4011" => rivals::never_asked_4011,
    "proxy-without-server" => rivals::proxy_without_server,
    "v6-other-server" => v6::other_server,
    "v6-options-only" => v6::options_only,
    "v6-no-boot-option" => v6::no_boot_option,
    "v6-file-never-asked" => v6::file_never_asked,
    "v6-offer-not-taken" => v6::offer_not_taken,
    "pool-exhausted" => answers::pool_exhausted,
    "address-in-use" => asks::address_in_use,
    "not-recorded" => answers::not_recorded,
    "not-sent" => answers::not_sent,
    "arch-without-image" => answers::arch_without_image,
    "refused" => asks::refused,
    "file-never-asked" => asks::file_never_asked,
    "offer-not-taken" => asks::offer_not_taken,
    "v6-never-asked" => v6::never_asked,
    "listening" => answers::listening,
    "told-to-be-silent" => answers::told,
    "agent-runs" => asks::agent_runs,
    "did-not-ask-to-boot" => asks::did_not_ask_to_boot,
    "mtu-smaller" => transfer::mtu_smaller,
    "unanswered" => answers::unanswered_otherwise,
    "second-server-seen" => rivals::second_server_seen,
};

/// "once", "twice", "three times".
fn times(count: usize) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        3 => "three times".into(),
        4 => "four times".into(),
        more => format!("{more} times"),
    }
}
