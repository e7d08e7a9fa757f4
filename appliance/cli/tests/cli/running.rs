//! A running appliance without servers: its API, its page, and how it ends.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use crate::{path, refused, run, scalerforge, site::Site, text};

pub(crate) struct Appliance {
    child: Child,
    pub(crate) url: String,
    pub(crate) site: Site,
}

impl Appliance {
    /// Started with an operators' socket of ours, which answers as soon as the appliance does.
    fn start() -> Self {
        Self::of(Site::new())
    }

    pub(crate) fn of(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let child = scalerforge()
            .args(["serve", "--operator-on-stdin", "--site"])
            .arg(site.dir())
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stderr(std::fs::File::create(site.file("serve.log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, url, site }
    }

    pub(crate) fn read(&self, arguments: &[&str]) -> serde_json::Value {
        let output = run(&[arguments, &["--json", "--appliance", &self.url]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn get(&self, path: &str) -> String {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        agent.get(format!("{}{path}", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_appliance_without_servers() {
    let mut appliance = Appliance::start();
    assert_eq!(appliance.read(&["host", "list"]), serde_json::json!([]));
    let list = run(&["host", "list", "--appliance", &appliance.url]);
    assert!(text(&list.stdout).starts_with("ID "), "{}", text(&list.stdout));

    // The embedded chain deploys its contracts within seconds.
    let chain = loop {
        let chain = appliance.read(&["chain", "status"]);
        if chain["registry"].is_string() && chain["head"].is_u64() {
            break chain;
        }
        std::thread::yield_now();
    };
    assert_eq!((&chain["chain_id"], &chain["development"]), (&777_077.into(), &true.into()));
    assert_eq!(chain["nodes"], serde_json::json!([]));
    let status = text(&run(&["chain", "status", "--appliance", &appliance.url]).stdout);
    assert!(
        status.contains("embedded development chain 777077") && status.contains("nodes     0"),
        "{status}"
    );

    for (page, says) in [
        ("/", "<title>Scalerforge</title>"),
        ("/hosts/h-0123456789ab/burn-in", "/ui/burn-in.js"),
        ("/hosts/h-0123456789ab/burn-in/report", "/ui/report.js"),
        ("/models", "/ui/models.js"),
        ("/ui/draw.js", "textContent"),
        ("/api/v1/burn-in/models", r#"{"models":[]}"#),
    ] {
        assert!(appliance.get(page).contains(says), "{page}");
    }
    let served: serde_json::Value = serde_json::from_str(&appliance.get("/api/v1/openapi.json")).unwrap();
    let described: serde_json::Value = serde_json::from_str(&appliance_server::openapi()).unwrap();
    assert_eq!(served, described);

    for verb in ["show", "why", "enrol", "retry"] {
        let output = run(&["host", verb, "h-0123456789ab", "--appliance", &appliance.url]);
        refused(&output, &["there is no host h-0123456789ab", "`host list`"]);
    }
    let output = run(&["evidence", "show", "h-0123456789ab", "--appliance", &appliance.url]);
    refused(&output, &["there is no host h-0123456789ab"]);

    // A page of somebody else's in an operator's browser changes nothing.
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
    let retry = format!("{}/api/v1/hosts/h-0123456789ab/retry", appliance.url);
    for (origin, status) in [("http://evil.example", 403), ("null", 403), (appliance.url.as_str(), 404)] {
        let answer = agent.post(&retry).header("origin", origin).send_empty().unwrap();
        assert_eq!(answer.status(), status, "{origin}");
    }

    // A second appliance on the same site stops at once, and the first goes on.
    let second = run(&["serve", "--site", path(&appliance.site.dir())]);
    refused(&second, &["pxe/lock is in use", "another appliance runs on this site", "stop it first"]);
    assert_eq!(appliance.read(&["host", "list"]), serde_json::json!([]));

    let pid = appliance.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = appliance.child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "SIGTERM ends it cleanly");
    let gone = run(&["host", "list", "--appliance", &appliance.url]);
    refused(&gone, &["no appliance answers at"]);
}
