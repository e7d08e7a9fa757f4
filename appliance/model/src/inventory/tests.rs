//! The bytes of an inventory are signed: what is added later must not show while it has no value.

use super::{Bus, Cpu, Dimm, Drive, Gpu, Health, Inventory, Nic, PciDevice, Tpm};

/// If this fails, change your code, not this test: machines that tell no more than before would get another digest.
#[test]
fn what_nobody_told_is_not_written() {
    let inventory = Inventory {
        cpus: vec![Cpu::default()],
        dimms: vec![Dimm::default()],
        drives: vec![Drive { bus: Bus::Nvme, health: Some(Health::default()), ..Drive::default() }],
        nics: vec![Nic::default()],
        pci: vec![PciDevice::default()],
        gpus: vec![Gpu::default()],
        tpm: Some(Tpm::default()),
        ..Inventory::default()
    };
    let json = concat!(
        r#"{"system":{"manufacturer":null,"product":null,"serial":null,"uuid":null,"board_manufacturer":null,"#,
        r#""board_product":null,"board_serial":null,"chassis_serial":null,"asset_tag":null,"bios_vendor":null,"#,
        r#""bios_version":null,"bios_date":null,"bmc_version":null,"secure_boot":null},"#,
        r#""cpus":[{"socket":0,"model":null,"cores":0,"threads":0,"microcode":null}],"threads":[],"#,
        r#""memory_bytes":null,"memory_nodes":[],"#,
        r#""dimms":[{"slot":"","bytes":0,"speed_mts":null,"manufacturer":null,"part":null,"serial":null}],"#,
        r#""drives":[{"name":null,"bus":"nvme","model":null,"serial":null,"firmware":null,"bytes":0,"wwid":null,"#,
        r#""namespace":null,"rotational":null,"node":null,"pci":null,"health":{"passed":null,"#,
        r#""critical_warning":null,"temperature_celsius":null,"available_spare_percent":null,"#,
        r#""used_percent":null,"media_errors":null,"reallocated_sectors":null,"power_on_hours":null,"#,
        r#""unsafe_shutdowns":null}}],"nics":[{"name":null,"mac":null,"driver":null,"speed_mbps":null,"#,
        r#""link_up":null,"pci":null,"node":null}],"pci":[{"address":"","vendor":0,"device":0,"class":0,"#,
        r#""driver":null,"link":null,"link_max":null,"node":null}],"gpus":[{"uuid":"","model":"","serial":null,"#,
        r#""bytes":0,"pci":null,"node":null}],"tpm":{"manufacturer":"","vendor":"","firmware":0,"banks":[]},"#,
        r#""sources":{},"gaps":[]}"#
    );
    assert_eq!(serde_json::to_string(&inventory).unwrap(), json);
    assert_eq!(serde_json::from_str::<Inventory>(json).unwrap(), inventory);
}
