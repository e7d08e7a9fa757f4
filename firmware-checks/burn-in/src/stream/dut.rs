//! The machine and its devices as OCP's `dutInfo` names them, from what the opening says.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Opening;
use crate::staged::{device, serial};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DutInfo<'a> {
    dut_info_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    software_infos: [SoftwareInfo<'a>; 1],
    hardware_infos: Vec<HardwareInfo<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SoftwareInfo<'a> {
    name: &'static str,
    version: &'a str,
    software_type: &'static str,
    software_info_id: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HardwareInfo<'a> {
    name: String,
    hardware_info_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer_part_number: Option<&'a str>,
}

/// Every device that a task of the course is about, in the course's order.
pub(super) fn info(opening: &Opening) -> DutInfo<'_> {
    let mut seen = BTreeSet::new();
    let mut hardware_infos = Vec::new();
    for task in opening.course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()) {
        let name = device(&task.work);
        if seen.insert(name.clone()) {
            hardware_infos.push(HardwareInfo {
                hardware_info_id: name.clone(),
                serial_number: serial(&task.work).map(appliance_model::Serial::as_str),
                manufacturer_part_number: opening.models.get(&name).map(String::as_str),
                name,
            });
        }
    }
    DutInfo {
        dut_info_id: opening.dut.serial.as_str(),
        name: opening.dut.product.as_deref(),
        software_infos: [SoftwareInfo {
            name: "scalerforge agent",
            version: &opening.agent,
            software_type: "APPLICATION",
            software_info_id: "agent",
        }],
        hardware_infos,
    }
}
