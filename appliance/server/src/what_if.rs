//! A commitment looked at before it is made, on the page: `appliance-collateral` reckons, as for `chain what-if`.
//!
//! Nothing is signed or kept.  Where a class is named, both parts of the collateral and the cost of an anomaly are those of
//! the chain at its newest block; everything else is what people declare.

use std::sync::Arc;

use appliance_api::{
    operator::ProblemView,
    what_if::{
        WhatIfBegin, WhatIfCover, WhatIfLimit, WhatIfMachine, WhatIfParts, WhatIfPassport, WhatIfPrice,
        WhatIfQuestion, WhatIfSlash, WhatIfView,
    },
};
use appliance_collateral::{
    Anomaly, Answer, Limit, Numbers, Pass, Sheet, TEMPLATE, Tokens, WearEnd, sheet, tokens,
};
use appliance_enrol::Stage;
use appliance_model::{Day, Icnt, Seconds};
use appliance_store::HostRow;
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use chain_client::Network;
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    chain_of,
    operator_api::Problem,
};

/// Machines that are offered to choose from.
const MACHINES_MAX: usize = 1000;
const HOUR: u64 = 3600;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/chain/what-if", get(begin).post(answer))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(begin, answer),
    components(schemas(
        WhatIfBegin,
        WhatIfMachine,
        WhatIfPassport,
        WhatIfQuestion,
        WhatIfView,
        WhatIfParts,
        WhatIfPrice,
        WhatIfLimit,
        WhatIfCover,
        WhatIfSlash
    ))
)]
pub(crate) struct Document;

/// Numbers to begin with: the site's own where it says them, and made up where it does not.
#[utoipa::path(get, path = "/api/v1/chain/what-if", responses((status = 200, body = WhatIfBegin)))]
async fn begin(State(app): State<Arc<App>>) -> Result<Json<WhatIfBegin>, Problem> {
    let hosts = app.db(|store| store.hosts()).await?;
    let broken = |_| Problem(StatusCode::INTERNAL_SERVER_ERROR, "the template of numbers is broken".into());
    let mut numbers: Numbers = toml::from_str(TEMPLATE).map_err(broken)?;
    let site = &app.config.registration;
    numbers.node.from = None;
    numbers.node.warranty_until = None;
    numbers.offer.price_per_unit_and_day_icnt =
        Tokens(Icnt::tokens(site.reservation_price_icnt).unwrap_or(Icnt(0)));
    numbers.offer.commitment_days = site.commitment_days;
    numbers.offer.booking_days_max = site.booking_days_max;
    numbers.offer.owner_share_permille = site.reward_share_permille;
    numbers.drives.drive.clear();
    let numbers = serde_json::to_value(numbers).unwrap_or_default();
    let machines = hosts.iter().filter_map(machine).take(MACHINES_MAX).collect();
    Ok(Json(WhatIfBegin { numbers, machines, passports: passports(&app).await }))
}

/// The owner's passports; none while the chain does not answer: a form is begun without.
async fn passports(app: &Arc<App>) -> Vec<WhatIfPassport> {
    let Ok((network, head)) = app.chain.ready() else { return Vec::new() };
    let Ok(held) = network.passports(head, app.chain.owner()).await else { return Vec::new() };
    let each = held.found.into_iter().map(|one| WhatIfPassport {
        number: one.id.to_string(),
        passport: serde_json::to_value(Pass::of(&one.passport)).unwrap_or_default(),
    });
    each.collect()
}

fn machine(host: &HostRow) -> Option<WhatIfMachine> {
    let (Stage::Pricing { carved, .. }
    | Stage::Approving { carved, .. }
    | Stage::Registering { carved, .. }
    | Stage::Registered { carved, .. }) = &host.stage
    else {
        return None;
    };
    let serial = host.facts.serial.to_string();
    Some(WhatIfMachine { serial, class: carved.class.clone(), capacity: carved.capacity })
}

/// What a commitment costs, what is missing when, and what an anomaly takes.  Nothing is signed or kept.
#[utoipa::path(post, path = "/api/v1/chain/what-if", request_body = WhatIfQuestion,
    responses((status = 200, body = WhatIfView), (status = 422, body = ProblemView),
        (status = 503, body = ProblemView)))]
async fn answer(
    State(app): State<Arc<App>>,
    Json(asked): Json<WhatIfQuestion>,
) -> Result<Json<WhatIfView>, Problem> {
    let wrong = |why: String| Problem(StatusCode::UNPROCESSABLE_ENTITY, why);
    let mut numbers: Numbers = serde_json::from_value(asked.numbers)
        .map_err(|error| wrong(format!("the numbers cannot be used: {error}")))?;
    let prices: Option<Vec<Icnt>> = asked.prices.iter().map(|text| tokens(text.trim())).collect();
    let prices =
        prices.ok_or_else(|| wrong("a price is an amount of ICNT, as 12 or 12.5; correct it".into()))?;
    let factors = match asked.class.filter(|class| !class.is_empty()) {
        Some(class) => of_chain(&app, &class, &mut numbers).await?,
        None => Vec::new(),
    };
    let today = Day::of_unix(Seconds(now().0 / 1000));
    let sheet = sheet(&numbers, &prices, &asked.commitment_days, today);
    Ok(Json(view(&sheet.map_err(|error| wrong(error.to_string()))?, factors)))
}

/// Puts what the chain asks for a class into the numbers; how that comes about, in words.
async fn of_chain(app: &Arc<App>, class: &str, numbers: &mut Numbers) -> Result<Vec<String>, Problem> {
    let unusable = |why| Problem(StatusCode::SERVICE_UNAVAILABLE, why);
    let (network, head) = app.chain.ready().map_err(unusable)?;
    let (region, capacity) = (&app.config.registration.region, numbers.node.capacity);
    let refused = |error: chain_client::Error| match error.refusal() {
        Some(refusal) => Problem(StatusCode::UNPROCESSABLE_ENTITY, refusal.sentence.clone()),
        None => unusable(chain_of(&error)),
    };
    let demand = network.demand(head, region, class, capacity).await.map_err(refused)?;
    numbers.collateral.node_part_icnt = Tokens(demand.node);
    numbers.collateral.network_part_icnt = Tokens(demand.network);
    if let Network::Reference(registry) = network.as_ref() {
        let terms = registry.terms_at(head, region, class).await.map_err(refused)?.slash;
        let hours = |seconds: Seconds| u32::try_from(seconds.0.div_ceil(HOUR)).unwrap_or(u32::MAX);
        numbers.slash = Some(Anomaly {
            restore_window_hours: hours(terms.restore_window),
            period_hours: hours(terms.period),
            bps: terms.bps,
            bps_max: terms.bps_max,
        });
    }
    Ok(demand.factors)
}

fn view(sheet: &Sheet, factors: Vec<String>) -> WhatIfView {
    let parts =
        |node: Icnt, network: Icnt| WhatIfParts { node: node.to_string(), network: network.to_string() };
    let cover = sheet.cover.iter().map(|row| WhatIfCover {
        day: Day::of_unix(row.at).to_string(),
        passport: row.passport.to_string(),
        missing: parts(row.gap.node, row.gap.network),
    });
    let exposure = sheet.exposure.iter().map(|row| WhatIfSlash {
        after_seconds: row.after.0,
        bps: row.bps,
        own: row.own.to_string(),
        delegated: row.delegated.to_string(),
    });
    WhatIfView {
        from: Day::of_unix(sheet.commitment.from).to_string(),
        until: Day::of_unix(sheet.commitment.until()).to_string(),
        factors,
        required: parts(sheet.requirement.node, sheet.requirement.network),
        missing: parts(sheet.shortfall.node, sheet.shortfall.network),
        prices: sheet.prices.iter().map(price).collect(),
        limits: sheet.limits.iter().map(limit).collect(),
        cover: cover.collect(),
        exposure: exposure.collect(),
    }
}

fn price(found: &Answer) -> WhatIfPrice {
    WhatIfPrice {
        price: found.offer.price_per_day.to_string(),
        days: found.offer.commitment.0 / (24 * HOUR),
        costs: found.costs.to_string(),
        cost_per_day: found.cost_per_day.to_string(),
        brings_per_day: found.brings_per_day.to_string(),
        break_even_days: found.break_even_days,
        break_even_permille: found.break_even_share.map(|share| share.0),
        least_price: found.least_price_per_day.map(|price| price.to_string()),
    }
}

fn limit(found: &Limit) -> WhatIfLimit {
    let ends = match (found.ends, found.short_by) {
        (WearEnd::At(at), Some(short)) => {
            format!("{}, {} days too early", Day::of_unix(at), short.0.div_ceil(24 * HOUR))
        }
        (WearEnd::At(at), None) => format!("lasts until {}", Day::of_unix(at)),
        (WearEnd::Never, _) => "lasts".into(),
        (WearEnd::Unknown, _) => "not known".into(),
    };
    let (what, assumption) = (found.what.clone(), found.assumption.clone());
    WhatIfLimit { what, ends, short: found.short_by.is_some(), assumption }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page's test shows is what is answered for the template.
    #[test]
    fn the_pages_story_is_an_answer() {
        let numbers: Numbers = toml::from_str(TEMPLATE).unwrap();
        let prices = [tokens("0.01").unwrap(), tokens("0.02").unwrap()];
        let found = sheet(&numbers, &prices, &[], Day(0)).unwrap();
        let found =
            serde_json::to_value(view(&found, vec!["region eu-west, class storage-nvme".into()])).unwrap();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../ui/test/what-if.json");
        if std::env::var_os("SCALERFORGE_GOLDENS").is_some_and(|how| how == "write") {
            let story = serde_json::json!({ "numbers": numbers, "view": found });
            std::fs::write(file, serde_json::to_string_pretty(&story).unwrap() + "\n").unwrap();
        }
        let story: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(story["view"], found);
        assert_eq!(serde_json::from_value::<Numbers>(story["numbers"].clone()).unwrap(), numbers);
    }
}
