// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";

/// Checks a TPM quote: a TPMS_ATTEST of type quote (TCG Part 2, 10.12) and its P-256 signature.
///
/// The sizes that are taken (SHA-256 names and digests, one bank) leave one layout, whose only freedom is the length of
/// the PCR bitmap; every byte that says a size is compared and no byte is left over.  A valid signature proves
/// possession of a key, not that the key lives in a TPM: that is what attestors vouch for.
library QuoteCheck {
    error QuoteLength(uint256 given, uint256 expected);
    error QuoteNotFromTpm(uint32 magic);
    error QuoteWrongType(uint16 attestationType);
    /// Size and algorithm of the name of the key that signed: 34 bytes, SHA-256.
    error QuoteSignerName(uint32 given);
    error QuoteExtraDataSize(uint16 size);
    /// TPMI_YES_NO that is neither.
    error QuoteClockSafe(uint8 given);
    error QuoteBankCount(uint32 count);
    error QuoteBankNotSha256(uint16 algorithm);
    error QuoteSelectionSize(uint8 size);
    /// PCR n is bit n.
    error QuotePcrsMissing(uint24 selected, uint24 missing);
    /// PCR n is bit n.  PCRs from 16 on can be reset by the running system, so they prove nothing.
    error QuotePcrsForbidden(uint256 selected);
    error QuoteDigestSize(uint16 size);
    /// The quote's qualifying data is not the one of this chain, registry, operator, node and units.
    error QuoteForSomethingElse(bytes32 given, bytes32 expected);
    error SignatureNotLowS(bytes32 s);
    error QuoteSignatureInvalid();

    uint32 internal constant MAGIC = 0xff544347;
    uint16 internal constant TYPE_QUOTE = 0x8018;
    uint16 internal constant SHA256 = 0x000B;
    /// PCRs 0-7 (firmware and Secure Boot), 11 (the unified kernel image), 12 (its command line and overrides).
    uint24 internal constant REQUIRED = 0x0018FF;
    /// Bytes without the PCR bitmap.
    uint256 private constant LENGTH = 142;
    /// Where the bitmap begins; its size stands in the byte before it.
    uint256 private constant BITMAP = 108;

    /// Reverts unless `quote` carries `expected` and the key signed it.
    function check(
        bytes calldata quote,
        bytes32 expected,
        uint24 requiredPcrs,
        bytes32 r,
        bytes32 s,
        bytes32 akX,
        bytes32 akY
    ) internal view {
        bytes32 given = qualifyingData(quote, requiredPcrs);
        if (given != expected) revert QuoteForSomethingElse(given, expected);
        // Both s and n - s verify; taking one only leaves one valid transaction per quote.
        if (uint256(s) > P256.N / 2) revert SignatureNotLowS(s);
        if (!P256.verify(sha256(quote), r, s, akX, akY)) revert QuoteSignatureInvalid();
    }

    /// The quote's qualifying data, after everything around it was checked.
    function qualifyingData(bytes calldata quote, uint24 requiredPcrs) internal pure returns (bytes32) {
        if (quote.length <= BITMAP) revert QuoteLength(quote.length, LENGTH + 3);
        uint256 head = _word(quote, 0);
        if (head >> 224 != MAGIC) revert QuoteNotFromTpm(uint32(head >> 224));
        if (uint16(head >> 208) != TYPE_QUOTE) revert QuoteWrongType(uint16(head >> 208));
        // qualifiedSigner: two bytes of size, two of algorithm, 32 of digest.
        uint32 signer = uint32(head >> 176);
        if (signer != 0x0022000B) revert QuoteSignerName(signer);
        uint16 extraSize = uint16(_word(quote, 42) >> 240);
        if (extraSize != 32) revert QuoteExtraDataSize(extraSize);
        // Behind the extra data: clock 8, resetCount 4, restartCount 4, safe 1, firmwareVersion 8.
        uint256 tail = _word(quote, 92);
        if (tail >> 248 > 1) revert QuoteClockSafe(uint8(tail >> 248));
        // TPML_PCR_SELECTION: count 4, algorithm 2, size of the bitmap 1.
        uint32 banks = uint32(tail >> 152);
        if (banks != 1) revert QuoteBankCount(banks);
        uint16 bank = uint16(tail >> 136);
        if (bank != SHA256) revert QuoteBankNotSha256(bank);
        _selection(quote, uint8(tail >> 128), requiredPcrs | REQUIRED);
        return bytes32(_word(quote, 44));
    }

    /// The bitmap and what is behind it: the size of the digest, and the digest as the last 32 bytes.
    function _selection(bytes calldata quote, uint8 size, uint24 required) private pure {
        // Two bytes hold all that may be selected; TPMs write three or four, of which the rest has to be zero.
        if (size < 2 || size > 4) revert QuoteSelectionSize(size);
        if (quote.length != LENGTH + size) revert QuoteLength(quote.length, LENGTH + size);
        uint256 word = _word(quote, BITMAP);
        // The first byte holds PCRs 0-7, lowest bit first.
        uint24 selected = uint24((word >> 248) | ((word >> 232) & 0xFF00));
        uint256 behind = uint256(uint32(word >> 224)) & ((1 << 16) - 1);
        if (behind >> (8 * (4 - uint256(size))) != 0) revert QuotePcrsForbidden(behind);
        uint24 missing = required & ~selected;
        if (missing != 0) revert QuotePcrsMissing(selected, missing);
        uint16 digestSize = uint16(_word(quote, BITMAP + size) >> 240);
        if (digestSize != 32) revert QuoteDigestSize(digestSize);
    }

    /// 32 bytes at `offset`; behind the end of the call's data they read as zero, and callers have checked the length.
    function _word(bytes calldata quote, uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(quote.offset, offset))
        }
    }
}
