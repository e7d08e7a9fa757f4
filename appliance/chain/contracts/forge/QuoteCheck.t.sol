// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {QuoteCheck} from "../src/QuoteCheck.sol";
import {QuoteProbe} from "../src/QuoteProbe.sol";

import {Forge} from "./Vm.sol";

/// Quotes as TPMs write them, signed by keys of forge's own implementation of the curve.
contract QuoteCheckTest is Forge {
    QuoteProbe private probe = new QuoteProbe();

    uint24 private constant REQUIRED = 0x00FAFF;

    struct Quoted {
        bytes quote;
        bytes32 r;
        bytes32 s;
        bytes32 x;
        bytes32 y;
    }

    function testFuzz_QuotesOfAnyKeyPassWithTheLowerHalfAndNotWithTheUpper(uint256 key, bytes32 data) public {
        Quoted memory q = signed(key, wellFormed(data));
        probe.check(q.quote, data, REQUIRED, q.r, q.s, q.x, q.y);
        bytes32 high = bytes32(P256.N - uint256(q.s));
        vm.expectRevert(abi.encodeWithSelector(QuoteCheck.SignatureNotLowS.selector, high));
        probe.check(q.quote, data, REQUIRED, q.r, high, q.x, q.y);
    }

    function testFuzz_OneBitTurnedAnywhereIsRefused(uint256 key, bytes32 data, uint256 bit) public {
        Quoted memory q = signed(key, wellFormed(data));
        bit = between(bit, 0, q.quote.length * 8 - 1);
        q.quote[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.expectRevert();
        probe.check(q.quote, data, REQUIRED, q.r, q.s, q.x, q.y);
    }

    function testFuzz_AnotherSignatureOrKeyIsRefused(uint256 key, bytes32 data, uint256 word, uint256 bit) public {
        Quoted memory q = signed(key, wellFormed(data));
        bytes32 flip = bytes32(1 << (bit % 256));
        word = word % 4;
        if (word == 0) q.r ^= flip;
        else if (word == 1) q.s ^= flip;
        else if (word == 2) q.x ^= flip;
        else q.y ^= flip;
        vm.expectRevert();
        probe.check(q.quote, data, REQUIRED, q.r, q.s, q.x, q.y);
    }

    function testFuzz_AQuoteForSomethingElseIsRefused(uint256 key, bytes32 data, bytes32 wanted) public {
        vm.assume(data != wanted);
        Quoted memory q = signed(key, wellFormed(data));
        vm.expectRevert(abi.encodeWithSelector(QuoteCheck.QuoteForSomethingElse.selector, data, wanted));
        probe.check(q.quote, wanted, REQUIRED, q.r, q.s, q.x, q.y);
    }

    function testFuzz_ShorterOrLongerIsRefused(bytes32 data, uint256 length) public {
        bytes memory good = wellFormed(data);
        length = between(length, 0, good.length - 1);
        bytes memory cut = new bytes(length);
        for (uint256 i = 0; i < length; ++i) cut[i] = good[i];
        vm.expectRevert();
        probe.parse(cut, REQUIRED);
        vm.expectPartialRevert(QuoteCheck.QuoteLength.selector);
        probe.parse(abi.encodePacked(good, bytes1(uint8(length))), REQUIRED);
    }

    /// Every bitmap of two, three and four bytes: taken where it has what is wanted and nothing above PCR 15.
    function testFuzz_TheSelectionIsWhatItHasToBe(uint32 bits, uint24 wanted, uint8 bytes_, bool near) public view {
        wanted &= 0xFFFF;
        uint256 size = between(bytes_, 2, 4);
        // Random bits alone hardly ever hold ten PCRs.
        if (near) bits = bits | wanted | 0x18FF;
        bytes memory map = new bytes(size);
        for (uint256 i = 0; i < size; ++i) map[i] = bytes1(uint8(bits >> (8 * i)));
        uint256 selected = size == 4 ? bits : bits & ((1 << (8 * size)) - 1);
        bool good = selected >> 16 == 0 && selected & (wanted | 0x18FF) == (wanted | 0x18FF);
        try probe.parse(with(bytes32(uint256(7)), map), wanted) returns (bytes32 data) {
            require(good && data == bytes32(uint256(7)), "taken");
        } catch (bytes memory why) {
            bytes4 name = bytes4(why);
            require(!good, "refused");
            require(
                name == (selected >> 16 != 0 ? QuoteCheck.QuotePcrsForbidden.selector : QuoteCheck.QuotePcrsMissing.selector),
                "refused as something else"
            );
        }
    }

    function wellFormed(bytes32 data) private pure returns (bytes memory) {
        return with(data, hex"FFFA00");
    }

    /// TPMS_ATTEST field by field (TCG Part 2, 10.12.8).
    function with(bytes32 data, bytes memory map) private pure returns (bytes memory) {
        bytes memory head = abi.encodePacked(hex"ff544347", hex"8018", hex"0022", hex"000B", keccak256("signer"), hex"0020", data);
        bytes memory clock = abi.encodePacked(uint64(0x0C5D2EA1), uint32(7), uint32(1), hex"01", uint64(0x2019102300163636));
        bytes memory selection = abi.encodePacked(uint32(1), hex"000B", uint8(map.length), map);
        return abi.encodePacked(head, clock, selection, hex"0020", keccak256("digest"));
    }

    function signed(uint256 key, bytes memory quote) private pure returns (Quoted memory q) {
        key = between(key, 1, P256.N - 1);
        (bytes32 r, bytes32 s) = vm.signP256(key, sha256(quote));
        if (uint256(s) > P256.N / 2) s = bytes32(P256.N - uint256(s));
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        return Quoted(quote, r, s, bytes32(x), bytes32(y));
    }
}
