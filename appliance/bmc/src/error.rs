//! What can go wrong between us and a controller.  Odd content is no error but a finding.

use crate::{lost::Lost, pin::Pin};

/// Why a controller could not be asked or told something.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    /// The address is not one.
    #[error("`{url}` is not a management controller's address; write it as in https://10.78.0.11")]
    Address {
        /// What was written.
        url: String,
    },
    /// The TLS library refused its settings.
    #[error("the TLS client for {url} could not be made")]
    Tls {
        /// The controller.
        url: String,
        /// What came back.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It has another key than before.
    #[error(
        "{url} shows a certificate with another key than at first contact: expected {expected}, got {got}; if its \
         certificate or board was replaced on purpose, `scalerforge bmc forget` lets the new key in, else somebody is in \
         between"
    )]
    PinChanged {
        /// The controller.
        url: String,
        /// The key we know.
        expected: Pin,
        /// The key it showed.
        got: Pin,
    },
    /// No answer.
    #[error("{method} {url} got no whole answer; check that the controller is reachable and awake")]
    NoAnswer {
        /// The method.
        method: &'static str,
        /// What was asked.
        url: String,
        /// What came back.
        #[source]
        source: Lost,
    },
    /// The answer does not fit.
    #[error("{method} {url} answered more than {max} bytes; this is no Redfish resource")]
    TooLong {
        /// The method.
        method: &'static str,
        /// What was asked.
        url: String,
        /// The limit.
        max: usize,
    },
    /// The answer is not JSON.
    #[error("{method} {url} answered something that is not JSON")]
    NotJson {
        /// The method.
        method: &'static str,
        /// What was asked.
        url: String,
        /// What came back.
        #[source]
        source: serde_json::Error,
    },
    /// A status that means no.
    #[error("{method} {url} answered {status}: {said}")]
    Refused {
        /// The method.
        method: &'static str,
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The controller's own words, shortened.
        said: String,
    },
    /// Wrong user or password.
    #[error(
        "{url} does not accept the password of `{user}`; correct it in the site's file (it is not tried again, \
         controllers lock accounts)"
    )]
    Login {
        /// The controller.
        url: String,
        /// The user.
        user: String,
    },
    /// It accepted a change and failed at it.
    #[error("{url} accepted the change and failed at it: {said}")]
    TaskFailed {
        /// What was asked.
        url: String,
        /// The controller's own words, shortened.
        said: String,
    },
    /// The password must be changed first.
    #[error(
        "{url} wants the password of `{user}` to be changed before anything else; change it (a first login with the \
         factory password), then try again"
    )]
    PasswordChange {
        /// The controller.
        url: String,
        /// The user.
        user: String,
        /// The account's resource, where the controller tells it.
        account: Option<String>,
    },
    /// It ends our sessions.
    #[error(
        "{url} revoked {times} new sessions at once; another client may use up its sessions, or this user may not read \
         what was asked"
    )]
    Revoked {
        /// The controller.
        url: String,
        /// How many.
        times: u32,
    },
    /// It sends us to somebody else.
    #[error("{url} answered {status} and redirects elsewhere, to `{to}`; not followed")]
    Elsewhere {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// Where to.
        to: String,
    },
    /// It has no machine.
    #[error("{url} lists no computer system, so there is nothing to take inventory of or to boot{why}")]
    NoSystem {
        /// The controller.
        url: String,
        /// What was seen instead: empty, or a clause.
        why: String,
    },
    /// It cannot boot from there.
    #[error("{url} cannot boot its machine once from {wanted}; it offers {offered}")]
    NoSuchBootTarget {
        /// The controller.
        url: String,
        /// What was wanted.
        wanted: &'static str,
        /// What it offers.
        offered: String,
    },
    /// It said yes and did not.
    #[error(
        "{url} accepted the boot override and does not show it: wanted {wanted} once, found {found}; the machine \
         may be in POST, try again when it is off"
    )]
    BootNotSet {
        /// The controller.
        url: String,
        /// What was wanted.
        wanted: &'static str,
        /// What is set.
        found: String,
    },
    /// No slot took the medium, or none is there.
    #[error("{url}: no virtual medium: {why}")]
    NoMedia {
        /// The machine, or the slot.
        url: String,
        /// What each slot said.
        why: String,
    },
    /// It cannot do that to the power.
    #[error("{url} cannot {wanted} its machine; it offers {offered}")]
    NoSuchReset {
        /// The controller.
        url: String,
        /// What was wanted, in words.
        wanted: &'static str,
        /// What it offers.
        offered: String,
    },
    /// The permission is for another machine, or for something else.
    #[error("{url}: {what} was allowed for the machine {allowed}, and this is {found}; nothing was changed")]
    NotAllowed {
        /// The machine.
        url: String,
        /// What was to be done.
        what: &'static str,
        /// The serial of the permission, or what it allows.
        allowed: String,
        /// The serial that was found.
        found: String,
    },
    /// A licence is missing.
    #[error(
        "{url} refuses {what} without a licence ({needs}): {said}; install the licence, or do it in band"
    )]
    Licence {
        /// What was asked.
        url: String,
        /// What was to be done.
        what: &'static str,
        /// Which licences open it, as far as known.
        needs: String,
        /// The controller's own words, shortened.
        said: String,
    },
    /// It does not offer that.
    #[error("{url} does not offer {what}")]
    Lacks {
        /// What was asked.
        url: String,
        /// What is missing.
        what: String,
    },
    /// What we were to send is not fit for it; nothing was sent.
    #[error("{url}: {why}; nothing was changed")]
    Unfit {
        /// What it was for.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// It said yes and does not show it.
    #[error("{url} accepted {wanted} and shows {found}")]
    NotShown {
        /// What was changed.
        url: String,
        /// What was wanted.
        wanted: String,
        /// What it shows.
        found: String,
    },
}
