// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// Attestors' word that an attestation key sits in the TPM of an endorsement key, as EIP-712 signatures.
///
/// A quote proves possession of a key.  That a TPM holds it is learnt by whoever ran credential activation against
/// that TPM, and by nobody else; so attestors who did sign it, and a class says how many of them it takes.
/// Who is an attestor, and that no two signatures are of one, is for `ScalerTerms` to judge.
abstract contract AttestorBindings is EIP712 {
    struct Binding {
        /// Unix seconds.
        uint64 validUntil;
        bytes32 r;
        /// s in the lower half, with the parity of the point in its highest bit (EIP-2098).
        bytes32 vs;
    }

    error BindingExpired(uint256 time, uint64 validUntil);
    error BindingSignatureInvalid(uint256 index);
    error TooManyBindings(uint256 given, uint256 max);

    bytes32 private constant BINDING_TYPEHASH =
        keccak256("Binding(bytes32 nodeId,bytes32 akX,bytes32 akY,uint64 validUntil)");
    uint256 private constant BINDINGS_MAX = 16;

    constructor() EIP712("Scalerforge registry", "1") {}

    /// What an attestor signs.
    function bindingDigest(bytes32 nodeId, bytes32 akX, bytes32 akY, uint64 validUntil)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(BINDING_TYPEHASH, nodeId, akX, akY, validUntil)));
    }

    /// Who signed; in the order given.
    function _signers(Binding[] calldata bindings, bytes32 nodeId, bytes32 akX, bytes32 akY)
        internal
        view
        returns (address[] memory signers)
    {
        if (bindings.length > BINDINGS_MAX) revert TooManyBindings(bindings.length, BINDINGS_MAX);
        signers = new address[](bindings.length);
        for (uint256 i = 0; i < bindings.length; ++i) {
            Binding calldata b = bindings[i];
            if (block.timestamp > b.validUntil) revert BindingExpired(block.timestamp, b.validUntil);
            bytes32 digest = bindingDigest(nodeId, akX, akY, b.validUntil);
            (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digest, b.r, b.vs);
            if (problem != ECDSA.RecoverError.NoError) revert BindingSignatureInvalid(i);
            signers[i] = signer;
        }
    }
}
