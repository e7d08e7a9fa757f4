//! Typed data as a Ledger's Ethereum app takes it: all structs first, then the values in their order.  Pure.

use alloy::dyn_abi::{DynSolValue, Resolver, TypedData};

const DOMAIN: &str = "EIP712Domain";

/// What a step says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Send {
    /// A struct begins.
    StructName,
    /// A field of it.
    FieldType,
    /// Values of this struct follow.
    Root,
    /// The next field's value.
    Value,
}

/// One thing to tell the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) send: Send,
    pub(super) data: Vec<u8>,
}

/// The steps for typed data; `None` where it holds what is not told so here (arrays, signed numbers).
pub(super) fn steps(of: &TypedData) -> Option<Vec<Step>> {
    let mut found = Vec::new();
    for root in [DOMAIN, &of.primary_type] {
        for defined in of.resolver.linearize(root).ok()? {
            found.push(Step { send: Send::StructName, data: defined.type_name().into() });
            for field in defined.props() {
                let data = field_type(&of.resolver, field.type_name(), field.name())?;
                found.push(Step { send: Send::FieldType, data });
            }
        }
    }
    let domain = TypedData {
        domain: of.domain.clone(),
        resolver: of.resolver.clone(),
        primary_type: DOMAIN.into(),
        message: serde_json::to_value(&of.domain).ok()?,
    };
    for part in [&domain, of] {
        found.push(Step { send: Send::Root, data: part.primary_type.clone().into() });
        values(&part.coerce().ok()?, &mut found)?;
    }
    Some(found)
}

/// Kind (and whether a size follows), a struct's name, size, the field's name.
fn field_type(known: &Resolver, kind: &str, name: &str) -> Option<Vec<u8>> {
    const SIZED: u8 = 0x40;
    let mut data = Vec::new();
    let size = |digits: &str| digits.parse::<u16>().ok();
    match kind {
        "address" => data.push(3),
        "bool" => data.push(4),
        "string" => data.push(5),
        "bytes" => data.push(7),
        _ if known.contains_type_name(kind) => {
            data.extend([0, u8::try_from(kind.len()).ok()?]);
            data.extend_from_slice(kind.as_bytes());
        }
        _ => {
            if let Some(bits) = kind.strip_prefix("uint").and_then(size) {
                data.extend([SIZED | 2, u8::try_from(bits / 8).ok()?]);
            } else {
                let bytes = kind.strip_prefix("bytes").and_then(size)?;
                data.extend([SIZED | 6, u8::try_from(bytes).ok()?]);
            }
        }
    }
    data.push(u8::try_from(name.len()).ok()?);
    data.extend_from_slice(name.as_bytes());
    Some(data)
}

fn values(value: &DynSolValue, found: &mut Vec<Step>) -> Option<()> {
    let bytes = match value {
        DynSolValue::CustomStruct { tuple, .. } => {
            return tuple.iter().try_for_each(|part| values(part, found));
        }
        DynSolValue::Bool(is) => vec![u8::from(*is)],
        DynSolValue::Uint(number, _) if number.is_zero() => vec![0],
        DynSolValue::Uint(number, _) => number.to_be_bytes_trimmed_vec(),
        DynSolValue::FixedBytes(word, size) => word.get(..*size)?.to_vec(),
        DynSolValue::Address(account) => account.to_vec(),
        DynSolValue::Bytes(bytes) => bytes.clone(),
        DynSolValue::String(text) => text.clone().into_bytes(),
        DynSolValue::Int(..)
        | DynSolValue::Function(_)
        | DynSolValue::Array(_)
        | DynSolValue::FixedArray(_)
        | DynSolValue::Tuple(_) => return None,
    };
    let length = u16::try_from(bytes.len()).ok()?.to_be_bytes();
    found.push(Step { send: Send::Value, data: [&length[..], &bytes].concat() });
    Some(())
}
