//! The first run by a browser: one page, over TLS with a certificate of the site's authority to be, for whoever reads the
//! code on the machine's own screen.  It ends when a site is made.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use appliance_first_run::{Answers, Facts, Field, Notice, Plan, Problem, form, plan};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::{FirstRunError, look, put, write};
use crate::{
    admin::{self, Hash, entrance},
    operator_api, pages,
    serve::{ServeError, listen},
    site::{self, Keys},
    tls,
};

/// How long a wrong code holds up the next try: 32⁸ codes take 17,000 years then.
const WRONG: Duration = Duration::from_millis(500);
/// Callers that may wait for their code to be looked at.
const WAITING_MAX: usize = 32;
/// Twenty answers and a password.
const BODY_BYTES_MAX: usize = 16 << 10;
/// How long the last answer may take to reach its browser.
const FAREWELL: Duration = Duration::from_secs(2);

/// The page and what stands behind it.
struct Desk {
    eyes: Eyes,
    dir: PathBuf,
    images: PathBuf,
    code: String,
    facts: Mutex<Facts>,
    waiting: Semaphore,
    trying: Semaphore,
    made: Notify,
}

/// What the page sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    code: String,
    #[serde(default)]
    answers: BTreeMap<String, String>,
    #[serde(default)]
    password: Option<String>,
}

/// What the page shows.
#[derive(Serialize)]
struct Shown {
    fields: Vec<Field>,
    problems: Vec<Problem>,
    will: Vec<String>,
    notices: Vec<Notice>,
    page: Option<String>,
}

#[derive(Serialize)]
struct Made {
    /// The admin's password, if it was made up here.
    password: Option<String>,
    page: Option<String>,
}

/// Serves the page on `at` until a site is made.  `invitation` is where the console finds port and code.
///
/// # Errors
/// If there is a site already, or nothing can be served.
pub async fn ask(
    dir: &Path,
    images: &Path,
    at: SocketAddr,
    invitation: Option<&Path>,
) -> Result<(), FirstRunError> {
    ask_with(look, dir, images, at, invitation).await
}

/// What looks around.
type Eyes = fn(&Path, &Path, bool) -> Facts;

async fn ask_with(
    eyes: Eyes,
    dir: &Path,
    images: &Path,
    at: SocketAddr,
    invitation: Option<&Path>,
) -> Result<(), FirstRunError> {
    if dir.join(appliance_first_run::SITE_FILE).exists() {
        return Err(FirstRunError::Taken { dir: dir.to_owned() });
    }
    // Its authority vouches for this page, and for the one that comes after it.
    site::init(dir).map_err(FirstRunError::Keys)?;
    let keys = Keys::read(dir).map_err(FirstRunError::Keys)?;
    let listener = listen("the first run", at).await.map_err(refused)?;
    let port = listener.local_addr().map_or(at.port(), |at| at.port());
    let tls = keys.tls(&entrance::names(at.ip())).map_err(FirstRunError::Keys)?;
    let code = admin::code().map_err(FirstRunError::Admin)?;
    if let Some(file) = invitation {
        put(file, format!("{port}\n{code}\n").as_bytes(), 0o600)?;
    }
    let (folder, files) = (dir.to_owned(), images.to_owned());
    let facts = tokio::task::spawn_blocking(move || eyes(&folder, &files, true)).await;
    let desk = Arc::new(Desk {
        eyes,
        dir: dir.to_owned(),
        images: images.to_owned(),
        code,
        facts: Mutex::new(facts.unwrap_or_else(|_| eyes(dir, images, false))),
        waiting: Semaphore::new(WAITING_MAX),
        trying: Semaphore::new(1),
        made: Notify::new(),
    });
    tracing::info!(port, "the first run can be answered in a browser; the code is on the console");
    tokio::select! {
        () = tls::serve(Some(listener), tls, router(Arc::clone(&desk))) => {}
        () = desk.made.notified() => tokio::time::sleep(FAREWELL).await,
    }
    Ok(())
}

fn refused(error: ServeError) -> FirstRunError {
    FirstRunError::Listen(Box::new(error))
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .merge(pages::first_run())
        .route("/api/v1/first-run/form", post(shown))
        .route("/api/v1/first-run/listen", post(listened))
        .route("/api/v1/first-run/make", post(make))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(desk)
        .layer(middleware::from_fn(operator_api::own_page_only))
}

fn problem(status: StatusCode, error: String) -> Response {
    (status, Json(appliance_api::operator::ProblemView { error })).into_response()
}

impl Desk {
    /// Whether this is the code; what is wrong waits, one after the other.
    async fn admits(&self, code: &str) -> Result<(), Response> {
        let many = || problem(StatusCode::TOO_MANY_REQUESTS, "too many ask at once; try again".into());
        let _waiting = self.waiting.try_acquire().map_err(|_| many())?;
        let _turn = self.trying.acquire().await.map_err(|_| many())?;
        if code.trim().eq_ignore_ascii_case(&self.code) {
            return Ok(());
        }
        tokio::time::sleep(WRONG).await;
        let why = "this is not the code on the machine's own screen; read it there (`scalerforge console`)";
        Err(problem(StatusCode::FORBIDDEN, why.into()))
    }
}

/// The answers, or which of them nobody asked for.
fn answers(sent: &Sent) -> Result<Answers, String> {
    let mut answers = Answers::default();
    for (key, text) in &sent.answers {
        answers.set(key, text).map_err(|error| error.to_string())?;
    }
    Ok(answers)
}

fn unasked(error: String) -> Response {
    problem(StatusCode::UNPROCESSABLE_ENTITY, error)
}

async fn shown(State(desk): State<Arc<Desk>>, Json(sent): Json<Sent>) -> Result<Json<Shown>, Response> {
    desk.admits(&sent.code).await?;
    let answers = answers(&sent).map_err(unasked)?;
    let facts = desk.facts.lock().await;
    Ok(Json(show(&answers, &facts)))
}

fn show(answers: &Answers, facts: &Facts) -> Shown {
    let fields = form(answers, facts);
    match plan(answers, facts) {
        Ok(Plan { will, notices, page, .. }) => Shown { fields, problems: Vec::new(), will, notices, page },
        Err(problems) => Shown { fields, problems, will: Vec::new(), notices: Vec::new(), page: None },
    }
}

async fn listened(State(desk): State<Arc<Desk>>, Json(sent): Json<Sent>) -> Result<Json<Shown>, Response> {
    desk.admits(&sent.code).await?;
    let answers = answers(&sent).map_err(unasked)?;
    let (eyes, dir, images) = (desk.eyes, desk.dir.clone(), desk.images.clone());
    let mut facts = desk.facts.lock().await;
    if let Ok(seen) = tokio::task::spawn_blocking(move || eyes(&dir, &images, true)).await {
        *facts = seen;
    }
    Ok(Json(show(&answers, &facts)))
}

async fn make(State(desk): State<Arc<Desk>>, Json(sent): Json<Sent>) -> Result<Json<Made>, Response> {
    desk.admits(&sent.code).await?;
    let answers = answers(&sent).map_err(unasked)?;
    let facts = desk.facts.lock().await;
    let plan = plan(&answers, &facts).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problem(StatusCode::UNPROCESSABLE_ENTITY, all.join("\n"))
    })?;
    let refused =
        |error: &dyn std::error::Error| problem(StatusCode::UNPROCESSABLE_ENTITY, crate::chain_of(error));
    let given = sent.password.filter(|password| !password.is_empty());
    let made_up = match &given {
        Some(_) => None,
        None => Some(admin::made_up().map_err(|error| refused(&error))?),
    };
    let hash = Hash::of(given.or_else(|| made_up.clone()).as_deref().unwrap_or_default());
    let hash = hash.map_err(|error| refused(&error))?;
    write(&desk.dir, &plan, &hash.text()).map_err(|error| refused(&error))?;
    desk.made.notify_one();
    Ok(Json(Made { password: made_up, page: plan.page }))
}

#[cfg(test)]
mod tests {
    use appliance_first_run::{Images, Nic, Storage, Tpm};
    use attest_evidence::{Accepted, Hex32, ReferenceBank, ReferencePcr, ReferenceValues};

    use super::*;

    fn eyes(_: &Path, images: &Path, _: bool) -> Facts {
        let nic = |name: &str, addresses| Nic {
            name: name.into(),
            mac: None,
            carrier: true,
            addresses,
            heard: None,
        };
        Facts {
            now: appliance_model::Now(1_795_305_600_000),
            hardware_clock: None,
            nics: vec![nic("eth0", vec![([192, 0, 2, 7].into(), 24)]), nic("eth1", Vec::new())],
            tpm: Tpm::Free,
            storage: Storage { free_bytes: 8 << 30, live: false, why: None },
            images: Images {
                uki: images.join("discovery.efi"),
                reference: images.join("reference.json"),
                host: None,
            },
        }
    }

    fn reference() -> String {
        let value = Accepted { value: Hex32([4; 32]), holds_for: "any machine".into() };
        let pcrs = vec![ReferencePcr { pcr: 4, accepted: vec![value] }];
        let (name, uki_sha256) = ("test".into(), Hex32([1; 32]));
        let values = ReferenceValues { name, uki_sha256, bank: ReferenceBank::Sha256, pcrs };
        serde_json::to_string(&values).unwrap_or_default()
    }

    /// A browser's way, over real sockets: code, form, site.
    #[tokio::test]
    async fn a_page_makes_a_site_for_whoever_has_the_code() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let room = tempfile::tempdir().unwrap();
        let (dir, images, invitation) =
            (room.path().join("site"), room.path().join("images"), room.path().join("invitation"));
        let (at, told) = ("127.0.0.1:0".parse().unwrap(), invitation.clone());
        let (asked, files) = (dir.clone(), images.clone());
        let serving = tokio::spawn(async move { ask_with(eyes, &asked, &files, at, Some(&told)).await });
        let text = loop {
            match std::fs::read_to_string(&invitation) {
                Ok(text) => break text,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let (port, code) = text.trim().split_once('\n').unwrap();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(dir.join("ca.pem")).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
        let base = format!("https://127.0.0.1:{port}");
        let page = client.get(&base).send().await.unwrap().text().await.unwrap();
        assert!(page.contains("First run"), "{page}");
        let send = |what: &str, body: serde_json::Value| {
            let request = client.post(format!("{base}/api/v1/first-run/{what}")).json(&body);
            async move {
                let answer = request.send().await.unwrap();
                (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
            }
        };
        let (status, refused) = send("form", serde_json::json!({ "code": "aaaa-aaaa" })).await;
        assert_eq!((status, refused["error"].as_str().unwrap().contains("not the code")), (403, true));
        let (status, form) = send("form", serde_json::json!({ "code": code })).await;
        assert_eq!(status, 200);
        let keys: Vec<_> = form["problems"].as_array().unwrap().iter().map(|one| &one["key"]).collect();
        assert_eq!(keys, ["site.name", "site.region"], "{form}");
        assert_eq!(
            form["fields"][5]["proposal"], "eth1",
            "the fields are those of the core, with what it proposes"
        );
        let given = serde_json::json!({ "site.name": "rack-7", "site.region": "eu-west" });
        let (status, why) =
            send("make", serde_json::json!({ "code": code, "answers": given, "password": "short" })).await;
        assert_eq!((status, why["error"].as_str().unwrap().contains("12 to 256")), (422, true), "{why}");
        assert!(!dir.join("scalerforge.toml").exists());
        let (status, made) = send("make", serde_json::json!({ "code": code, "answers": given })).await;
        assert_eq!(status, 200, "{made}");
        serving.await.unwrap().unwrap();
        let hash = Hash::read(&dir.join("admin.password")).unwrap();
        assert!(hash.is(made["password"].as_str().unwrap()));
        // What was written is a site that `serve` understands, once there are images.
        std::fs::create_dir(&images).unwrap();
        std::fs::write(images.join("discovery.efi"), "MZ").unwrap();
        std::fs::write(images.join("reference.json"), reference()).unwrap();
        let config = crate::config::Config::read(&dir).unwrap();
        assert_eq!(config.site.name, "rack-7");
        assert!(config.page.is_some_and(|page| page.admin.is(made["password"].as_str().unwrap())));
        let again = ask(&dir, &images, at, None).await.unwrap_err();
        assert!(again.to_string().contains("is a site already"), "{again}");
    }
}
