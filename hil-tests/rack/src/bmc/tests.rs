//! The Redfish face over real TLS on the loopback, with a server that has no QEMU behind it.

use std::sync::Arc;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::{Bmc, BmcAction, BmcFault, Paper, Setup};
use crate::spec::HostSpec;

struct Bench {
    bmc: Bmc,
    client: Client,
}

impl Bench {
    async fn new() -> Self {
        // Another test of this process may have been first; any ring provider will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        let server = Paper::new(HostSpec::lab(0), false);
        let bmc = Bmc::start(Setup::new(([127, 0, 0, 1], 0).into()), Arc::new(server)).await.unwrap();
        let client = Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        Self { bmc, client }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.bmc.url()))
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.request(method, path).basic_auth(self.bmc.user(), Some(self.bmc.password()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    async fn read(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        body
    }
}

#[tokio::test]
async fn every_link_leads_somewhere() {
    let bench = Bench::new().await;
    let mut open = vec!["/redfish/v1".to_owned()];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(path) = open.pop() {
        let body = bench.read(&path).await;
        if seen.insert(path.clone()) {
            assert_eq!(body["@odata.id"].as_str().unwrap().trim_end_matches('/'), path);
            links(&body, &mut open);
            open.iter_mut().for_each(|path| *path = path.trim_end_matches('/').to_owned());
            // A sensor within a resource is named by a fragment.
            open.retain(|path| !seen.contains(path) && !path.contains('#'));
        }
    }
    assert!(seen.len() >= 90, "{seen:?}");
}

fn links(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("@odata.id").and_then(Value::as_str).map(ToOwned::to_owned));
            fields.values().for_each(|value| links(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| links(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn nobody_enters_without_a_key() {
    let bench = Bench::new().await;
    for (path, status) in [
        ("/redfish", StatusCode::OK),
        ("/redfish/v1/", StatusCode::OK),
        ("/redfish/v1/Systems", StatusCode::UNAUTHORIZED),
        ("/redfish/v1/NoSuchThing", StatusCode::UNAUTHORIZED),
    ] {
        let response = bench.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
    for (user, password) in [("admin", ""), ("admin", "x"), ("root", bench.bmc.password())] {
        let request = bench.request(Method::GET, "/redfish/v1/Systems").basic_auth(user, Some(password));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{user}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["@Message.ExtendedInfo"][0]["MessageId"], "Base.1.18.NoValidSession");
    }
}

#[tokio::test]
async fn sessions_open_and_close() {
    let bench = Bench::new().await;
    let sessions = "/redfish/v1/SessionService/Sessions";
    let login = json!({ "UserName": bench.bmc.user(), "Password": bench.bmc.password() });
    let response = bench.request(Method::POST, sessions).json(&login).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let token = response.headers()["x-auth-token"].to_str().unwrap().to_owned();
    let place = response.headers()["location"].to_str().unwrap().to_owned();
    let get = || bench.request(Method::GET, "/redfish/v1/Systems/1").header("x-auth-token", &token).send();
    assert_eq!(get().await.unwrap().status(), StatusCode::OK);
    let end = bench.request(Method::DELETE, &place).header("x-auth-token", &token).send().await.unwrap();
    assert_eq!(end.status(), StatusCode::NO_CONTENT);
    assert_eq!(get().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let wrong = json!({ "UserName": bench.bmc.user(), "Password": "guess" });
    for (body, status) in [(wrong, StatusCode::UNAUTHORIZED), (json!({}), StatusCode::BAD_REQUEST)] {
        let response = bench.request(Method::POST, sessions).json(&body).send().await.unwrap();
        assert_eq!(response.status(), status);
    }
    for _ in 0..16 {
        assert_eq!(bench.call(Method::POST, sessions, Some(login.clone())).await.0, StatusCode::CREATED);
    }
    assert_eq!(bench.call(Method::POST, sessions, Some(login)).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn boot_override_once_is_used_up_by_power_on() {
    let bench = Bench::new().await;
    let system = "/redfish/v1/Systems/1";
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    let once = json!({ "Boot": {
        "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI",
    }});
    assert_eq!(bench.call(Method::PATCH, system, Some(once)).await.0, StatusCode::NO_CONTENT);
    let body = bench.read(system).await;
    assert_eq!(body["Boot"]["BootSourceOverrideTarget"], "UefiHttp");
    assert_eq!(body["PowerState"], "Off");
    let restart = Some(json!({ "ResetType": "ForceRestart" }));
    assert_eq!(bench.call(Method::POST, reset, restart).await.0, StatusCode::CONFLICT);
    let on = Some(json!({ "ResetType": "On" }));
    assert_eq!(bench.call(Method::POST, reset, on).await.0, StatusCode::NO_CONTENT);
    let body = bench.read(system).await;
    assert_eq!(body["PowerState"], "On");
    assert_eq!(body["Boot"]["BootSourceOverrideEnabled"], "Disabled");
    assert_eq!(body["Boot"]["BootSourceOverrideTarget"], "None");
}

#[tokio::test]
async fn wrong_requests_get_redfish_errors() {
    let bench = Bench::new().await;
    let system = "/redfish/v1/Systems/1";
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    let boot = |key: &str, value: &str| Some(json!({ "Boot": { key: value } }));
    let rows = [
        (Method::GET, "/redfish/v1/Systems/2", None, 404, "ResourceMissingAtURI"),
        (Method::GET, reset, None, 405, "OperationNotAllowed"),
        (Method::PATCH, "/redfish/v1/Chassis", Some(json!({})), 405, "OperationNotAllowed"),
        (Method::PATCH, "/redfish/v1/Chassis/1", Some(json!({})), 400, "NoOperation"),
        (
            Method::PATCH,
            "/redfish/v1/Chassis/1",
            Some(json!({ "AssetTag": 7 })),
            400,
            "PropertyValueTypeError",
        ),
        (Method::POST, reset, Some(json!({})), 400, "ActionParameterMissing"),
        (Method::POST, reset, Some(json!({ "ResetType": "Explode" })), 400, "ActionParameterValueNotInList"),
        (Method::PATCH, system, Some(json!({ "Model": "x" })), 400, "PropertyNotWritable"),
        (Method::PATCH, system, boot("BootSourceOverrideTarget", "Floppy"), 400, "PropertyValueNotInList"),
        (Method::PATCH, system, boot("BootSourceOverrideMode", "Legacy"), 400, "PropertyValueNotInList"),
        (Method::PATCH, system, boot("Colour", "red"), 400, "PropertyUnknown"),
        (Method::PATCH, system, Some(json!("x".repeat(70_000))), 413, "PayloadTooLarge"),
    ];
    for (method, path, body, status, message) in rows {
        let (given, body) = bench.call(method, path, body).await;
        assert_eq!(given.as_u16(), status, "{message}");
        assert_eq!(body["error"]["code"], format!("Base.1.18.{message}"));
    }
}

#[tokio::test]
async fn inventory_is_that_of_the_machine_unless_told_to_lie() {
    let bench = Bench::new().await;
    let drive = "/redfish/v1/Systems/1/Storage/1/Drives/1";
    assert_eq!(bench.read(drive).await["SerialNumber"], "NVME0001A");
    bench.bmc.lie(drive, json!({ "SerialNumber": "OTHER", "CapacityBytes": null }));
    let body = bench.read(drive).await;
    assert_eq!((&body["SerialNumber"], &body["CapacityBytes"]), (&json!("OTHER"), &Value::Null));
    assert_eq!(body["Protocol"], "NVMe");
    bench.bmc.be_honest();
    assert_eq!(bench.read(drive).await["SerialNumber"], "NVME0001A");
    let nic = bench.read("/redfish/v1/Systems/1/EthernetInterfaces/1").await;
    assert_eq!(nic["MACAddress"], "52:54:00:77:00:00");
}

#[tokio::test]
async fn faults_come_as_often_as_ordered() {
    let bench = Bench::new().await;
    let path_contains = "/Systems".to_owned();
    bench.bmc.fault(BmcFault {
        path_contains: path_contains.clone(),
        action: BmcAction::Status(503),
        times: 2,
    });
    for status in [503, 503, 200] {
        assert_eq!(bench.call(Method::GET, "/redfish/v1/Systems", None).await.0.as_u16(), status);
    }
    bench.bmc.fault(BmcFault {
        path_contains: path_contains.clone(),
        action: BmcAction::TruncateBody,
        times: 1,
    });
    let (status, body) = bench.call(Method::GET, "/redfish/v1/Systems/1", None).await;
    assert_eq!((status, body), (StatusCode::OK, Value::Null));
    for action in [BmcAction::DropRequest, BmcAction::RefuseConnection] {
        // reqwest repeats a request once when a kept connection turns out to be closed, so order two.
        bench.bmc.fault(BmcFault { path_contains: path_contains.clone(), action: action.clone(), times: 2 });
        let client = Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        let url = format!("{}/redfish/v1/Systems", bench.bmc.url());
        assert!(client.get(&url).send().await.is_err(), "{action:?}");
        bench.bmc.be_honest();
        assert!(client.get(&url).send().await.is_ok(), "{action:?}");
    }
}
