//! The registration's call, whose name nobody has published: it is written in the configuration, and only its argument is
//! known.

use std::{fmt, str::FromStr};

use alloy::{primitives::keccak256, sol_types::SolValue};

use super::abi::Params;

/// The ten fields, in the order and with the types that are known.
const FIELDS: &str = "(string,string,uint256,uint256,uint8,uint256,string,uint256,uint256,uint256)";
/// A Solidity signature with a name of bearable length.
const TEXT_CHARS_MAX: usize = 300;

/// How the ten fields are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As one struct.
    Struct,
    /// As a list of structs, of one.
    List,
    /// As ten arguments.
    Flat,
}

/// A registration's selector and form, from `name((string,…))`, `name((string,…)[])`, `name(string,…)`, or a bare
/// `0x12345678`, which is taken to be of the first form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterSignature {
    selector: [u8; 4],
    form: Form,
}

/// Why a signature was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no registration of ICN: write its signature, `NAME({FIELDS})`, with `[]` before the last bracket if it \
     takes a list, or its selector, `0x` and 8 hex digits; ask ICN for it, it is not public"
)]
pub struct NotASignature {
    /// What was written.
    pub text: String,
}

impl FromStr for RegisterSignature {
    type Err = NotASignature;

    fn from_str(text: &str) -> Result<Self, NotASignature> {
        let refuse = || NotASignature { text: text.chars().take(TEXT_CHARS_MAX).collect() };
        let bare: String = text.chars().filter(|c| *c != ' ').collect();
        if let Some(digits) = bare.strip_prefix("0x") {
            let mut selector = [0; 4];
            hex::decode_to_slice(digits, &mut selector).map_err(|_| refuse())?;
            return Ok(Self { selector, form: Form::Struct });
        }
        let (name, arguments) = bare.find('(').and_then(|at| bare.split_at_checked(at)).ok_or_else(refuse)?;
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let form = [
            (format!("({FIELDS})"), Form::Struct),
            (format!("({FIELDS}[])"), Form::List),
            (FIELDS.to_owned(), Form::Flat),
        ]
        .into_iter()
        .find_map(|(known, form)| (known == arguments).then_some(form));
        match form {
            Some(form) if named => {
                let hashed = keccak256(&bare);
                Ok(Self { selector: [hashed[0], hashed[1], hashed[2], hashed[3]], form })
            }
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for RegisterSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.selector))
    }
}

impl RegisterSignature {
    /// The first four bytes of the call.
    #[must_use]
    pub fn selector(&self) -> [u8; 4] {
        self.selector
    }

    /// What a call registers, if it is one of this signature.
    pub(super) fn decode(&self, input: &[u8]) -> Option<Params> {
        let arguments = input.strip_prefix(self.selector.as_slice())?;
        match self.form {
            Form::Struct => <Params as SolValue>::abi_decode(arguments).ok(),
            Form::List => Vec::<Params>::abi_decode(arguments).ok()?.into_iter().next(),
            Form::Flat => <Params as SolValue>::abi_decode_params(arguments).ok(),
        }
    }

    /// The call's bytes.
    pub(super) fn encode(&self, params: &Params) -> Vec<u8> {
        let arguments = match self.form {
            Form::Struct => params.abi_encode(),
            Form::List => std::slice::from_ref(params).abi_encode(),
            Form::Flat => SolValue::abi_encode_params(params),
        };
        [self.selector.as_slice(), &arguments].concat()
    }
}

#[cfg(test)]
mod tests {
    use alloy::{primitives::U256, sol, sol_types::SolCall as _};

    use super::*;

    sol! {
        interface Flat {
            function enrol(
                string a, string b, uint256 c, uint256 d, uint8 e, uint256 f, string g, uint256 h, uint256 i, uint256 j
            ) external;
        }
    }

    #[test]
    fn signatures_are_taken_as_text_or_selector() {
        for (text, selector) in [
            (format!("registerNode({FIELDS})"), None),
            (format!("registerNodes({FIELDS}[])"), None),
            (format!("enrol{FIELDS}"), Some(Flat::enrolCall::SELECTOR)),
            ("0x21c63ae9".into(), Some([0x21, 0xC6, 0x3A, 0xE9])),
        ] {
            let parsed: RegisterSignature = text.parse().unwrap();
            let expected = selector.unwrap_or_else(|| {
                let hashed = keccak256(&text);
                [hashed[0], hashed[1], hashed[2], hashed[3]]
            });
            assert_eq!(parsed.selector(), expected, "{text}");
        }
        for text in [
            "",
            "0x",
            "0x1234567",
            "0x123456789a",
            "registerNode",
            "registerNode()",
            "1a((string))",
            "x(string)",
        ] {
            let error = text.parse::<RegisterSignature>().unwrap_err();
            assert!(error.to_string().contains("ask ICN for it"), "{text}");
        }
    }

    #[test]
    fn each_form_is_encoded_as_solidity_does() {
        let params = Params {
            regionId: "eu-west".into(),
            name: "n".into(),
            hpId: U256::from(3),
            capacity: U256::from(4),
            location: 215,
            reservationPrice: U256::from(6),
            hwClass: "storage".into(),
            nodeRewardShare: U256::from(8),
            collateralAmount: U256::from(9),
            commitmentDuration: U256::from(10),
        };
        let call = Flat::enrolCall {
            a: "eu-west".into(),
            b: "n".into(),
            c: U256::from(3),
            d: U256::from(4),
            e: 215,
            f: U256::from(6),
            g: "storage".into(),
            h: U256::from(8),
            i: U256::from(9),
            j: U256::from(10),
        };
        let flat: RegisterSignature = format!("enrol{FIELDS}").parse().unwrap();
        assert_eq!(flat.encode(&params), call.abi_encode());
        let single: RegisterSignature = "0x00000001".parse().unwrap();
        let encoded = single.encode(&params);
        assert_eq!((single.decode(&encoded), flat.decode(&encoded)), (Some(params.clone()), None));
        assert_eq!(flat.decode(&flat.encode(&params)), Some(params.clone()));
        assert_eq!(<Params as SolValue>::abi_decode(&encoded[4..]), Ok(params.clone()));
        let list: RegisterSignature = format!("enrol({FIELDS}[])").parse().unwrap();
        assert_eq!(list.decode(&list.encode(&params)), Some(params.clone()));
        let decoded = Vec::<Params>::abi_decode(&list.encode(&params)[4..]).unwrap();
        assert_eq!(decoded, [params]);
    }
}
