//! Virtual media on controllers of many habits: what is sent, in which slot, and when it counts as done.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::sync::{Arc, Mutex};

use appliance_bmc::{BmcError, BootTarget};
use serde_json::{Value, json};
use support::{Asked, Reply, Served};

const IMAGE: &str = "http://10.78.0.1:8080/boot/00112233445566778899aabbccddeeff/medium.iso";

/// One slot and its manners.
#[derive(Clone)]
struct Slot {
    kinds: &'static [&'static str],
    /// Lists `InsertMedia` and `EjectMedia`.
    actions: bool,
    /// Answers to the action: 204 puts the image in.
    action_status: u16,
    /// Refuses bodies that hold this property.
    dislikes: Option<&'static str>,
    /// Answers to a PATCH.
    patch_status: u16,
    image: Option<String>,
}

const GOOD: Slot = Slot {
    kinds: &["CD", "DVD"],
    actions: true,
    action_status: 204,
    dislikes: None,
    patch_status: 405,
    image: None,
};

struct World {
    vendor: &'static str,
    targets: &'static [&'static str],
    slots: Vec<Slot>,
}

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

fn answer(world: &Mutex<World>, asked: &Asked) -> Reply {
    const SLOTS: &str = "/redfish/v1/Managers/1/VirtualMedia";
    let mut world = world.lock().unwrap();
    let (vendor, targets) = (world.vendor, world.targets);
    let rest = asked.path.strip_prefix(SLOTS).unwrap_or("-");
    let number = |text: &str| text.trim_matches('/').split('/').next().and_then(|n| n.parse::<usize>().ok());
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/redfish/v1/") => Reply::json(
            200,
            &json!({ "Vendor": vendor, "Systems": link("/redfish/v1/Systems"),
                "Managers": link("/redfish/v1/Managers"),
                "Links": { "Sessions": link("/redfish/v1/SessionService/Sessions") } }),
        ),
        ("POST", "/redfish/v1/SessionService/Sessions") => {
            Reply(201, vec![("X-Auth-Token", "t".into())], b"{}".to_vec())
        }
        ("GET", "/redfish/v1/Systems") => {
            Reply::json(200, &json!({ "Members": [link("/redfish/v1/Systems/1")] }))
        }
        ("GET", "/redfish/v1/Systems/1") => Reply::json(
            200,
            &json!({ "Id": "1", "SerialNumber": "S1", "Manufacturer": vendor, "PowerState": "Off",
                "Links": { "ManagedBy": [link("/redfish/v1/Managers/1")] },
                "Boot": { "BootSourceOverrideTarget@Redfish.AllowableValues": targets } }),
        ),
        ("GET", "/redfish/v1/Managers/1") => {
            Reply::json(200, &json!({ "Id": "1", "VirtualMedia": link(SLOTS) }))
        }
        ("GET", SLOTS) => {
            let members: Vec<Value> = (0..world.slots.len()).map(|n| link(&format!("{SLOTS}/{n}"))).collect();
            Reply::json(200, &json!({ "Members": members }))
        }
        (method, _) => {
            let Some(slot) = number(rest).and_then(|n| world.slots.get_mut(n)) else {
                return Reply(404, vec![], vec![]);
            };
            slot_answer(slot, method, rest, &asked.body)
        }
    }
}

fn slot_answer(slot: &mut Slot, method: &str, rest: &str, body: &Value) -> Reply {
    let disliked = slot.dislikes.is_some_and(|name| body.get(name).is_some());
    match method {
        "GET" => {
            let mut shown =
                json!({ "MediaTypes": slot.kinds, "Image": slot.image, "Inserted": slot.image.is_some() });
            if slot.actions {
                shown["Actions"] = json!({ "#VirtualMedia.InsertMedia": {}, "#VirtualMedia.EjectMedia": {} });
            }
            Reply::json(200, &shown)
        }
        "POST" if disliked => Reply(400, vec![], b"{}".to_vec()),
        "POST" if rest.ends_with("InsertMedia") && slot.action_status < 300 => {
            slot.image = body["Image"].as_str().map(str::to_owned);
            Reply(slot.action_status, vec![], vec![])
        }
        "POST" if rest.ends_with("EjectMedia") => {
            slot.image = None;
            Reply(204, vec![], vec![])
        }
        "POST" => Reply(slot.action_status, vec![], b"{}".to_vec()),
        "PATCH" if slot.patch_status < 300 => {
            slot.image = body["Image"].as_str().map(str::to_owned);
            Reply(slot.patch_status, vec![], vec![])
        }
        _ => Reply(slot.patch_status, vec![], vec![]),
    }
}

async fn insert(world: World) -> (Result<appliance_bmc::Inserted, BmcError>, Arc<Mutex<World>>, Vec<Asked>) {
    let world = Arc::new(Mutex::new(world));
    let inside = Arc::clone(&world);
    let served = Served::start(0, move |asked| answer(&inside, asked)).await;
    let result = served.client(None).insert_media(IMAGE).await;
    let asked = served.asked.lock().unwrap().clone();
    (result, world, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_into_the_slot_that_takes_it() {
    let stick = Slot { kinds: &["USBStick"], ..GOOD };
    let floppy = Slot { kinds: &["Floppy"], ..GOOD };
    let listed_only = Slot { action_status: 405, ..GOOD };
    let patched = Slot { actions: false, patch_status: 204, ..GOOD };
    let plain = Slot { dislikes: Some("WriteProtected"), ..GOOD };
    let full = Slot { image: Some("http://other/old.iso".into()), ..GOOD };
    let cd: &[&str] = &["Pxe", "Cd"];
    let rows = [
        ("the only slot", "", cd, vec![GOOD], 0, BootTarget::Cd),
        ("a CD before a stick, no floppy", "", cd, vec![floppy.clone(), stick, GOOD], 2, BootTarget::Cd),
        ("a slot whose action is not there", "", cd, vec![listed_only.clone(), GOOD], 1, BootTarget::Cd),
        ("a slot filled by PATCH", "Lenovo", cd, vec![patched], 0, BootTarget::Cd),
        ("a slot that wants no flags", "", cd, vec![plain], 0, BootTarget::Cd),
        ("what was in it is taken out", "", cd, vec![full], 0, BootTarget::Cd),
        ("the target of its maker", "Supermicro", &["Pxe", "Cd", "UsbCd"], vec![GOOD], 0, BootTarget::UsbCd),
    ];
    for (what, vendor, targets, slots, slot, boot) in rows {
        let (result, world, _) = insert(World { vendor, targets, slots }).await;
        let inserted = result.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(inserted.slot.ends_with(&format!("/{slot}")), "{what}: {inserted:?}");
        assert_eq!(inserted.boot, boot, "{what}");
        assert_eq!(world.lock().unwrap().slots[slot].image.as_deref(), Some(IMAGE), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_already_there_is_not_put_in_again() {
    let there = Slot { image: Some(IMAGE.into()), ..GOOD };
    let (result, _, asked) = insert(World { vendor: "", targets: &["Cd"], slots: vec![there] }).await;
    result.unwrap();
    let changes = asked.iter().filter(|asked| asked.path.contains("VirtualMedia") && asked.method != "GET");
    assert_eq!(changes.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_every_slot() {
    let broken = Slot { action_status: 500, ..GOOD };
    let (result, ..) =
        insert(World { vendor: "", targets: &["Cd"], slots: vec![broken.clone(), broken] }).await;
    let said = result.unwrap_err().to_string();
    assert!(
        said.contains("VirtualMedia/0") && said.contains("VirtualMedia/1") && said.contains("500"),
        "{said}"
    );
    let (result, ..) = insert(World { vendor: "", targets: &["Cd"], slots: vec![] }).await;
    assert!(result.unwrap_err().to_string().contains("no slot that takes a CD"));
}
