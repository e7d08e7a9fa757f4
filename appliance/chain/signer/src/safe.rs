//! Safe multisignature accounts: a file for their transaction builder, and the hash that its owners see and sign.
//!
//! Nothing is sent to anybody: the file is opened in Safe's own application, where the owners sign.

use alloy::{
    primitives::{Address as ChainAddress, B256, Bytes, U256, hex},
    sol_types::{SolCall as _, SolStruct as _, eip712_domain},
};
use appliance_model::Address;
use serde_json::{Value, json};

/// MultiSendCallOnly 1.4.1, the same address on every chain: it makes calls, and no delegate calls.
const MULTI_SEND: Address = Address([
    0x96, 0x41, 0xd7, 0x64, 0xfc, 0x13, 0xc8, 0xB6, 0x24, 0xc0, 0x44, 0x30, 0xC7, 0x35, 0x6C, 0x1C, 0x7C,
    0x81, 0x02, 0xe2,
]);

mod abi {
    #![allow(missing_docs, reason = "a macro's output")]
    #![allow(clippy::too_many_arguments, reason = "a macro's output")]

    alloy::sol! {
        struct SafeTx {
            address to;
            uint256 value;
            bytes data;
            uint8 operation;
            uint256 safeTxGas;
            uint256 baseGas;
            uint256 gasPrice;
            address gasToken;
            address refundReceiver;
            uint256 nonce;
        }

        function multiSend(bytes transactions) external payable;
    }
}

/// A Safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Safe {
    /// Its account.
    pub account: Address,
    /// The chain.
    pub chain_id: u64,
    /// Its next nonce, as Safe's application shows it.
    pub nonce: u64,
}

/// One call that a Safe is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeTransaction {
    /// The contract.
    pub to: Address,
    /// Wei.
    pub value: U256,
    /// Selector and arguments.
    pub data: Vec<u8>,
}

impl Safe {
    /// What owners see and sign when the Safe makes these calls: one as it is, several through MultiSend.  Gas is not
    /// refunded to anybody.
    #[must_use]
    pub fn hash(&self, calls: &[SafeTransaction]) -> [u8; 32] {
        let (to, value, data, operation) = match calls {
            [one] => (one.to, one.value, one.data.clone(), 0),
            several => {
                let packed: Vec<u8> = several.iter().flat_map(SafeTransaction::packed).collect();
                let call = abi::multiSendCall { transactions: packed.into() };
                // A delegate call: MultiSend's code runs as the Safe.
                (MULTI_SEND, U256::ZERO, call.abi_encode(), 1)
            }
        };
        let transaction = abi::SafeTx {
            to: to.0.into(),
            value,
            data: Bytes::from(data),
            operation,
            safeTxGas: U256::ZERO,
            baseGas: U256::ZERO,
            gasPrice: U256::ZERO,
            gasToken: ChainAddress::ZERO,
            refundReceiver: ChainAddress::ZERO,
            nonce: U256::from(self.nonce),
        };
        let domain = eip712_domain! {
            chain_id: self.chain_id,
            verifying_contract: ChainAddress::from(self.account.0),
        };
        let hash: B256 = transaction.eip712_signing_hash(&domain);
        hash.0
    }

    /// The transaction builder's file.
    #[must_use]
    pub fn builder(&self, calls: &[SafeTransaction], description: &str, now_ms: u64) -> Value {
        let transactions: Vec<Value> = calls
            .iter()
            .map(|call| {
                json!({
                    "to": checksummed(call.to),
                    "value": call.value.to_string(),
                    "data": hex::encode_prefixed(&call.data),
                    "contractMethod": null,
                    "contractInputsValues": null,
                })
            })
            .collect();
        json!({
            "version": "1.0",
            "chainId": self.chain_id.to_string(),
            "createdAt": now_ms,
            "meta": {
                "name": "Scalerforge",
                "description": description,
                "createdFromSafeAddress": checksummed(self.account),
                "createdFromOwnerAddress": "",
            },
            "transactions": transactions,
        })
    }
}

impl SafeTransaction {
    /// As MultiSend takes it: operation (a call), recipient, value, length, data.
    fn packed(&self) -> Vec<u8> {
        let length = U256::from(self.data.len());
        [&[0_u8][..], &self.to.0, &self.value.to_be_bytes::<32>(), &length.to_be_bytes::<32>(), &self.data]
            .concat()
    }
}

/// EIP-55, which Safe's application demands.
fn checksummed(account: Address) -> String {
    ChainAddress::from(account.0).to_checksum(None)
}
