// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Anomalies} from "./Anomalies.sol";
import {CollateralVault} from "./CollateralVault.sol";
import {ScalerNodes} from "./ScalerNodes.sol";
import {ScalerTerms} from "./ScalerTerms.sol";
import {UnitProof} from "./UnitProof.sol";

/// Bookings of whole nodes and of single units, from now on or behind a booking that runs.
///
/// The fee is fixed and paid when a booking is made, stays here, and becomes the node's reward as time passes; nothing is
/// earned while an anomaly is open.  A whole node costs what its registration said; a unit, and every extension, what
/// the node's owner signed.  No unit is booked twice: a unit is known by its leaf, which its Merkle proof shows, and a
/// whole node and one of its units exclude each other.
contract Bookings is EIP712 {
    using SafeERC20 for IERC20;

    struct Booking {
        bytes32 nodeId;
        /// Zero for the whole node.
        bytes32 leaf;
        address booker;
        /// Unix seconds.
        uint40 start;
        uint40 end;
        /// In the token's smallest part, for the whole time.
        uint96 fee;
        /// Of which the node has got.
        uint96 earned;
    }

    /// A unit and its way to the node's unit root.
    struct Unit {
        bytes text;
        uint256 index;
        uint256 count;
        bytes32[] siblings;
    }

    /// Until when a node is taken as a whole, and until when by any unit.
    struct Taken {
        uint40 whole;
        uint40 units;
    }

    error UnknownNode(bytes32 nodeId);
    error NotCovered(bytes32 nodeId);
    error NodeTaken(bytes32 nodeId, uint256 until);
    error UnitTaken(bytes32 nodeId, bytes32 leaf, uint256 until);
    error InvalidDuration(uint256 given, uint256 max);
    error BeyondCommitment(uint256 end, uint256 committedUntil);
    error PriceAboveMaximum(uint256 price, uint256 max);
    error FeeTooLarge(uint256 fee);
    error FeeAboveOffered(uint256 fee, uint256 max);
    error OfferExpired(uint256 time, uint256 validUntil);
    error NotTheOwnersWord(address owner);
    error UnknownBooking(uint256 id);
    error NotTheBooker(address caller, address booker);
    error NotTheLast(uint256 id, uint256 until);
    error AlreadyOver(uint256 time, uint256 end);
    error NodeHeld(bytes32 nodeId);
    error NotOverdue(bytes32 nodeId);

    event Booked(
        uint256 indexed id,
        bytes32 indexed nodeId,
        address indexed booker,
        bytes32 leaf,
        uint256 start,
        uint256 end,
        uint256 fee,
        uint256 margin
    );
    event Earned(uint256 indexed id, uint256 amount);
    event Cancelled(uint256 indexed id, uint256 refund);

    bytes32 private constant UNIT_TYPEHASH =
        keccak256("UnitOffer(bytes32 nodeId,bytes32 leaf,uint96 pricePerDay,uint64 validUntil)");
    bytes32 private constant EXTENSION_TYPEHASH =
        keccak256("Extension(uint256 bookingId,uint40 end,uint96 pricePerDay,uint64 validUntil)");

    IERC20 public immutable token;
    ScalerTerms public immutable terms;
    ScalerNodes public immutable registry;
    CollateralVault public immutable vault;
    Anomalies public immutable anomalies;

    uint256 public bookingCount;
    mapping(uint256 id => Booking) private _bookings;
    mapping(bytes32 nodeId => Taken) private _taken;
    mapping(bytes32 nodeId => mapping(bytes32 leaf => uint40)) private _unitTakenUntil;

    constructor(IERC20 token_, ScalerTerms terms_, ScalerNodes registry_, CollateralVault vault_, Anomalies anomalies_)
        EIP712("Scalerforge bookings", "1")
    {
        token = token_;
        terms = terms_;
        registry = registry_;
        vault = vault_;
        anomalies = anomalies_;
    }

    /// Books a whole node from now on, at the price of its registration, for at most `feeMax` with the margin.
    function bookNode(bytes32 nodeId, uint40 duration, uint256 feeMax) external returns (uint256 id) {
        ScalerNodes.Node memory n = _bookable(nodeId);
        Taken storage t = _taken[nodeId];
        uint40 until = t.whole > t.units ? t.whole : t.units;
        if (until > block.timestamp) revert NodeTaken(nodeId, until);
        uint256 pricePerDay = _checkedPrice(n, uint256(n.reservationPrice) * n.capacity);
        uint40 end = _end(n, block.timestamp, duration);
        t.whole = end;
        return _book(nodeId, 0, uint40(block.timestamp), end, pricePerDay, feeMax);
    }

    /// Books one unit from now on, at a price that the node's owner signed for it.
    function bookUnit(
        bytes32 nodeId,
        Unit calldata unit,
        uint40 duration,
        uint96 pricePerDay,
        uint64 validUntil,
        bytes calldata ownersSignature
    ) external returns (uint256 id) {
        ScalerNodes.Node memory n = _bookable(nodeId);
        bytes32 leaf = UnitProof.leafUnder(n.unitRoot, unit.text, unit.index, unit.count, unit.siblings);
        bytes32 offer = keccak256(abi.encode(UNIT_TYPEHASH, nodeId, leaf, pricePerDay, validUntil));
        _demandWord(n.owner, offer, validUntil, ownersSignature);
        Taken storage t = _taken[nodeId];
        if (t.whole > block.timestamp) revert NodeTaken(nodeId, t.whole);
        uint40 until = _unitTakenUntil[nodeId][leaf];
        if (until > block.timestamp) revert UnitTaken(nodeId, leaf, until);
        uint40 end = _end(n, block.timestamp, duration);
        _unitTakenUntil[nodeId][leaf] = end;
        if (end > t.units) t.units = end;
        return _book(nodeId, leaf, uint40(block.timestamp), end, pricePerDay, type(uint256).max);
    }

    /// Lengthens a booking that runs, by one behind it, at a price that the node's owner signed for this.
    function extend(
        uint256 id,
        uint40 end,
        uint96 pricePerDay,
        uint64 validUntil,
        bytes calldata ownersSignature
    ) external returns (uint256 next) {
        Booking memory b = _bookings[id];
        if (b.booker != msg.sender) revert NotTheBooker(msg.sender, b.booker);
        if (b.end <= block.timestamp) revert AlreadyOver(block.timestamp, b.end);
        ScalerNodes.Node memory n = _bookable(b.nodeId);
        bytes32 consent = keccak256(abi.encode(EXTENSION_TYPEHASH, id, end, pricePerDay, validUntil));
        _demandWord(n.owner, consent, validUntil, ownersSignature);
        if (_end(n, b.end, end > b.end ? end - b.end : 0) != end) revert InvalidDuration(0, n.maxBookingDuration);
        Taken storage t = _taken[b.nodeId];
        uint40 until = b.leaf == 0 ? t.whole : _unitTakenUntil[b.nodeId][b.leaf];
        if (until != b.end) revert NotTheLast(id, until);
        if (b.leaf == 0) {
            t.whole = end;
        } else {
            _unitTakenUntil[b.nodeId][b.leaf] = end;
            if (end > t.units) t.units = end;
        }
        return _book(b.nodeId, b.leaf, b.end, end, pricePerDay, type(uint256).max);
    }

    /// Hands the node what a booking has earned until now.  Anybody may.
    function settle(uint256 id) external {
        Booking storage b = _bookings[id];
        if (b.booker == address(0)) revert UnknownBooking(id);
        if (vault.isHeld(b.nodeId)) revert NodeHeld(b.nodeId);
        uint256 due = _earnedBy(b, block.timestamp) - b.earned;
        b.earned += uint96(due);
        emit Earned(id, due);
        token.safeTransfer(address(vault), due);
        vault.credit(b.nodeId, due);
    }

    /// Ends a booking whose node was not restored in time; what the node has not got goes back to the booker.
    function cancel(uint256 id) external {
        Booking storage b = _bookings[id];
        if (b.booker != msg.sender) revert NotTheBooker(msg.sender, b.booker);
        if (b.end <= block.timestamp) revert AlreadyOver(block.timestamp, b.end);
        if (!anomalies.isOverdue(b.nodeId)) revert NotOverdue(b.nodeId);
        uint40 ends = b.start > block.timestamp ? b.start : uint40(block.timestamp);
        _free(b, ends);
        uint256 refund = b.fee - b.earned;
        (b.end, b.fee) = (ends, b.earned);
        emit Cancelled(id, refund);
        token.safeTransfer(b.booker, refund);
    }

    function booking(uint256 id) external view returns (Booking memory) {
        return _bookings[id];
    }

    function taken(bytes32 nodeId) external view returns (Taken memory) {
        return _taken[nodeId];
    }

    function unitTakenUntil(bytes32 nodeId, bytes32 leaf) external view returns (uint40) {
        return _unitTakenUntil[nodeId][leaf];
    }

    /// The leaf of a unit of a node, if the proof shows it.
    function unitLeaf(bytes32 nodeId, Unit calldata unit) external view returns (bytes32) {
        bytes32 root = registry.unitRootOf(nodeId);
        return UnitProof.leafUnder(root, unit.text, unit.index, unit.count, unit.siblings);
    }

    /// What the owner signs to offer a unit.
    function unitOfferDigest(bytes32 nodeId, bytes32 leaf, uint96 pricePerDay, uint64 validUntil)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(UNIT_TYPEHASH, nodeId, leaf, pricePerDay, validUntil)));
    }

    /// What the owner signs to consent to an extension.
    function extensionDigest(uint256 bookingId, uint40 end, uint96 pricePerDay, uint64 validUntil)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(EXTENSION_TYPEHASH, bookingId, end, pricePerDay, validUntil)));
    }

    function _bookable(bytes32 nodeId) private view returns (ScalerNodes.Node memory n) {
        n = registry.node(nodeId);
        if (n.status != ScalerNodes.Status.Registered) revert UnknownNode(nodeId);
        if (!vault.isCovered(nodeId)) revert NotCovered(nodeId);
    }

    function _checkedPrice(ScalerNodes.Node memory n, uint256 pricePerDay) private view returns (uint256) {
        uint256 most = uint256(terms.class(n.classId).priceMax) * n.capacity;
        if (pricePerDay > most) revert PriceAboveMaximum(pricePerDay, most);
        return pricePerDay;
    }

    function _end(ScalerNodes.Node memory n, uint256 start, uint40 duration) private pure returns (uint40) {
        if (duration == 0 || duration > n.maxBookingDuration) revert InvalidDuration(duration, n.maxBookingDuration);
        uint256 end = start + duration;
        if (end > n.committedUntil) revert BeyondCommitment(end, n.committedUntil);
        return uint40(end);
    }

    function _demandWord(address owner, bytes32 structHash, uint64 validUntil, bytes calldata signature) private view {
        if (block.timestamp > validUntil) revert OfferExpired(block.timestamp, validUntil);
        bytes32 digest = _hashTypedDataV4(structHash);
        if (!SignatureChecker.isValidSignatureNow(owner, digest, signature)) revert NotTheOwnersWord(owner);
    }

    function _book(bytes32 nodeId, bytes32 leaf, uint40 start, uint40 end, uint256 pricePerDay, uint256 feeMax)
        private
        returns (uint256 id)
    {
        uint256 fee = Math.ceilDiv(pricePerDay * (end - start), 1 days);
        if (fee > type(uint96).max) revert FeeTooLarge(fee);
        uint256 margin = Math.ceilDiv(fee * terms.marginBps(), 10_000);
        if (fee + margin > feeMax) revert FeeAboveOffered(fee + margin, feeMax);
        id = ++bookingCount;
        _bookings[id] = Booking(nodeId, leaf, msg.sender, start, end, uint96(fee), 0);
        emit Booked(id, nodeId, msg.sender, leaf, start, end, fee, margin);
        token.safeTransferFrom(msg.sender, address(this), fee);
        token.safeTransferFrom(msg.sender, terms.treasury(), margin);
    }

    /// What the node has earned of a booking by `time`, rounded down.
    function _earnedBy(Booking storage b, uint256 time) private view returns (uint256) {
        if (time >= b.end) return b.fee;
        if (time <= b.start) return b.earned;
        // A cancelled booking's fee is what was earned: never less than that.
        return Math.max(uint256(b.fee) * (time - b.start) / (b.end - b.start), b.earned);
    }

    /// Frees the place of a booking from `from` on, unless another booking stands behind it.
    function _free(Booking storage b, uint40 from) private {
        if (b.leaf == 0) {
            if (_taken[b.nodeId].whole == b.end) _taken[b.nodeId].whole = from;
        } else if (_unitTakenUntil[b.nodeId][b.leaf] == b.end) {
            _unitTakenUntil[b.nodeId][b.leaf] = from;
        }
    }
}
