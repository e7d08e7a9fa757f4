//! One board's facts.

use appliance_model::{
    Serial,
    burn_in::gpu::Counters,
    inventory::{
        ConfidentialComputing, ErrorCounts, Gpu, GpuEcc, GpuLimits, GpuLink, MigInstance, MigMode, NvLink,
        RetiredPages,
    },
};
use nvml_wrapper::{
    Device, Nvml,
    bitmasks::device::ThrottleReasons,
    enum_wrappers::{
        device::{Clock, EccCounter, MemoryError, RetirementCause, TemperatureSensor, TemperatureThreshold},
        nv_link::ErrorCounter,
    },
    error::NvmlError,
};

use crate::{instances, raw, told};

/// `NVML_NVLINK_MAX_LINKS`.
const LINKS: u32 = 18;

/// More instances than a GPU can be cut into.
const INSTANCES_MAX: u32 = 32;

/// Reasons for lower clocks that are worth a word.  Idling, and clocks that somebody chose, are not.
const THROTTLED: [(ThrottleReasons, &str); 5] = [
    (ThrottleReasons::SW_POWER_CAP, "sw-power-cap"),
    (ThrottleReasons::HW_SLOWDOWN, "hw-slowdown"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw-thermal-slowdown"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw-thermal-slowdown"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw-power-brake-slowdown"),
];

pub(crate) fn read(nvml: &Nvml, device: &Device<'_>) -> Gpu {
    let mut untold = Vec::new();
    let no = &mut untold;
    let reasons = told(no, "throttle reasons", device.current_throttle_reasons());
    let mut gpu = Gpu {
        uuid: told(no, "UUID", device.uuid()).unwrap_or_default(),
        model: told(no, "name", device.name()).unwrap_or_default(),
        serial: told(no, "serial", device.serial()).and_then(|text| Serial::parse(&text)),
        bytes: told(no, "memory", device.memory_info()).map_or(0, |memory| memory.total),
        pci: told(no, "PCI address", device.pci_info()).map(|info| address(&info.bus_id)),
        node: told(no, "NUMA node", device.numa_node_id()),
        part: told(no, "part number", device.board_part_number()),
        architecture: told(no, "architecture", device.architecture())
            .map(|kind| format!("{kind:?}").to_ascii_lowercase()),
        vbios: told(no, "VBIOS", device.vbios_version()),
        inforom: told(no, "InfoROM", device.info_rom_image_version()),
        gsp: told(no, "GSP firmware", device.gsp_firmware_version()),
        ecc: ecc(device, no),
        remapped_rows: told(no, "remapped rows", raw::remapped_rows(nvml, device)),
        retired_pages: retired(device, no),
        link: link(device, no),
        nvlinks: nvlinks(nvml, device, no),
        mig: mig(nvml, device, no),
        limits: Some(limits(device, no)).filter(|limits| *limits != GpuLimits::default()),
        throttled: reasons.map(words).unwrap_or_default(),
        confidential: confidential(nvml, device, no),
        ..Gpu::default()
    };
    untold.dedup();
    gpu.untold = untold;
    gpu
}

/// What changes while a GPU works.
pub(crate) fn counters(nvml: &Nvml, device: &Device<'_>, uuid: &str) -> Counters {
    let mut untold = Vec::new();
    let no = &mut untold;
    let mut counters = Counters {
        uuid: uuid.to_owned(),
        index: told(no, "index", device.index()),
        model: told(no, "name", device.name()).unwrap_or_default(),
        serial: told(no, "serial", device.serial()).and_then(|text| Serial::parse(&text)),
        pci: told(no, "PCI address", device.pci_info()).map(|info| address(&info.bus_id)),
        ecc: ecc(device, no),
        remapped_rows: told(no, "remapped rows", raw::remapped_rows(nvml, device)),
        retired_pages: retired(device, no),
        link: link(device, no),
        nvlinks: nvlinks(nvml, device, no),
        throttled: told(no, "throttle reasons", device.current_throttle_reasons()).map(words),
        celsius: told(no, "temperature", device.temperature(TemperatureSensor::Gpu)),
        milliwatts: told(no, "power", device.power_usage()),
        megahertz: told(no, "clock", device.clock_info(Clock::SM)),
        memory_megahertz: told(no, "clock", device.clock_info(Clock::Memory)),
        untold: Vec::new(),
    };
    untold.dedup();
    counters.untold = untold;
    counters
}

/// Those worth a word.
fn words(reasons: ThrottleReasons) -> Vec<String> {
    let held = THROTTLED.iter().filter(|(bit, _)| reasons.contains(*bit));
    held.map(|(_, word)| (*word).to_owned()).collect()
}

/// NVML writes `00000000:1A:00.0`, the kernel `0000:1a:00.0`.
fn address(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let short = text.split(':').next().is_some_and(|domain| domain.len() == 8) && text.starts_with("0000");
    if short { text.get(4..).unwrap_or(&text).to_owned() } else { text }
}

fn ecc(device: &Device<'_>, no: &mut Vec<String>) -> Option<GpuEcc> {
    let mode = told(no, "ECC mode", device.is_ecc_enabled())?;
    let mut count = |kind: EccCounter| {
        let mut of = |error: MemoryError| {
            // With ECC off there is nothing to count.
            if !mode.currently_enabled {
                return None;
            }
            told(no, "ECC errors", device.total_ecc_errors(error, kind))
        };
        ErrorCounts { corrected: of(MemoryError::Corrected), uncorrected: of(MemoryError::Uncorrected) }
    };
    Some(GpuEcc {
        on: mode.currently_enabled,
        on_after_reset: mode.pending_enabled,
        volatile: count(EccCounter::Volatile),
        aggregate: count(EccCounter::Aggregate),
    })
}

fn retired(device: &Device<'_>, no: &mut Vec<String>) -> Option<RetiredPages> {
    let mut pages = |cause: RetirementCause| {
        let pages = told(no, "retired pages", device.retired_pages(cause))?;
        u32::try_from(pages.len()).ok()
    };
    let single_bit = pages(RetirementCause::MultipleSingleBitEccErrors)?;
    let double_bit = pages(RetirementCause::DoubleBitEccError)?;
    let pending = told(no, "pages to be retired", device.are_pages_pending_retired()).unwrap_or(false);
    Some(RetiredPages { single_bit, double_bit, pending })
}

fn link(device: &Device<'_>, no: &mut Vec<String>) -> Option<GpuLink> {
    let link = GpuLink {
        generation: told(no, "PCIe generation", device.current_pcie_link_gen()),
        generation_max: told(no, "PCIe generation", device.max_pcie_link_gen()),
        lanes: told(no, "PCIe lanes", device.current_pcie_link_width()),
        lanes_max: told(no, "PCIe lanes", device.max_pcie_link_width()),
        replays: told(no, "PCIe replays", device.pcie_replay_counter()),
    };
    (link != GpuLink::default()).then_some(link)
}

fn nvlinks(nvml: &Nvml, device: &Device<'_>, no: &mut Vec<String>) -> Vec<NvLink> {
    let mut links = Vec::new();
    for link in 0..LINKS {
        let wrapper = device.link_wrapper_for(link);
        let active = match wrapper.is_active() {
            Ok(active) => active,
            // Links beyond those it has are refused with either word.
            Err(NvmlError::NotSupported | NvmlError::InvalidArg) => continue,
            Err(error) => {
                told::<()>(no, "NVLink", Err(error));
                break;
            }
        };
        let mut count = |counter: ErrorCounter| told(no, "NVLink errors", wrapper.error_counter(counter));
        let (mut replays, mut recoveries) = (count(ErrorCounter::DlReplay), count(ErrorCounter::DlRecovery));
        let (flit_errors, mut data_errors) = (count(ErrorCounter::DlCrcFlit), count(ErrorCounter::DlCrcData));
        if [replays, recoveries, flit_errors, data_errors].iter().all(Option::is_none) {
            let fields = told(no, "NVLink errors", raw::link_errors(nvml, device, link));
            [replays, recoveries, data_errors] = fields.unwrap_or_default();
        }
        let version = told(no, "NVLink version", wrapper.version());
        let remote = active.then(|| told(no, "NVLink's other end", wrapper.remote_pci_info())).flatten();
        links.push(NvLink {
            link,
            active,
            version,
            remote: remote.map(|info| address(&info.bus_id)),
            replays,
            recoveries,
            flit_errors,
            data_errors,
        });
    }
    links
}

fn mig(nvml: &Nvml, device: &Device<'_>, no: &mut Vec<String>) -> Option<MigMode> {
    let mode = told(no, "MIG", device.mig_mode())?;
    let on = mode.current == 1;
    let instances_max = told(no, "MIG instances", device.mig_device_count());
    let profiles = if on { instances::profiles(nvml, device, no) } else { Vec::new() };
    let mut parts = Vec::new();
    for index in 0..instances_max.unwrap_or(0).min(INSTANCES_MAX) {
        // Places without an instance are "not found".
        let Some(part) = device.mig_device_by_index(index).ok().filter(|_| on) else { continue };
        let place = profiles
            .first()
            .and_then(|_| told(no, "MIG place", instances::place(nvml, device, &part, &profiles)));
        parts.push(MigInstance {
            place: place.flatten(),
            uuid: told(no, "MIG UUID", part.uuid()).unwrap_or_default(),
            model: told(no, "MIG name", part.name()).unwrap_or_default(),
            bytes: told(no, "MIG memory", part.memory_info()).map_or(0, |memory| memory.total),
        });
    }
    Some(MigMode { on, on_after_reset: mode.pending == 1, instances_max, instances: parts, profiles })
}

fn limits(device: &Device<'_>, no: &mut Vec<String>) -> GpuLimits {
    let range = told(no, "power limits", device.power_management_limit_constraints());
    GpuLimits {
        power_limit_milliwatts: told(no, "power limit", device.enforced_power_limit()),
        power_default_milliwatts: told(no, "power limit", device.power_management_limit_default()),
        power_min_milliwatts: range.as_ref().map(|range| range.min_limit),
        power_max_milliwatts: range.as_ref().map(|range| range.max_limit),
        power_milliwatts: told(no, "power", device.power_usage()),
        celsius: told(no, "temperature", device.temperature(TemperatureSensor::Gpu)),
        slowdown_celsius: told(
            no,
            "temperature limit",
            device.temperature_threshold(TemperatureThreshold::Slowdown),
        ),
        shutdown_celsius: told(
            no,
            "temperature limit",
            device.temperature_threshold(TemperatureThreshold::Shutdown),
        ),
    }
}

fn confidential(nvml: &Nvml, device: &Device<'_>, no: &mut Vec<String>) -> Option<ConfidentialComputing> {
    let capabilities = told(no, "confidential computing", raw::confidential(nvml))?;
    Some(ConfidentialComputing {
        on: told(no, "confidential computing", device.is_cc_enabled()),
        developer_mode: told(no, "confidential computing", device.is_cc_dev_mode_enabled()),
        ready: told(no, "confidential computing", device.get_confidential_compute_state()),
        ..capabilities
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_kernels() {
        for (told, expected) in [
            ("00000000:1A:00.0", "0000:1a:00.0"),
            ("0000:1A:00.0", "0000:1a:00.0"),
            ("00010000:01:00.0", "00010000:01:00.0"),
        ] {
            assert_eq!(address(told), expected);
        }
    }
}
