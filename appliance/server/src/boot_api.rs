//! What the boot service says of itself: machines on their way and why they are where they are, captures, leases,
//! counters, and the same counters for Prometheus.  The appliance's operator API and `scalerforge boot serve` have it
//! alike; it only reads.

use std::{collections::BTreeMap, fmt::Write as _};

use appliance_api::{
    boot::{
        BootCountersView, BootFindingView, BootInterfaceView, BootLeaseView, BootLineView, BootMachineView,
        BootServerView, BootV6View, BootWhyView,
    },
    operator::ProblemView,
};
use appliance_model::Mac;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use pxe_server::{
    Handle, InterfaceView, Rival, Serving, Survey, View6,
    recorder::{Finding, Line, Verdict},
};
use utoipa::OpenApi;

/// The routes.
pub(crate) fn router(pxe: Handle) -> Router {
    Router::new()
        .route("/api/v1/boot/machines", get(machines))
        .route("/api/v1/boot/machines/{mac}", get(why))
        .route("/api/v1/boot/machines/{mac}/pcap", get(pcap))
        .route("/api/v1/boot/interfaces", get(interfaces))
        .route("/api/v1/boot/leases", get(leases))
        .route("/api/v1/boot/counters", get(counters))
        .route("/metrics", get(metrics))
        .with_state(pxe)
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(machines, why, pcap, interfaces, leases, counters, metrics),
    components(schemas(
        BootMachineView,
        BootWhyView,
        BootFindingView,
        BootLineView,
        BootInterfaceView,
        BootServerView,
        BootV6View,
        BootLeaseView,
        BootCountersView
    ))
)]
pub(crate) struct Document;

/// A refusal on its way to a person.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(ProblemView { error: self.1 })).into_response()
    }
}

fn mac(text: &str) -> Result<Mac, Problem> {
    text.parse().map_err(|error| Problem(StatusCode::BAD_REQUEST, format!("{error}")))
}

/// Judging thousands of machines takes a moment; the executor's threads have packets to answer.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Machines seen on the provisioning LAN, those heard last first.
#[utoipa::path(get, path = "/api/v1/boot/machines", responses((status = 200, body = Vec<BootMachineView>)))]
async fn machines(State(pxe): State<Handle>) -> Json<Vec<BootMachineView>> {
    Json(apart(move || machine_views(&pxe)).await)
}

fn machine_views(pxe: &Handle) -> Vec<BootMachineView> {
    let six = pxe.leases6().into_iter().filter(|lease| lease.bound);
    let mut addresses: BTreeMap<Mac, String> =
        six.map(|lease| (lease.mac, lease.address.to_string())).collect();
    // Where a machine has both, its IPv4 address is the one that people look for.
    addresses.extend(pxe.leases().into_iter().map(|lease| (lease.mac, lease.address.to_string())));
    let mut machines = pxe.machines();
    machines.sort_by(|a, b| b.last.cmp(&a.last).then(a.mac.cmp(&b.mac)));
    // Each machine is judged by itself, so that the recorder is never held for long.
    machines
        .into_iter()
        .map(|machine| {
            let Finding { code, state, headline, .. } = pxe.why(machine.mac).main;
            BootMachineView {
                mac: machine.mac.to_string(),
                known: machine.known,
                first_ms: machine.first.0,
                last_ms: machine.last.0,
                entries: machine.entries,
                address: addresses.get(&machine.mac).cloned(),
                state: state.to_string(),
                code: code.into(),
                headline,
            }
        })
        .collect()
}

/// Why a machine is where it is.  A machine that was never seen gets a verdict too.
#[utoipa::path(get, path = "/api/v1/boot/machines/{mac}", params(("mac" = String, Path)),
    responses((status = 200, body = BootWhyView), (status = 400, body = ProblemView)))]
async fn why(State(pxe): State<Handle>, Path(text): Path<String>) -> Result<Json<BootWhyView>, Problem> {
    let mac = mac(&text)?;
    let Verdict { at, main, also, .. } = pxe.why(mac);
    Ok(Json(BootWhyView {
        mac: mac.to_string(),
        at_ms: at.0,
        verdict: finding(main),
        also: also.into_iter().map(finding).collect(),
        story: pxe.story(mac).into_iter().flatten().map(line).collect(),
    }))
}

fn finding(found: Finding) -> BootFindingView {
    let Finding { code, state, headline, evidence, next } = found;
    BootFindingView {
        code: code.into(),
        state: state.to_string(),
        headline,
        evidence: evidence.into_iter().map(line).collect(),
        next,
    }
}

fn line(line: Line) -> BootLineView {
    BootLineView { at_ms: line.at.0, text: line.text }
}

/// What the machine and we said to each other, as a pcapng file.
#[utoipa::path(get, path = "/api/v1/boot/machines/{mac}/pcap", params(("mac" = String, Path)),
    responses((status = 200, content_type = "application/x-pcapng"), (status = 404, body = ProblemView)))]
async fn pcap(State(pxe): State<Handle>, Path(text): Path<String>) -> Result<Response, Problem> {
    let mac = mac(&text)?;
    let bytes = pxe.capture(mac).ok_or_else(|| {
        let why = format!(
            "nothing of {mac} is recorded; `boot list` shows what is, `boot why {mac}` what that means"
        );
        Problem(StatusCode::NOT_FOUND, why)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/x-pcapng")], bytes).into_response())
}

/// The interfaces: what they do, and who else was heard there.
#[utoipa::path(get, path = "/api/v1/boot/interfaces", responses((status = 200, body = Vec<BootInterfaceView>)))]
async fn interfaces(State(pxe): State<Handle>) -> Json<Vec<BootInterfaceView>> {
    let mut views: Vec<BootInterfaceView> = pxe.interfaces().into_iter().map(interface).collect();
    if let Some(View6 { interface, address, router_advertisements, serving, why, survey }) = pxe.v6()
        && let Some(view) = views.iter_mut().find(|view| view.name.as_ref() == Some(&interface))
    {
        view.v6 = Some(BootV6View {
            address: address.to_string(),
            router_advertisements,
            serving: doing(serving).into(),
            why: why.into(),
            heard: survey.why,
        });
    }
    Json(views)
}

fn interface(view: InterfaceView) -> BootInterfaceView {
    let Survey { since, requests, rivals, relays, vlans, proposal, why, .. } = view.survey;
    let server = |rival: Rival| BootServerView {
        address: rival.address.to_string(),
        gives_addresses: rival.leases,
        boots: rival.boots,
        last_ms: rival.last.0,
    };
    BootInterfaceView {
        name: view.name,
        address: view.address.to_string(),
        mode: view.mode.to_string(),
        serving: doing(view.serving).into(),
        why: view.why,
        since_ms: since.0,
        requests,
        servers: rivals.into_iter().map(server).collect(),
        relays: relays.iter().map(ToString::to_string).collect(),
        vlans,
        proposal: proposal.to_string(),
        proposal_why: why,
        v6: None,
    }
}

fn doing(serving: Serving) -> &'static str {
    match serving {
        Serving::Nothing => "nothing",
        Serving::Boot => "boot",
        Serving::Known => "known",
        Serving::All => "all",
    }
}

/// Addresses and who holds them, IPv6 after IPv4.
#[utoipa::path(get, path = "/api/v1/boot/leases", responses((status = 200, body = Vec<BootLeaseView>)))]
async fn leases(State(pxe): State<Handle>) -> Json<Vec<BootLeaseView>> {
    let mut leases = pxe.leases();
    leases.sort_by_key(|lease| lease.address);
    let view = |lease: pxe_server::LeaseView| BootLeaseView {
        mac: lease.mac.to_string(),
        address: lease.address.to_string(),
        until_ms: lease.until.0,
        bound: lease.bound,
    };
    let mut views: Vec<BootLeaseView> = leases.into_iter().map(view).collect();
    let mut leases6 = pxe.leases6();
    leases6.sort_by_key(|lease| lease.address);
    views.extend(leases6.into_iter().map(|lease| BootLeaseView {
        mac: lease.mac.to_string(),
        address: lease.address.to_string(),
        until_ms: lease.until.0,
        bound: lease.bound,
    }));
    Json(views)
}

/// What was counted since start.
#[utoipa::path(get, path = "/api/v1/boot/counters", responses((status = 200, body = BootCountersView)))]
async fn counters(State(pxe): State<Handle>) -> Json<BootCountersView> {
    let counters = pxe.counters().named().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Json(BootCountersView { counters })
}

/// The counters, and how many machines and leases there are, for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "text/plain")))]
async fn metrics(State(pxe): State<Handle>) -> Response {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, value: u64| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# TYPE scalerforge_boot_{name} {kind}\nscalerforge_boot_{name} {value}");
    };
    for (name, value) in pxe.counters().named() {
        add(&format!("{name}_total"), "counter", value);
    }
    let leases = pxe.leases();
    let size = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    add("leases", "gauge", size(leases.len()));
    add("leases_bound", "gauge", size(leases.iter().filter(|lease| lease.bound).count()));
    add("machines_recorded", "gauge", size(pxe.machines().len()));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
