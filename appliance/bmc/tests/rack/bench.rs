//! One simulated controller with a maker's habits, and what became of the writes sent to it.

use std::time::Duration;

use appliance_bmc::{Bmc, Contact, Options, Password, Pin};
use appliance_model::Serial;
use hil_tests_rack::{
    BmcAction, BmcFault, Quirks,
    fleet::{Fleet, FleetConfig, Listed, Places},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";

/// A controller and the way to it.
pub(crate) struct Bench {
    pub(crate) fleet: Fleet,
    pub(crate) listed: Listed,
}

impl Bench {
    /// One with the habits of a maker, which it shows as its own.
    pub(crate) async fn start(maker: &str) -> Self {
        let config = FleetConfig {
            count: 1,
            places: Places::Ports(([127, 0, 0, 1], 0).into()),
            tree: None,
            quirks: Quirks::preset(maker).unwrap(),
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
        let fleet = Fleet::start(&config).await.unwrap();
        let listed = fleet.listed()[0].clone();
        let (vendor, model, firmware) = match maker {
            "dell" => ("Dell", "16G Monolithic", "6.10.00.00"),
            "hpe" => ("HPE", "iLO 5", "iLO 5 v2.72"),
            "supermicro" => ("Supermicro", "X13", "01.03.10"),
            "ami" => ("AMI", "MegaRAC", "1.2"),
            "lenovo" => ("Lenovo", "Lenovo XClarity Controller", "2.83"),
            "openbmc" => ("OpenBMC", "OpenBmc", "2.14"),
            _ => ("Lab", "Lab BMC", "1.0"),
        };
        fleet.lie(0, "/redfish/v1", json!({ "Vendor": vendor }));
        fleet.lie(0, "/redfish/v1/Managers/1", json!({ "Model": model, "FirmwareVersion": firmware }));
        fleet.lie(0, SYSTEM, json!({ "SKU": listed.serial, "Manufacturer": vendor }));
        fleet.lie(0, "/redfish/v1/Chassis/1", json!({ "Manufacturer": vendor }));
        Self { fleet, listed }
    }

    pub(crate) fn serial(&self) -> Serial {
        Serial::parse(&self.listed.serial).unwrap()
    }

    pub(crate) fn client(&self) -> Bmc {
        self.client_of(&self.listed.user, &self.listed.password, None)
    }

    pub(crate) fn client_of(&self, user: &str, password: &str, pin: Option<Pin>) -> Bmc {
        let contact = Contact {
            url: self.listed.url.clone(),
            user: user.to_owned(),
            password: Password::new(password),
            pin,
        };
        let options = Options { pause: Duration::from_millis(80), ..Options::default() };
        Bmc::with(contact, options).unwrap()
    }

    /// The next request with this method and path meets a fault.
    pub(crate) fn fault(&self, line: &str, action: BmcAction) {
        self.fleet.fault(0, BmcFault { path_contains: line.to_owned(), action, times: 1 });
    }

    /// All requests with this method and path meet a fault.
    pub(crate) fn always(&self, line: &str, action: BmcAction) {
        self.fleet.fault(0, BmcFault { path_contains: line.to_owned(), action, times: u32::MAX });
    }

    /// How many writes with this method and path were done.
    pub(crate) fn done(&self, line: &str) -> usize {
        let writes = self.fleet.written(0);
        let fits = |method: &str, path: &str| format!("{method} {path}").contains(line);
        writes.iter().filter(|write| write.done() && fits(&write.method, &write.path)).count()
    }
}

/// Serves some bytes to everybody; says at which address.
pub(crate) async fn serve(name: &str, bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&bytes).await;
        }
    });
    format!("http://{address}/{name}")
}
