//! The services beside the hardware: sessions, accounts, events, tasks, updates, certificates.

use serde_json::{Value, json};

use super::{Growing, MANAGER, SESSIONS, good, link};
use crate::bmc::sessions::SESSION_SECONDS;
use crate::spec::{BIOS, BMC_VERSION};

/// The kinds of event that a client can subscribe to by name.
const EVENT_TYPES: [&str; 1] = ["Alert"];

pub(super) fn grow(tree: &mut Growing) {
    sessions(tree);
    accounts(tree);
    events(tree);
    tasks(tree);
    updates(tree);
    certificates(tree);
}

fn sessions(tree: &mut Growing) {
    tree.add(
        "/redfish/v1/SessionService",
        "SessionService.v1_1_9.SessionService",
        "Session Service",
        json!({
            "ServiceEnabled": true,
            "SessionTimeout": SESSION_SECONDS,
            "Sessions": link(SESSIONS),
            "Status": good(),
        }),
    );
    tree.collection(SESSIONS, "Session", &[]);
}

fn accounts(tree: &mut Growing) {
    let service = "/redfish/v1/AccountService";
    let below = |name: &str| link(&format!("{service}/{name}"));
    tree.add(
        service,
        "AccountService.v1_15_1.AccountService",
        "Account Service",
        json!({
            "ServiceEnabled": true,
            "AuthFailureLoggingThreshold": 3,
            "MinPasswordLength": 8,
            "MaxPasswordLength": 20,
            "AccountLockoutThreshold": 5,
            "AccountLockoutDuration": 30,
            "AccountLockoutCounterResetAfter": 30,
            "AccountLockoutCounterResetEnabled": true,
            "Accounts": below("Accounts"),
            "Roles": below("Roles"),
            "Status": good(),
        }),
    );
    // Members come from the list of those who may enter.
    tree.collection(&format!("{service}/Accounts"), "ManagerAccount", &[]);
    let folder = format!("{service}/Roles");
    let roles: [(&str, &[&str]); 3] = [
        (
            "Administrator",
            &["Login", "ConfigureManager", "ConfigureUsers", "ConfigureSelf", "ConfigureComponents"],
        ),
        ("Operator", &["Login", "ConfigureSelf", "ConfigureComponents"]),
        ("ReadOnly", &["Login", "ConfigureSelf"]),
    ];
    tree.collection(&folder, "Role", &roles.map(|(name, _)| name));
    for (name, privileges) in roles {
        tree.add(
            &format!("{folder}/{name}"),
            "Role.v1_3_1.Role",
            name,
            json!({
                "RoleId": name,
                "IsPredefined": true,
                "AssignedPrivileges": privileges,
                "OemPrivileges": [],
            }),
        );
    }
}

fn events(tree: &mut Growing) {
    let service = "/redfish/v1/EventService";
    tree.add(service, "EventService.v1_10_1.EventService", "Event Service", json!({
        "ServiceEnabled": true,
        "DeliveryRetryAttempts": 3,
        "DeliveryRetryIntervalSeconds": 5,
        "EventFormatTypes": ["Event"],
        "EventTypesForSubscription": EVENT_TYPES,
        "RegistryPrefixes": ["Base", "ResourceEvent", "TaskEvent"],
        "ResourceTypes": ["ComputerSystem", "Manager", "Task", "VirtualMedia"],
        "ServerSentEventUri": format!("{service}/SSE"),
        "SSEFilterPropertiesSupported": {
            "EventFormatType": false, "MessageId": false, "OriginResource": false, "RegistryPrefix": false,
            "ResourceType": false,
        },
        "Status": good(),
        "Subscriptions": link(&format!("{service}/Subscriptions")),
        "Actions": { "#EventService.SubmitTestEvent": {
            "target": format!("{service}/Actions/EventService.SubmitTestEvent"),
        }},
    }));
    tree.collection(&format!("{service}/Subscriptions"), "EventDestination", &[]);
}

fn tasks(tree: &mut Growing) {
    let service = "/redfish/v1/TaskService";
    tree.add(
        service,
        "TaskService.v1_2_1.TaskService",
        "Task Service",
        json!({
            "ServiceEnabled": true,
            "CompletedTaskOverWritePolicy": "Oldest",
            "LifeCycleEventOnTaskStateChange": true,
            "Status": good(),
            "Tasks": link(&format!("{service}/Tasks")),
        }),
    );
    tree.collection(&format!("{service}/Tasks"), "Task", &[]);
}

fn updates(tree: &mut Growing) {
    let service = "/redfish/v1/UpdateService";
    let folder = format!("{service}/FirmwareInventory");
    tree.add(
        service,
        "UpdateService.v1_14_0.UpdateService",
        "Update Service",
        json!({
            "ServiceEnabled": true,
            "HttpPushUri": format!("{service}/update"),
            "MultipartHttpPushUri": format!("{service}/update-multipart"),
            "MaxImageSizeBytes": super::super::firmware::IMAGE_BYTES_MAX,
            "FirmwareInventory": link(&folder),
            "Status": good(),
            "Actions": { "#UpdateService.SimpleUpdate": {
                "target": format!("{service}/Actions/UpdateService.SimpleUpdate"),
                "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"],
                "@Redfish.ActionInfo": format!("{service}/SimpleUpdateActionInfo"),
            }},
        }),
    );
    let parameter = |name: &str, kind: &str, required: bool| json!({ "Name": name, "Required": required, "DataType": kind });
    let mut protocol = parameter("TransferProtocol", "String", false);
    protocol["AllowableValues"] = json!(["HTTP", "HTTPS"]);
    tree.add(
        &format!("{service}/SimpleUpdateActionInfo"),
        "ActionInfo.v1_4_1.ActionInfo",
        "What SimpleUpdate takes",
        json!({ "Parameters": [
            parameter("ImageURI", "String", true),
            protocol,
            parameter("Targets", "StringArray", false),
            parameter("Username", "String", false),
            parameter("Password", "String", false),
        ]}),
    );
    tree.collection(&folder, "SoftwareInventory", &["BMC", "BIOS"]);
    let (_, bios_version, _) = BIOS;
    for (id, version, related) in
        [("BMC", BMC_VERSION, MANAGER), ("BIOS", bios_version, "/redfish/v1/Systems/1/Bios")]
    {
        let kind = "SoftwareInventory.v1_11_0.SoftwareInventory";
        let body = json!({
            "Version": version,
            "SoftwareId": format!("lab-{}", id.to_lowercase()),
            "Updateable": true,
            "RelatedItem": [link(related)],
            "RelatedItem@odata.count": 1,
            "Status": good(),
        });
        tree.add(&format!("{folder}/{id}"), kind, id, body);
    }
}

fn certificates(tree: &mut Growing) {
    let service = "/redfish/v1/CertificateService";
    let below = |name: &str| format!("{service}/{name}");
    let mine = format!("{MANAGER}/NetworkProtocol/HTTPS/Certificates/1");
    let action = |name: &str| -> Value { json!(below(&format!("Actions/CertificateService.{name}"))) };
    tree.add(
        service,
        "CertificateService.v1_1_1.CertificateService",
        "Certificate Service",
        json!({
            "CertificateLocations": link(&below("CertificateLocations")),
            "Actions": {
                "#CertificateService.ReplaceCertificate": {
                    "target": action("ReplaceCertificate"),
                    "CertificateType@Redfish.AllowableValues": ["PEM"],
                },
                "#CertificateService.GenerateCSR": {
                    "target": action("GenerateCSR"),
                    "KeyPairAlgorithm@Redfish.AllowableValues": ["TPM_ALG_ECDSA"],
                    "KeyCurveId@Redfish.AllowableValues": ["TPM_ECC_NIST_P256"],
                },
            },
        }),
    );
    tree.add(
        &below("CertificateLocations"),
        "CertificateLocations.v1_0_4.CertificateLocations",
        "Certificate Locations",
        json!({ "Links": { "Certificates": [link(&mine)], "Certificates@odata.count": 1 } }),
    );
}
