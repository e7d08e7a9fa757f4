//! An amount of the chain's own coin in JSON: decimal digits in a text.  Twenty coins in wei are more than a JSON number is
//! read as, and a cost sheet that cannot be written is no cost sheet.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

pub(crate) fn serialize<S: Serializer>(wei: &u128, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(wei)
}

/// Reads numbers too: that is how versions before this one wrote them.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(u64),
    }
    match Written::deserialize(d)? {
        Written::Text(text) => text.parse().map_err(D::Error::custom),
        Written::Number(number) => Ok(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Purse {
        #[serde(with = "super")]
        wei: u128,
    }

    #[test]
    fn more_coins_than_a_number_holds_are_written_and_read() {
        for (wei, text) in [(0, "0"), (100_000_000_000_000_000_000, "100000000000000000000")] {
            let value = serde_json::to_value(Purse { wei }).unwrap();
            assert_eq!(value, serde_json::json!({"wei": text}));
            assert_eq!(serde_json::from_value::<Purse>(value).unwrap(), Purse { wei });
        }
        assert_eq!(serde_json::from_str::<Purse>(r#"{"wei": 7}"#).unwrap(), Purse { wei: 7 });
        assert!(serde_json::from_str::<Purse>(r#"{"wei": "-1"}"#).is_err());
    }
}
