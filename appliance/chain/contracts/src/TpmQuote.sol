// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Reads a TPMS_ATTEST of type quote (TCG Part 2, 10.12) and refuses every byte string that is not exactly one.
///
/// It tells what was signed, not who signed: a P-256 signature proves possession of a key, not that the key lives
/// in a TPM.  That part is proven off chain (endorsement certificate and credential activation).
library TpmQuote {
    /// A field of `needed` bytes at `offset` does not fit into `length` bytes.
    error QuoteTruncated(uint256 offset, uint256 needed, uint256 length);
    /// The structure ended at `parsed`, the bytes at `length`.
    error QuoteTrailingBytes(uint256 parsed, uint256 length);
    error QuoteNotFromTpm(uint32 magic);
    error QuoteWrongType(uint16 attestationType);
    error QuoteSignerNameSize(uint256 size);
    error QuoteExtraDataSize(uint256 size);
    error QuoteBankCount(uint256 count);
    error QuoteBankNotSha256(uint16 algorithm);
    error QuoteSelectionSize(uint256 size);
    /// PCR n is bit n.
    error QuotePcrsMissing(uint24 selected, uint24 missing);
    /// PCR n is bit n.  These PCRs can be reset by the running system, so they prove nothing.
    error QuotePcrsForbidden(uint24 selected, uint24 forbidden);
    error QuoteDigestSize(uint256 size);

    uint32 internal constant MAGIC = 0xff544347;
    uint16 internal constant TYPE_QUOTE = 0x8018;
    uint16 internal constant SHA256 = 0x000B;
    /// PCRs 0-7 (firmware and Secure Boot), 11 (the unified kernel image), 12 (its command line and overrides).
    uint24 internal constant REQUIRED = 0x0018FF;
    /// PCRs 16 and 23 (debug, application) and 20-22 (dynamic launch).
    uint24 internal constant FORBIDDEN = 0xF10000;

    /// The quote's qualifying data, after everything around it was checked.
    function qualifyingData(bytes calldata quote) internal pure returns (bytes32 extraData) {
        uint32 magic = uint32(_number(quote, 0, 4));
        if (magic != MAGIC) revert QuoteNotFromTpm(magic);
        uint16 attestationType = uint16(_number(quote, 4, 2));
        if (attestationType != TYPE_QUOTE) revert QuoteWrongType(attestationType);

        // qualifiedSigner: a SHA-256 Name is two bytes of algorithm and the digest.
        uint256 size = _number(quote, 6, 2);
        if (size != 34) revert QuoteSignerNameSize(size);
        uint256 offset = 8 + size;

        size = _number(quote, offset, 2);
        if (size != 32) revert QuoteExtraDataSize(size);
        extraData = bytes32(_number(quote, offset + 2, 32));
        offset += 34;

        // clockInfo (clock 8, resetCount 4, restartCount 4, safe 1) and firmwareVersion 8.
        offset += 25;
        offset = _selection(quote, offset);

        size = _number(quote, offset, 2);
        if (size != 32) revert QuoteDigestSize(size);
        offset += 34;
        if (offset > quote.length) revert QuoteTruncated(offset - 32, 32, quote.length);
        if (offset != quote.length) revert QuoteTrailingBytes(offset, quote.length);
    }

    /// TPML_PCR_SELECTION: exactly one bank, SHA-256, 24 PCRs.
    function _selection(bytes calldata quote, uint256 offset) private pure returns (uint256 next) {
        uint256 count = _number(quote, offset, 4);
        if (count != 1) revert QuoteBankCount(count);
        uint16 bank = uint16(_number(quote, offset + 4, 2));
        if (bank != SHA256) revert QuoteBankNotSha256(bank);
        uint256 size = _number(quote, offset + 6, 1);
        if (size != 3) revert QuoteSelectionSize(size);
        // The first byte holds PCRs 0-7, lowest bit first.
        uint24 selected = uint24(
            _number(quote, offset + 7, 1) | (_number(quote, offset + 8, 1) << 8) | (_number(quote, offset + 9, 1) << 16)
        );
        uint24 missing = REQUIRED & ~selected;
        if (missing != 0) revert QuotePcrsMissing(selected, missing);
        uint24 forbidden = FORBIDDEN & selected;
        if (forbidden != 0) revert QuotePcrsForbidden(selected, forbidden);
        return offset + 10;
    }

    /// The big-endian number in the `width` bytes at `offset`; `width` is 1 to 32.
    function _number(bytes calldata quote, uint256 offset, uint256 width) private pure returns (uint256) {
        if (offset + width > quote.length) revert QuoteTruncated(offset, width, quote.length);
        return uint256(bytes32(quote[offset:offset + width])) >> (256 - 8 * width);
    }
}
