//! Who made this TPM, and which PCR banks it keeps.

use attest_wire::{PcrSelections, Problem, Reader, WireError, Writer};

use crate::{
    Tpm, TpmError,
    command::{self, GET_CAPABILITY},
};

const CAP_HANDLES: u32 = 1;
const CAP_PCRS: u32 = 5;
const CAP_TPM_PROPERTIES: u32 = 6;

const PT_REVISION: u32 = 0x102;
const PT_MANUFACTURER: u32 = 0x105;
const PT_VENDOR_STRINGS: std::ops::RangeInclusive<u32> = 0x106..=0x109;
const PT_FIRMWARE_VERSION_1: u32 = 0x10b;
const PT_FIRMWARE_VERSION_2: u32 = 0x10c;

/// Properties or handles in one answer: what fits into a response.
const ENTRIES_MAX: u32 = 1000;

/// Answers to one question: a TPM with more NV indices than that is not read to the end.
const PAGES_MAX: u32 = 16;

/// Facts about a TPM, named as the inventory names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// TPM_PT_MANUFACTURER as characters (`IFX`, `STM`, `IBM`), filling removed.
    pub manufacturer: String,
    /// Vendor strings 1 to 4, joined, filling removed.
    pub vendor: String,
    /// TPM_PT_FIRMWARE_VERSION_1 and _2, high and low half.
    pub firmware: u64,
    /// Names of the banks that have PCRs (`sha256`).
    pub banks: Vec<String>,
    /// Revision of the specification times 100 (138 is 1.38).
    pub revision: u32,
}

impl Tpm {
    /// Facts about this TPM.
    ///
    /// # Errors
    /// When the TPM does not tell.
    pub fn properties(&mut self) -> Result<Properties, TpmError> {
        let properties = self.tagged_properties(0x100, 64)?;
        let value = |wanted| {
            properties.iter().find(|(property, _)| *property == wanted).map_or(0, |(_, value)| *value)
        };
        let vendor: Vec<u8> = PT_VENDOR_STRINGS.flat_map(|property| value(property).to_be_bytes()).collect();
        Ok(Properties {
            manufacturer: text(&value(PT_MANUFACTURER).to_be_bytes()),
            vendor: text(&vendor),
            firmware: u64::from(value(PT_FIRMWARE_VERSION_1)) << 32 | u64::from(value(PT_FIRMWARE_VERSION_2)),
            banks: self.banks()?,
            revision: value(PT_REVISION),
        })
    }

    /// Properties from `first` on, at most `most` of them, with their values.
    pub(crate) fn tagged_properties(&mut self, first: u32, most: u32) -> Result<Vec<(u32, u32)>, TpmError> {
        let question = capability(CAP_TPM_PROPERTIES, first, most);
        self.ask(GET_CAPABILITY, &[], &[], question, |reader| {
            head(reader, CAP_TPM_PROPERTIES)?;
            let count = count(reader, "TPML_TAGGED_TPM_PROPERTY.count")?;
            (0..count)
                .map(|_| {
                    Ok((
                        reader.u32("TPMS_TAGGED_PROPERTY.property")?,
                        reader.u32("TPMS_TAGGED_PROPERTY.value")?,
                    ))
                })
                .collect()
        })
    }

    fn banks(&mut self) -> Result<Vec<String>, TpmError> {
        let selections = self.ask(GET_CAPABILITY, &[], &[], capability(CAP_PCRS, 0, 1), |reader| {
            head(reader, CAP_PCRS)?;
            PcrSelections::read(reader)
        })?;
        // A bank that is switched off is listed with an empty map.
        Ok(selections.banks().iter().filter(|bank| bank.mask != 0).map(|bank| bank.alg.label()).collect())
    }

    /// Handles that exist from `first` on, up to `last`.
    pub(crate) fn handles(&mut self, first: u32, last: u32) -> Result<Vec<u32>, TpmError> {
        let mut handles = Vec::new();
        let mut from = first;
        for _ in 0..PAGES_MAX {
            let question = capability(CAP_HANDLES, from, 64);
            let (more, page) = self.ask(command::GET_CAPABILITY, &[], &[], question, |reader| {
                let more = head(reader, CAP_HANDLES)?;
                let count = count(reader, "TPML_HANDLE.count")?;
                let page =
                    (0..count).map(|_| reader.u32("TPML_HANDLE.handle")).collect::<Result<Vec<_>, _>>()?;
                Ok((more, page))
            })?;
            handles.extend(page.iter().filter(|handle| (from..=last).contains(*handle)));
            match page.last() {
                Some(&end) if more && (from..last).contains(&end) => from = end.saturating_add(1),
                Some(_) | None => break,
            }
        }
        Ok(handles)
    }
}

fn capability(capability: u32, property: u32, count: u32) -> Writer {
    Writer::new(12).u32("capability", capability).u32("property", property).u32("propertyCount", count)
}

/// Reads moreData and the capability, which must be the one asked for.
fn head(reader: &mut Reader<'_>, asked: u32) -> Result<bool, WireError> {
    let more = reader.u8("moreData")? != 0;
    let start = reader.clone();
    let answered = reader.u32("TPMS_CAPABILITY_DATA.capability")?;
    if answered != asked {
        return Err(
            start.error("TPMS_CAPABILITY_DATA.capability", Problem::Refused { value: answered.into() })
        );
    }
    Ok(more)
}

fn count(reader: &mut Reader<'_>, field: &'static str) -> Result<u32, WireError> {
    let start = reader.clone();
    let count = reader.u32(field)?;
    if count > ENTRIES_MAX {
        return Err(start.error(field, Problem::Refused { value: count.into() }));
    }
    Ok(count)
}

/// Characters of a property: printable ASCII, what fills it up removed.
fn text(bytes: &[u8]) -> String {
    let text: String =
        bytes.iter().filter(|byte| (0x20..0x7f).contains(*byte)).map(|byte| char::from(*byte)).collect();
    text.trim().to_owned()
}
