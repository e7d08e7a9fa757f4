//! Typed data as the app puts it together from structs and values, and hashes it by EIP-712 itself.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{B256, U256, hex, keccak256};

const DONE: [u8; 2] = [0x90, 0x00];

#[derive(Default)]
pub(crate) struct Message {
    structs: BTreeMap<String, Vec<Field>>,
    defining: String,
    roots: Vec<String>,
    values: Vec<Vec<u8>>,
    /// Of a value that came only in part.
    part: Vec<u8>,
}

#[derive(Clone)]
struct Field {
    kind: u8,
    /// As it stands in the struct's type.
    named: String,
    key: String,
}

impl Message {
    pub(crate) fn define(&mut self, name: &[u8]) -> Vec<u8> {
        self.defining = text(name);
        self.structs.insert(self.defining.clone(), Vec::new());
        DONE.into()
    }

    pub(crate) fn field(&mut self, data: &[u8]) -> Vec<u8> {
        let kind = data[0] & 0x0f;
        assert_eq!(data[0] & 0x80, 0, "no arrays");
        let mut rest = &data[1..];
        let mut take = |count: usize| {
            let (taken, behind) = rest.split_at(count);
            rest = behind;
            taken.to_vec()
        };
        let mut named = match kind {
            0 => {
                let length = usize::from(take(1)[0]);
                text(&take(length))
            }
            2 => "uint".into(),
            3 => "address".into(),
            4 => "bool".into(),
            5 => "string".into(),
            6 | 7 => "bytes".into(),
            other => panic!("type {other}"),
        };
        if data[0] & 0x40 != 0 {
            let size = u32::from(take(1)[0]);
            named += &if kind == 2 { size * 8 } else { size }.to_string();
        }
        let length = usize::from(take(1)[0]);
        let key = text(&take(length));
        assert!(rest.is_empty());
        self.structs.get_mut(&self.defining).unwrap().push(Field { kind, named, key });
        DONE.into()
    }

    pub(crate) fn root(&mut self, name: &[u8]) -> Vec<u8> {
        self.roots.push(text(name));
        DONE.into()
    }

    pub(crate) fn value(&mut self, more: bool, data: &[u8]) -> Vec<u8> {
        self.part.extend_from_slice(data);
        if !more {
            let whole = std::mem::take(&mut self.part);
            assert_eq!(usize::from(u16::from_be_bytes([whole[0], whole[1]])), whole.len() - 2);
            self.values.push(whole[2..].into());
        }
        DONE.into()
    }

    /// Hashes of domain and message, and what stands on the screen.
    pub(crate) fn hashes(self) -> ((B256, B256), Vec<String>) {
        assert_eq!(self.roots.len(), 2);
        assert_eq!(self.roots[0], "EIP712Domain");
        let (mut shown, mut values) = (Vec::new(), self.values.iter());
        let domain = self.hash(&self.roots[0], &mut values, &mut shown);
        let message = self.hash(&self.roots[1], &mut values, &mut shown);
        assert!(values.next().is_none(), "values without a field");
        ((domain, message), shown)
    }

    fn hash<'a>(
        &self,
        name: &str,
        values: &mut impl Iterator<Item = &'a Vec<u8>>,
        shown: &mut Vec<String>,
    ) -> B256 {
        let mut encoded = keccak256(self.named(name)).to_vec();
        for field in &self.structs[name] {
            if field.kind == 0 {
                encoded.extend(self.hash(&field.named, values, shown));
                continue;
            }
            let value = values.next().expect("a value for each field");
            let mut word = [0; 32];
            let words = match field.kind {
                5 | 7 => {
                    word = keccak256(value).0;
                    if field.kind == 5 { text(value) } else { hex::encode_prefixed(value) }
                }
                6 => {
                    word[..value.len()].copy_from_slice(value);
                    hex::encode_prefixed(value)
                }
                kind => {
                    word[32 - value.len()..].copy_from_slice(value);
                    if kind == 3 {
                        hex::encode_prefixed(value)
                    } else {
                        U256::from_be_bytes(word).to_string()
                    }
                }
            };
            encoded.extend(word);
            shown.push(format!("{}: {words}", field.key));
        }
        keccak256(encoded)
    }

    /// EIP-712's `encodeType`: the struct, then those it holds by name.
    fn named(&self, name: &str) -> String {
        let mut held = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(next) = open.pop() {
            for field in self.structs[&next].iter().filter(|field| field.kind == 0) {
                if held.insert(field.named.clone()) {
                    open.push(field.named.clone());
                }
            }
        }
        held.remove(name);
        let one = |name: &str| {
            let fields: Vec<String> =
                self.structs[name].iter().map(|field| format!("{} {}", field.named, field.key)).collect();
            format!("{name}({})", fields.join(","))
        };
        one(name) + &held.iter().map(|name| one(name)).collect::<String>()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
