// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Follows one unit's way up to the root over a node's units.
///
/// Leaf = SHA-256(0x00 ‖ the unit's JSON text), node = SHA-256(0x01 ‖ left ‖ right), an odd last one goes up unchanged.
/// The leaf is always made here, from the text: whoever could hand in a hash could hand in a node of the tree and pass
/// it for a unit.  `index` and `count` say the way and name nothing, so a unit is marked by its leaf.
library UnitProof {
    error UnitNotUnderRoot(bytes32 leads, bytes32 root);
    error UnitProofShape(uint256 index, uint256 count, uint256 siblings);

    /// As verifiers of evidence have it.
    uint256 internal constant UNITS_MAX = 65_536;

    /// The unit's leaf, if the proof leads to `root`.
    function leafUnder(
        bytes32 root,
        bytes calldata unit,
        uint256 index,
        uint256 count,
        bytes32[] calldata siblings
    ) internal view returns (bytes32 leaf) {
        leaf = sha256(abi.encodePacked(bytes1(0x00), unit));
        if (index >= count || count > UNITS_MAX) revert UnitProofShape(index, count, siblings.length);
        bytes32 node = leaf;
        uint256 used;
        // Nothing below overflows: the numbers are small and only halved and counted.
        unchecked {
            (uint256 place, uint256 wide) = (index, count);
            while (wide > 1) {
                // The last of an odd number has nobody beside it.
                if (place ^ 1 < wide) {
                    if (used == siblings.length) revert UnitProofShape(index, count, used);
                    bytes32 sibling = siblings[used++];
                    node = place & 1 == 0 ? _join(node, sibling) : _join(sibling, node);
                }
                (place, wide) = (place >> 1, (wide + 1) >> 1);
            }
        }
        if (used != siblings.length) revert UnitProofShape(index, count, siblings.length);
        if (node != root) revert UnitNotUnderRoot(node, root);
    }

    /// SHA-256(0x01 ‖ left ‖ right) by the precompile at 2, without new memory for every level.
    function _join(bytes32 left, bytes32 right) private view returns (bytes32 node) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 1)
            mstore(add(free, 1), left)
            mstore(add(free, 33), right)
            if iszero(staticcall(gas(), 2, free, 65, 0, 32)) { revert(0, 0) }
            node := mload(0)
        }
    }
}
