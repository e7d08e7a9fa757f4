//! A running appliance and controllers that nobody wrote into its site file: found, imported, met, refused, replaced.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use hil_tests_rack::{
    Quirks,
    fleet::{Fleet, FleetConfig, Listed, Places},
};
use serde_json::Value;

use crate::{path, run, running::Appliance, site::Site, text};

/// Wide, for what needs a second or two on a quiet machine.
const LOOKS_MAX: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

struct Room {
    appliance: Appliance,
    fleet: Fleet,
    _runtime: tokio::runtime::Runtime,
}

impl Room {
    /// Controllers on addresses of their own, one port, which the site file looks through.
    fn start(count: usize, credentials: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let port = TcpListener::bind("127.77.0.1:0").unwrap().local_addr().unwrap().port();
        let first: SocketAddr = format!("127.77.0.1:{port}").parse().unwrap();
        let config = FleetConfig {
            count,
            places: Places::Addresses(first),
            tree: None,
            quirks: Quirks::default(),
            plain: false,
            account: None,
            latency: None,
            dead_permille: 0,
            death: None,
            errors_permille: 0,
            ipmi: None,
            faults: Vec::new(),
            on: false,
        };
        let fleet = runtime.block_on(Fleet::start(&config)).unwrap();
        let site = Site::new();
        site.append(&format!(
            "\n{credentials}\n[discovery]\nranges = [\"127.77.0.1-127.77.0.{count}\"]\nports = [{port}]\ndhcp = false\n\
             every_seconds = 3600\n"
        ));
        Self { appliance: Appliance::of(site), fleet, _runtime: runtime }
    }

    /// Imports a list: serial, password, address.
    fn import(&self, lines: &[(&str, &str, Option<&str>)]) {
        let mut list = String::from("serial,password,address\n");
        for (serial, password, address) in lines {
            list.push_str(&format!("{serial},{password},{}\n", address.unwrap_or_default()));
        }
        self.appliance.site.write("list.csv", &list);
        let output =
            run(&["bmc", "import", path(&self.appliance.site.file("list.csv")), "--site", &self.dir()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    fn dir(&self) -> String {
        path(&self.appliance.site.dir()).to_owned()
    }

    /// What `bmc list` says, once it says what is wanted.
    fn until(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        for look in 0.. {
            let output = run(&["bmc", "list", "--json", "--site", &self.dir()]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let listed: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
            if wanted(&listed) {
                return listed;
            }
            if look >= LOOKS_MAX {
                let log = std::fs::read_to_string(self.appliance.site.file("serve.log")).unwrap();
                panic!("never {what}: {listed:#?}\n{log}");
            }
            std::thread::sleep(PAUSE);
        }
        unreachable!()
    }

    fn bmc(&self, index: usize) -> &Listed {
        &self.fleet.listed()[index]
    }
}

fn of<'a>(listed: &'a [Value], address: &str) -> &'a Value {
    listed.iter().find(|one| one["address"] == address).unwrap_or(&Value::Null)
}

fn says(one: &Value, words: &str) -> bool {
    one["trouble"].as_str().is_some_and(|trouble| trouble.contains(words))
}

#[test]
fn what_is_found_is_shown_and_factory_passwords_are_replaced_where_that_is_allowed() {
    let room = Room::start(3, "[credentials]\nrotate = \"on-first-contact\"\nown_account = \"scalerforge\"");
    let [first, second, third] = [room.bmc(0).clone(), room.bmc(1).clone(), room.bmc(2).clone()];
    let listed = room.until("three found", |listed| {
        listed.len() == 3 && listed.iter().all(|one| says(one, "no password of it is known"))
    });
    for one in &listed {
        assert_eq!((&one["password"], one["seen"]["address range"].is_u64()), (&"none".into(), true));
        assert!(one["service"].as_str().unwrap().contains("Redfish"), "{one}");
    }
    assert_eq!(room.appliance.read(&["host", "list"]), serde_json::json!([]));

    // No restart: two with their passwords, one with another one, one that is nowhere.
    room.import(&[
        (&first.serial, &first.password, Some(&first.url)),
        (&second.serial, &second.password, Some(&second.url)),
        (&third.serial, "not-its-Passw0rd", Some(&third.url)),
        ("LAB99999", "some-Passw0rd", None),
    ]);
    let listed = room.until("own accounts, and a refusal", |listed| {
        let ours = |bmc: &Listed| of(listed, &bmc.url)["own_account"] == "scalerforge";
        ours(&first) && ours(&second) && says(of(listed, &third.url), "refused the password of `admin`")
    });
    for bmc in [&first, &second] {
        let one = of(&listed, &bmc.url);
        assert_eq!(
            (&one["password"], &one["trouble"], &one["state"]),
            (&"ours".into(), &Value::Null, &"settled".into())
        );
    }
    let nowhere = listed.iter().find(|one| one["name"] == "LAB99999").unwrap();
    assert!(says(nowhere, "where it is, is not known"), "{nowhere}");

    // The right one is taken at once: a refusal is no latch, and waiting is for the password that was refused.
    room.import(&[(&third.serial, &third.password, Some(&third.url))]);
    room.until("the third one ours", |listed| of(listed, &third.url)["own_account"] == "scalerforge");
    let hosts = room.appliance.read(&["host", "list"]);
    let mut serials: Vec<&str> =
        hosts.as_array().unwrap().iter().filter_map(|one| one["serial"].as_str()).collect();
    serials.sort_unstable();
    assert_eq!(serials, ["LAB00001", "LAB00002", "LAB00003"]);

    glass(&room, &first);
}

/// What is on paper opens the controller, and what was in the list does not.
fn glass(room: &Room, bmc: &Listed) {
    let file = room.appliance.site.file("glass.json");
    let output =
        run(&["bmc", "export", "--break-glass", path(&file), "--plain-passwords", "--site", &room.dir()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let exported: Vec<Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let one = exported.iter().find(|one| one["name"] == bmc.serial.as_str()).unwrap();
    let show = |user: &str, password: &str| {
        room.appliance.site.write("password", password);
        let file = room.appliance.site.file("password");
        run(&["bmc", "show", &bmc.url, "--user", user, "--password-file", path(&file), "--json"])
            .status
            .success()
    };
    assert!(show("admin", one["password"].as_str().unwrap()));
    assert!(show("scalerforge", one["own"][1].as_str().unwrap()));
    assert!(!show("admin", &bmc.password));
}

/// A list from a maker has no addresses: once met, an account goes with its controller's key.
#[test]
fn an_account_goes_with_its_controllers_key() {
    let room = Room::start(1, "");
    let bmc = room.bmc(0).clone();
    let [_, port] = bmc.url.rsplitn(2, ':').collect::<Vec<_>>()[..] else { panic!("{}", bmc.url) };
    assert!(!port.is_empty());
    // Imported for an address where nobody is; it was met before, so its key is known.
    room.import(&[(&bmc.serial, &bmc.password, Some(&bmc.url))]);
    let listed = room.until("it is read", |listed| of(listed, &bmc.url)["read_at_ms"].is_u64());
    assert_eq!(of(&listed, &bmc.url)["password"], "imported", "a password is changed with permission only");
    let gone = "https://127.77.0.200:9";
    room.import(&[(&bmc.serial, &bmc.password, Some(gone))]);
    let listed = room.until("it is back", |listed| {
        of(listed, &bmc.url)["name"] == bmc.serial.as_str() && of(listed, &bmc.url)["pin"].is_string()
    });
    assert!(of(&listed, gone)["name"].is_null(), "{listed:#?}");
}
