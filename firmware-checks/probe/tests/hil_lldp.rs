//! Neighbours are heard on a real cable: two ends of a virtual one, in a network namespace of this test's own.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use appliance_model::inventory::{Inventory, Nic};
use firmware_checks_probe::live::lldp::listen;

/// What the child prints, so that nothing else on its output is taken for it.
const MARK: &str = "heard: ";

/// The script that makes the namespace's cable and sends from its far end; the test itself listens at the near one.
const SCRIPT: &str = r#"
set -e
ip link add near type veth peer name far
ip link set near up
ip link set far up
python3 - <<'EOF' >/dev/null 2>&1 &
import socket, struct, time
tlv = lambda kind, value: struct.pack('>H', kind << 9 | len(value)) + value
frame = bytes.fromhex('0180c200000e02000000000188cc') + tlv(1, b'\x04\xaa\xbb\xcc\x00\x01\x02') \
    + tlv(2, b'\x05swp7') + tlv(3, b'\x00\x78') + tlv(5, b'leaf-1') + tlv(0, b'')
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('far', 0))
for _ in range(200):
    s.send(frame)
    time.sleep(0.05)
EOF
exec "$@"
"#;

#[test]
fn a_switch_at_the_other_end_is_heard() {
    if std::env::var_os("SCALERFORGE_LLDP_INSIDE").is_some() {
        let nic = Nic { name: Some("near".into()), link_up: Some(true), ..Nic::default() };
        let mut inventory = Inventory { nics: vec![nic], ..Inventory::default() };
        listen(&inventory, Duration::from_secs(60)).tell(&mut inventory);
        println!("{MARK}{}", serde_json::to_string(&inventory).unwrap());
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", SCRIPT, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_switch_at_the_other_end_is_heard", "--nocapture"])
        .env("SCALERFORGE_LLDP_INSIDE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = text.lines().find_map(|line| line.split_once(MARK).map(|(_, json)| json.to_owned()));
    let inventory: Inventory = serde_json::from_str(&json.unwrap_or_else(|| panic!("{output:?}"))).unwrap();
    assert_eq!(inventory.gaps, [""; 0]);
    let [neighbour] = inventory.nics[0].neighbours.as_slice() else { panic!("{inventory:?}") };
    assert_eq!((neighbour.chassis.as_str(), neighbour.port.as_str()), ("aa:bb:cc:00:01:02", "swp7"));
    assert_eq!(neighbour.system_name.as_deref(), Some("leaf-1"));
}
