// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// What a network asks of its nodes: regions and classes with their rates, attestors, HyperNodes.
///
/// The only contract that has an owner.  The owner sets terms for what comes; it holds no token, and nothing in here
/// moves a node or its collateral.  What a node was registered on stays with the node.
contract ScalerTerms is Ownable2Step {
    using SafeCast for uint256;

    /// A hardware class in a region.
    struct Class {
        /// Node part for one unit of capacity, in the token's smallest part and fixed point: times 1e18 (ICN's formula).
        uint192 collateralReq;
        /// Of the nodes that are registered, in the class's own measure.
        uint64 totalCapacity;
        /// The network part is shared by at least this capacity, so that the first node does not carry all of it.
        uint64 baselineCapacity;
        /// What the class as a whole puts up as network part: share of the circulating supply, 1e18 = all.
        uint64 networkShare;
        /// PCR n is bit n; 0-7, 11 and 12 are always wanted.
        uint24 requiredPcrs;
        /// Different attestors that have to vouch for the attestation key.
        uint8 attestorsNeeded;
        /// Seconds in which an anomaly costs nothing.
        uint32 restoreWindow;
        /// Then every so many seconds the collateral loses `slashBps`, up to `slashBpsMax` in one case.
        uint32 slashPeriod;
        uint16 slashBps;
        uint16 slashBpsMax;
        /// Attestors that count: the one at place n is bit n.
        uint128 attestorMask;
        /// The most that a booking may cost for one unit of capacity and day, in the token's smallest part.
        uint96 priceMax;
        bool known;
    }

    /// What a registration has to fulfil.
    struct Admission {
        uint32 classId;
        uint24 requiredPcrs;
        /// In millionths of a token, as `networkPart`.
        uint64 nodePart;
        uint64 networkPart;
    }

    error InvalidRegion(string regionId);
    error InvalidHwClass(string regionId, string hwClass);
    error InvalidClassTerms(string what);
    error InvalidCollateralPercent(uint256 given);
    error CirculatingAboveSupply(uint256 given, uint256 supply);
    error NotEnoughAttestors(uint256 counted, uint256 needed);
    error NotAnAttestor(address signer);
    error AttestorCountedTwice(address signer);
    error NotTheRegistry(address caller);

    event RegionSet(string regionId, bool known);
    event ClassSet(uint32 indexed classId, string regionId, string hwClass, Class terms);
    event AttestorSet(address indexed attestor, uint8 place, bool known);
    event HyperNodeSet(address indexed hyperNode, bool known);
    event FactorsSet(uint128 marketAdjustmentFactor, uint120 circulatingSupply, uint8 minCollateralPercent);
    event PassportTermsSet(uint96 value, uint32 decay);
    event FeesSet(address treasury, uint16 marginBps, uint8 reportsNeeded);

    uint256 private constant ONE = 1e18;
    /// A millionth of a token: collateral is asked for in whole ones of these, so that a node's fits into one word.
    uint256 private constant MICROTOKEN = 1e12;
    /// ICN's default margin on top of the booking price.
    uint16 private constant MARGIN_BPS = 2500;

    IERC20 public immutable token;
    address public immutable registry;

    /// Fixed point, 1e18 = 1; with the two that follow in one word, because every registration reads them.
    uint128 public marketAdjustmentFactor = 1e18;
    uint120 public circulatingSupply;
    uint8 public minCollateralPercent = 30;

    address public treasury;
    /// On top of a booking's fee, in 1/10 000.
    uint16 public marginBps = MARGIN_BPS;
    /// Different HyperNodes that it takes to open an anomaly, and to close one.
    uint8 public reportsNeeded = 1;

    /// What a passport counts for when it is first staked, and the seconds in which that falls to nothing.
    uint96 public passportValue;
    uint32 public passportDecay = 48 * 30 days;

    mapping(address => bool) public isHyperNode;
    mapping(bytes32 regionKey => bool) private _regions;
    mapping(bytes32 classKey => uint32) private _classIds;
    mapping(uint32 classId => Class) private _classes;
    /// Place plus one.
    mapping(address attestor => uint8) private _attestors;
    uint32 public classCount;

    constructor(address owner_, IERC20 token_, address registry_, address treasury_) Ownable(owner_) {
        token = token_;
        registry = registry_;
        treasury = treasury_;
    }

    modifier onlyRegistry() {
        if (msg.sender != registry) revert NotTheRegistry(msg.sender);
        _;
    }

    /// Takes a node of `capacity` into a class, if attestors enough vouch for it.
    function admit(string calldata regionId, string calldata hwClass, uint40 capacity, address[] calldata signers)
        external
        onlyRegistry
        returns (Admission memory admission)
    {
        uint32 id = classIdOf(regionId, hwClass);
        Class storage c = _classes[id];
        if (!c.known || !_regions[keccak256(bytes(regionId))]) revert InvalidHwClass(regionId, hwClass);
        uint64 total = c.totalCapacity + capacity;
        c.totalCapacity = total;
        uint256 needed = c.attestorsNeeded;
        if (needed > 0) _count(signers, c.attestorMask, needed);
        (uint256 nodePart, uint256 networkPart) = _parts(c, capacity, total);
        return Admission(id, c.requiredPcrs, nodePart.toUint64(), networkPart.toUint64());
    }

    /// A node of `capacity` has left its class.
    function remove(uint32 id, uint40 capacity) external onlyRegistry {
        _classes[id].totalCapacity -= capacity;
    }

    function setRegion(string calldata regionId, bool known) external onlyOwner {
        _regions[keccak256(bytes(regionId))] = known;
        emit RegionSet(regionId, known);
    }

    /// Sets a class's terms; its capacity so far stays what it is.
    function setClass(string calldata regionId, string calldata hwClass, Class calldata terms) external onlyOwner {
        if (!_regions[keccak256(bytes(regionId))]) revert InvalidRegion(regionId);
        if (terms.networkShare > ONE) revert InvalidClassTerms("networkShare");
        if (terms.slashPeriod == 0) revert InvalidClassTerms("slashPeriod");
        if (terms.slashBpsMax > 10_000 || terms.slashBps > terms.slashBpsMax) revert InvalidClassTerms("slashBps");
        if (_bits(terms.attestorMask) < terms.attestorsNeeded) revert InvalidClassTerms("attestorsNeeded");
        bytes32 key = _classKey(regionId, hwClass);
        uint32 id = _classIds[key];
        if (id == 0) {
            id = ++classCount;
            _classIds[key] = id;
        }
        uint64 total = _classes[id].totalCapacity;
        _classes[id] = terms;
        _classes[id].totalCapacity = total;
        emit ClassSet(id, regionId, hwClass, terms);
    }

    function setAttestor(address attestor, uint8 place, bool known) external onlyOwner {
        if (place > 127) revert InvalidClassTerms("place");
        _attestors[attestor] = known ? place + 1 : 0;
        emit AttestorSet(attestor, place, known);
    }

    function setHyperNode(address hyperNode, bool known) external onlyOwner {
        isHyperNode[hyperNode] = known;
        emit HyperNodeSet(hyperNode, known);
    }

    function setFactors(uint128 factor, uint120 circulating, uint8 percent) external onlyOwner {
        if (percent > 100) revert InvalidCollateralPercent(percent);
        uint256 supply = token.totalSupply();
        if (circulating > supply) revert CirculatingAboveSupply(circulating, supply);
        (marketAdjustmentFactor, circulatingSupply, minCollateralPercent) = (factor, circulating, percent);
        emit FactorsSet(factor, circulating, percent);
    }

    function setPassportTerms(uint96 value, uint32 decay) external onlyOwner {
        if (decay == 0) revert InvalidClassTerms("decay");
        (passportValue, passportDecay) = (value, decay);
        emit PassportTermsSet(value, decay);
    }

    function setFees(address treasury_, uint16 marginBps_, uint8 reportsNeeded_) external onlyOwner {
        if (treasury_ == address(0)) revert InvalidClassTerms("treasury");
        if (marginBps_ > 10_000) revert InvalidClassTerms("marginBps");
        if (reportsNeeded_ == 0) revert InvalidClassTerms("reportsNeeded");
        (treasury, marginBps, reportsNeeded) = (treasury_, marginBps_, reportsNeeded_);
        emit FeesSet(treasury_, marginBps_, reportsNeeded_);
    }

    function classIdOf(string calldata regionId, string calldata hwClass) public view returns (uint32 id) {
        id = _classIds[_classKey(regionId, hwClass)];
        if (id != 0) return id;
        if (!_regions[keccak256(bytes(regionId))]) revert InvalidRegion(regionId);
        revert InvalidHwClass(regionId, hwClass);
    }

    function class(uint32 id) external view returns (Class memory) {
        return _classes[id];
    }

    /// What a registration of `capacity` would have to put up now, in the token's smallest part: the node part is the
    /// owner's own, the network part may be delegated.
    function requirement(string calldata regionId, string calldata hwClass, uint40 capacity)
        external
        view
        returns (uint256 nodePart, uint256 networkPart)
    {
        Class storage c = _classes[classIdOf(regionId, hwClass)];
        (nodePart, networkPart) = _parts(c, capacity, uint256(c.totalCapacity) + capacity);
        return (nodePart * MICROTOKEN, networkPart * MICROTOKEN);
    }

    /// ICN's formula for the node part; for the network part the class's share of the circulating supply, divided by
    /// capacity.  Multiplied from the left, divided as written, rounded up at the end to whole millionths of a token.
    function _parts(Class storage c, uint256 capacity, uint256 total)
        private
        view
        returns (uint256 nodePart, uint256 networkPart)
    {
        uint256 scaled =
            uint256(c.collateralReq) * marketAdjustmentFactor * capacity * minCollateralPercent / (100 * ONE);
        nodePart = Math.ceilDiv(scaled, ONE * MICROTOKEN);
        uint256 among = Math.max(c.baselineCapacity, total);
        if (among > 0) {
            networkPart = Math.ceilDiv(uint256(circulatingSupply) * c.networkShare * capacity, ONE * MICROTOKEN * among);
        }
    }

    function _count(address[] calldata signers, uint128 mask, uint256 needed) private view {
        if (signers.length < needed) revert NotEnoughAttestors(signers.length, needed);
        uint256 seen;
        for (uint256 i = 0; i < signers.length; ++i) {
            uint256 place = _attestors[signers[i]];
            if (place == 0) revert NotAnAttestor(signers[i]);
            uint256 bit = 1 << (place - 1);
            if (bit & mask == 0) revert NotAnAttestor(signers[i]);
            if (bit & seen != 0) revert AttestorCountedTwice(signers[i]);
            seen |= bit;
        }
    }

    function _classKey(string calldata regionId, string calldata hwClass) private pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(regionId)), keccak256(bytes(hwClass))));
    }

    function _bits(uint256 mask) private pure returns (uint256 bits) {
        for (; mask != 0; mask &= mask - 1) ++bits;
    }
}
