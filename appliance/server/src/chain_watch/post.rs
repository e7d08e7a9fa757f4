//! Alerts as webhooks: each is posted until its receiver has taken it, or for so long that nobody reads it any more.
//!
//! What is to be posted is in the store, written with the alert.  A receiver may be told twice (we died between its
//! answer and our note): the alert's id says so.  The body is signed with the site's secret, so that a receiver knows
//! its site; the secret is in a file, and neither it nor a receiver's answer is logged.

use std::{sync::Arc, time::Duration};

use appliance_api::alerts::AlertPostView;
use appliance_model::Seconds;
use appliance_store::AlertPost;
use ring::hmac;

use super::api;
use crate::{
    app::{App, now},
    chain_of,
    config::Alerts,
};

/// The header with time and signature.
const SIGNATURE: &str = "x-scalerforge-signature";

/// How often it is looked for something to post.
const ROUND: Duration = Duration::from_secs(2);

/// Posted in one round, oldest first.
const POSTS: u64 = 50;

/// How long a receiver may take.
const ANSWER_SECONDS_MAX: u64 = 20;

/// Between two tries: doubled each time, up to an hour.  With the store's bound on tries that is a day and a half.
const PAUSE_SECONDS: u64 = 5;
const PAUSE_SECONDS_MAX: u64 = 3_600;

/// Runs until the end of the process; at once over where no receiver is configured.
pub(crate) async fn run(app: &Arc<App>) {
    let Some(alerts) = &app.config.alerts else { return std::future::pending().await };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(ANSWER_SECONDS_MAX))
        .redirect(reqwest::redirect::Policy::none());
    let client = if alerts.local { client.no_proxy() } else { client };
    let Ok(client) = client.build() else {
        tracing::error!("alerts cannot be posted: no HTTP client could be made");
        return std::future::pending().await;
    };
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let posts = match app.db(|store| store.alert_posts(now(), POSTS)).await {
            Ok(posts) => posts,
            Err(error) => {
                tracing::error!(error = %chain_of(&error), "what is to be posted cannot be read");
                continue;
            }
        };
        for post in posts {
            // The first that is not taken holds up the others of this round only: each has its own time.
            tell(app, alerts, &client, post).await;
        }
    }
}

async fn tell(app: &Arc<App>, alerts: &Alerts, client: &reqwest::Client, post: AlertPost) {
    let AlertPost { event, row, tries } = post;
    let id = row.alert.id.clone();
    let site = app.config.site.name.clone();
    let body = AlertPostView { event: event.clone(), site, alert: api::alert_view(row) };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let signature = signed(&alerts.secret, now().0 / 1000, &body);
    let sent = client
        .post(alerts.url.as_str())
        .header("content-type", "application/json")
        .header(SIGNATURE, signature)
        .body(body)
        .send()
        .await;
    let trouble = match sent {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("the receiver answered {}", answer.status().as_u16())),
        // Without its URL, which may have a secret of the receiver's in it.
        Err(error) => Some(chain_of(&error.without_url())),
    };
    let written = match &trouble {
        None => app.db(move |store| store.alert_posted(&id, &event)).await,
        Some(why) => {
            tracing::warn!(alert = id, tries = tries + 1, why, "an alert was not taken; it is posted again");
            let (why, due) = (why.clone(), now().after(pause(tries)));
            app.db(move |store| store.postpone_alert_post(&id, &event, &why, due)).await
        }
    };
    if let Err(error) = written {
        tracing::error!(error = %chain_of(&error), "what a receiver said could not be written");
    }
}

fn pause(tries: u64) -> Seconds {
    let doubled = 1_u64.checked_shl(u32::try_from(tries).unwrap_or(u32::MAX)).unwrap_or(u64::MAX);
    Seconds(PAUSE_SECONDS.saturating_mul(doubled).min(PAUSE_SECONDS_MAX))
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA-256 of `SECONDS.BODY`.  The time is in it so that a copy cannot be sent again later.
fn signed(secret: &hmac::Key, at_unix: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(secret);
    context.update(format!("{at_unix}.").as_bytes());
    context.update(body);
    format!("t={at_unix},v1={}", hex::encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_can_check_the_signature_with_any_tool() {
        // printf '1800000000.{}' | openssl dgst -sha256 -hmac secret
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let known = "t=1800000000,v1=bb7079132825ac793cea8c013c1dd24d926b9b02132245b10588d9e5c0df70d7";
        assert_eq!(signed(&key, 1_800_000_000, b"{}"), known);
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        let pauses: Vec<u64> = [0, 1, 2, 9, 10, 63, 64, u64::MAX].map(|tries| pause(tries).0).to_vec();
        assert_eq!(pauses, [5, 10, 20, 2_560, 3_600, 3_600, 3_600, 3_600]);
    }
}
