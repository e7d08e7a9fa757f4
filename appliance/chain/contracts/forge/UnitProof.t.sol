// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {UnitProof} from "../src/UnitProof.sol";

import {Forge} from "./Vm.sol";

contract Follower {
    function follow(bytes32 root, bytes calldata unit, uint256 index, uint256 count, bytes32[] calldata siblings)
        external
        view
        returns (bytes32)
    {
        return UnitProof.leafUnder(root, unit, index, count, siblings);
    }
}

/// Trees that are made here by levels, and proofs read off them: nothing of the library is used to make one.
contract UnitProofTest is Forge {
    Follower private follower = new Follower();

    uint256 private constant MOST = 70;

    function testFuzz_EveryUnitOfEverySizeIsShown(uint256 count, uint256 index, uint256 salt) public view {
        (count, index) = sized(count, index);
        (bytes32 root, bytes32[] memory siblings) = tree(count, index, salt);
        bytes32 leaf = follower.follow(root, text(index, salt), index, count, siblings);
        require(leaf == sha256(abi.encodePacked(hex"00", text(index, salt))), "another leaf");
    }

    function testFuzz_NothingElseIsShown(uint256 count, uint256 index, uint256 salt, uint256 what, uint256 bit) public {
        (count, index) = sized(count, index);
        (bytes32 root, bytes32[] memory siblings) = tree(count, index, salt);
        bytes memory unit = text(index, salt);
        what = what % 4;
        if (what == 1 && siblings.length == 0) what = 0;
        if (what == 0) unit[(bit / 8) % unit.length] ^= bytes1(uint8(1 << (bit % 8)));
        if (what == 1) siblings[bit % siblings.length] ^= bytes32(1 << (bit % 256));
        if (what == 2) root ^= bytes32(1 << (bit % 256));
        if (what == 3) {
            // One too many, or the last one gone.
            uint256 length = bit % 2 == 0 || siblings.length == 0 ? siblings.length + 1 : siblings.length - 1;
            bytes32[] memory other = new bytes32[](length);
            for (uint256 i = 0; i < length && i < siblings.length; ++i) other[i] = siblings[i];
            siblings = other;
            vm.expectPartialRevert(UnitProof.UnitProofShape.selector);
        } else {
            vm.expectPartialRevert(UnitProof.UnitNotUnderRoot.selector);
        }
        follower.follow(root, unit, index, count, siblings);
    }

    /// Its place and the size of the tree say the way: another way leads elsewhere, or is none.
    function testFuzz_AnotherPlaceIsRefused(uint256 count, uint256 index, uint256 other, uint256 salt) public {
        (count, index) = sized(count, index);
        vm.assume(count > 1);
        (bytes32 root, bytes32[] memory siblings) = tree(count, index, salt);
        other = between(other, 0, count + 1);
        vm.assume(other != index);
        vm.expectRevert();
        follower.follow(root, text(index, salt), other, count, siblings);
    }

    /// A node of the tree is 0x01 and two hashes; whoever passes these as a unit's text gets another leaf.
    function testFuzz_ANodeOfTheTreeIsNoUnit(uint256 salt) public {
        (bytes32 root, bytes32[] memory siblings) = tree(4, 0, salt);
        bytes32 left = sha256(abi.encodePacked(hex"00", text(0, salt)));
        bytes32[] memory above = new bytes32[](1);
        above[0] = siblings[1];
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory node = i == 0 ? abi.encodePacked(hex"01", left, siblings[0]) : abi.encodePacked(left, siblings[0]);
            vm.expectPartialRevert(UnitProof.UnitNotUnderRoot.selector);
            follower.follow(root, node, 0, 2, above);
        }
    }

    function sized(uint256 count, uint256 index) private pure returns (uint256, uint256) {
        count = between(count, 1, MOST);
        return (count, between(index, 0, count - 1));
    }

    function text(uint256 index, uint256 salt) private pure returns (bytes memory) {
        return abi.encodePacked('{"id":"', bytes32(salt), uint16(index), '"}');
    }

    function tree(uint256 count, uint256 index, uint256 salt)
        private
        pure
        returns (bytes32 root, bytes32[] memory siblings)
    {
        bytes32[] memory level = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) level[i] = sha256(abi.encodePacked(hex"00", text(i, salt)));
        bytes32[] memory found = new bytes32[](8);
        uint256 used;
        while (level.length > 1) {
            uint256 beside = index % 2 == 0 ? index + 1 : index - 1;
            if (beside < level.length) found[used++] = level[beside];
            bytes32[] memory next = new bytes32[]((level.length + 1) / 2);
            for (uint256 i = 0; i < next.length; ++i) {
                bool alone = 2 * i + 1 == level.length;
                next[i] = alone ? level[2 * i] : sha256(abi.encodePacked(hex"01", level[2 * i], level[2 * i + 1]));
            }
            (level, index) = (next, index / 2);
        }
        siblings = new bytes32[](used);
        for (uint256 i = 0; i < used; ++i) siblings[i] = found[i];
        return (level[0], siblings);
    }
}
