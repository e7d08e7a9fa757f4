// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bookings, Network} from "./Network.sol";

/// A node of two units, covered; the others book.
contract BookingsTest is Network {
    bytes[2] private texts = [bytes('{"id":"memory-0"}'), bytes('{"id":"memory-1"}')];
    bytes32[2] private leaves;

    function setUp() public {
        deployNetwork();
        for (uint256 i = 0; i < 2; ++i) leaves[i] = sha256(abi.encodePacked(hex"00", texts[i]));
        register(0, 60 * ONE, sha256(abi.encodePacked(hex"01", leaves[0], leaves[1])));
        uint256 part = uint256(vault.lockOf(id(0)).networkPart) * 1e12;
        vm.prank(others);
        vault.delegate(id(0), uint96(part), from(1));
        require(vault.isCovered(id(0)), "not covered");
    }

    /// Whenever it is settled, and however often: never more than the time that has passed, in the end all of it.
    function testFuzz_AFeeIsEarnedWithTime(uint40 duration, uint256 first, uint256 second) public {
        duration = uint40(between(duration, 1, 180 days));
        uint256 before = token.balanceOf(others);
        vm.prank(others);
        uint256 booking = bookings.bookNode(id(0), duration, type(uint256).max);
        uint256 fee = bookings.booking(booking).fee;
        uint256 margin = (fee * 2500 + 9999) / 10_000;
        require(fee == (uint256(duration) * ONE / 5 + 1 days - 1) / 1 days, "not the registration's price");
        require(before - token.balanceOf(others) == fee + margin && token.balanceOf(treasury) == margin, "paid otherwise");
        first = between(first, 0, duration);
        second = between(second, first, duration);
        uint256[2] memory times = [first, second];
        for (uint256 i = 0; i < 2; ++i) {
            vm.warp(START + times[i]);
            bookings.settle(booking);
            require(bookings.booking(booking).earned == fee * times[i] / duration, "not by the time");
        }
        vm.warp(START + duration);
        bookings.settle(booking);
        bookings.settle(booking);
        require(bookings.booking(booking).earned == fee && token.balanceOf(address(bookings)) == 0, "a rest stayed");
        require(vault.ownerRewards(id(0)) + vault.pool(id(0)).rewards == fee, "a reward was lost");
    }

    function testFuzz_WhoLeavesABrokenNodeGetsWhatItHasNotEarned(uint40 duration, uint256 settled, uint256 broken) public {
        duration = uint40(between(duration, 10 days, 180 days));
        vm.prank(others);
        uint256 booking = bookings.bookNode(id(0), duration, type(uint256).max);
        uint256 fee = bookings.booking(booking).fee;
        settled = between(settled, 0, 5 days);
        vm.warp(START + settled);
        bookings.settle(booking);
        broken = between(broken, settled, 6 days);
        vm.warp(START + broken);
        vm.prank(hyperNode);
        anomalies.report(id(0), 1, 0);
        vm.expectRevert();
        vm.prank(others);
        bookings.cancel(booking);
        vm.warp(START + broken + 1 days + 1);
        uint256 before = token.balanceOf(others);
        vm.prank(others);
        bookings.cancel(booking);
        require(token.balanceOf(others) - before == fee - fee * settled / duration, "another refund");
        require(token.balanceOf(address(bookings)) == 0, "a rest stayed");
    }

    function testFuzz_NoUnitTwiceAndNeverBesideTheWholeNode(uint40 duration, uint256 later, uint8 unit) public {
        duration = uint40(between(duration, 2, 100 days));
        unit %= 2;
        book(unit, duration);
        later = between(later, 0, duration - 1);
        vm.warp(START + later);
        uint256 end = START + duration;
        (Bookings.Unit memory same, bytes memory word) = offered(unit);
        vm.expectRevert(abi.encodeWithSelector(Bookings.UnitTaken.selector, id(0), leaves[unit], end));
        vm.prank(others);
        bookings.bookUnit(id(0), same, 1, uint96(ONE), uint64(block.timestamp + 1), word);
        vm.expectRevert(abi.encodeWithSelector(Bookings.NodeTaken.selector, id(0), end));
        vm.prank(others);
        bookings.bookNode(id(0), 1, type(uint256).max);
        // The other unit is nobody's.
        book(1 - unit, 1);
        vm.warp(end);
        vm.prank(others);
        bookings.bookNode(id(0), 5, type(uint256).max);
        (same, word) = offered(unit);
        vm.expectRevert(abi.encodeWithSelector(Bookings.NodeTaken.selector, id(0), end + 5));
        vm.prank(others);
        bookings.bookUnit(id(0), same, 1, uint96(ONE), uint64(block.timestamp + 1), word);
    }

    function testFuzz_AUnitCostsWhatItsOwnerSigned(uint96 price, uint96 other, uint256 bit) public {
        price = uint96(between(price, 1, 100 * ONE));
        vm.assume(other != price);
        (Bookings.Unit memory unit, ) = offered(0);
        uint64 until = uint64(block.timestamp + 1);
        bytes memory word = wordOn(0, price, until);
        vm.expectRevert(abi.encodeWithSelector(Bookings.NotTheOwnersWord.selector, owner));
        vm.prank(others);
        bookings.bookUnit(id(0), unit, 1 days, other, until, word);
        word[(bit / 8) % 65] ^= bytes1(uint8(1 << (bit % 8)));
        vm.expectRevert(abi.encodeWithSelector(Bookings.NotTheOwnersWord.selector, owner));
        vm.prank(others);
        bookings.bookUnit(id(0), unit, 1 days, price, until, word);
        word[(bit / 8) % 65] ^= bytes1(uint8(1 << (bit % 8)));
        vm.prank(others);
        require(bookings.booking(bookings.bookUnit(id(0), unit, 1 days, price, until, word)).fee == price, "another fee");
    }

    function book(uint256 n, uint40 duration) private {
        (Bookings.Unit memory unit, bytes memory word) = offered(n);
        vm.prank(others);
        bookings.bookUnit(id(0), unit, duration, uint96(ONE), uint64(block.timestamp + 1), word);
    }

    /// A unit with its proof, and the owner's word on one token a day, until the next second.
    function offered(uint256 n) private view returns (Bookings.Unit memory unit, bytes memory word) {
        bytes32[] memory siblings = new bytes32[](1);
        siblings[0] = leaves[1 - n];
        return (Bookings.Unit(texts[n], n, 2, siblings), wordOn(n, uint96(ONE), uint64(block.timestamp + 1)));
    }

    function wordOn(uint256 n, uint96 price, uint64 until) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(OWNER_KEY, bookings.unitOfferDigest(id(0), leaves[n], price, until));
        return abi.encodePacked(r, s, v);
    }
}
