// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {TpmQuote} from "./TpmQuote.sol";

/// The reference registry: takes a ScalerNode only with ICN's ten registration fields, its collateral, and a TPM
/// quote that was made for this chain, this registry, this operator, this node and these units.
///
/// One endorsement key is one node, for good: a retired node id cannot come back.  The contract cannot be replaced
/// or paused; its owner sets regions, classes and the collateral factors, and never touches a node or its collateral.
contract ScalerNodeRegistry is Ownable2Step {
    using SafeERC20 for IERC20;

    /// ICN's registration fields, in ICN's order.
    struct RegistrationParams {
        string regionId;
        string name;
        uint256 hpId;
        /// In the class's own measure: TiB, cores, GPUs.
        uint256 capacity;
        /// ICN's LocationCode: ISO 3166-1 countries ordered by English name, AFG = 0.
        uint8 location;
        uint256 reservationPrice;
        string hwClass;
        /// Fixed point, 1e18 = all.
        uint256 nodeRewardShare;
        /// In the token's smallest part.
        uint256 collateralAmount;
        /// Seconds.
        uint256 commitmentDuration;
    }

    /// What the machine's TPM and the appliance say about the node.
    struct Attestation {
        /// Uniqueness key of the TPM's endorsement key.
        bytes32 nodeId;
        /// The P-256 attestation key.
        bytes32 akX;
        bytes32 akY;
        /// SHA-256 of the statement that the quote signs.
        bytes32 statementDigest;
        /// Merkle root of the node's resource units.
        bytes32 unitRoot;
        /// SHA-256 of the evidence file; made after the quote, so the quote does not cover it.
        bytes32 evidenceDigest;
        /// Seconds.
        uint64 maxBookingDuration;
        /// TPMS_ATTEST as the TPM returned it.
        bytes quote;
        /// Its ECDSA signature; s in the lower half.
        bytes32 r;
        bytes32 s;
    }

    enum Status {
        None,
        Registered,
        Retired
    }

    struct Node {
        Status status;
        address operator;
        /// Unix seconds.
        uint64 registeredAt;
        uint64 committedUntil;
        uint64 maxBookingDuration;
        /// Of the evidence that was published last; shares a word with the two before it, which makes publishing cheap.
        uint64 publishedSequence;
        bytes32 akX;
        bytes32 akY;
        bytes32 statementDigest;
        bytes32 unitRoot;
        bytes32 evidenceDigest;
        RegistrationParams params;
    }

    struct HwClass {
        bool known;
        /// Per unit of capacity, in the token's smallest part and fixed point: times 1e18 (ICN's formula).
        uint256 collateralReq;
    }

    error InvalidName(uint256 actual, uint256 min, uint256 max);
    error InvalidRegion(string regionId);
    error InvalidHwClass(string regionId, string hwClass);
    error InvalidCapacity(uint256 given);
    error InvalidLocation(uint8 given, uint8 max);
    error InvalidNodeRewardShare(uint256 given, uint256 max);
    error InvalidCommitmentDuration(uint256 given, uint256 min, uint256 max);
    error InvalidMaxBookingDuration(uint256 given, uint256 max);
    error InvalidCollateralPercent(uint256 given);
    error NotEnoughCollateral(uint256 given, uint256 required);
    error NodeAlreadyRegistered(bytes32 nodeId, address operator);
    error AttestationKeyInUse(bytes32 nodeId);
    /// The quote's qualifying data is not the one of this chain, registry, operator, node and units.
    error QuoteForSomethingElse(bytes32 given, bytes32 expected);
    error SignatureNotLowS(bytes32 s);
    error QuoteSignatureInvalid();
    error UnknownNode(bytes32 nodeId);
    error AlreadyRetired(bytes32 nodeId);
    error NotTheOperator(address caller, address operator);
    error StillCommitted(uint256 time, uint256 until);
    error SequenceNotAbove(uint64 given, uint64 published);

    event RegionSet(string regionId, bool known);
    event HwClassSet(string regionId, string hwClass, bool known, uint256 collateralReq);
    event MarketAdjustmentFactorSet(uint256 factor);
    event MinCollateralPercentSet(uint256 percent);
    event NodeRegistered(
        bytes32 indexed nodeId,
        address indexed operator,
        uint256 indexed hpId,
        string regionId,
        string hwClass,
        uint256 capacity,
        uint256 collateralAmount,
        uint64 committedUntil,
        bytes32 unitRoot,
        bytes32 evidenceDigest
    );
    event EvidencePublished(
        bytes32 indexed nodeId, address indexed operator, uint64 sequence, bytes32 evidenceDigest
    );
    event NodeRetired(bytes32 indexed nodeId, address indexed operator, uint256 collateralAmount);

    uint256 public constant NAME_BYTES_MAX = 30;
    uint8 public constant LOCATION_MAX = 248;
    uint256 public constant REWARD_SHARE_MAX = 1e18;
    /// ICN's MIN_COMMITMENT_DURATION, and a bound that keeps the sum with a timestamp inside 64 bits.
    uint256 public constant COMMITMENT_MIN = 36 * 30 days;
    uint256 public constant COMMITMENT_MAX = 100 * 365 days;
    /// Domain of the qualifying data; the final zero byte belongs to it.
    bytes private constant QUOTE_DOMAIN = "scalerforge/quote/v1\x00";

    IERC20 public immutable token;
    /// Fixed point, 1e18 = 1.
    uint256 public marketAdjustmentFactor = 1e18;
    uint256 public minCollateralPercent = 30;

    mapping(string regionId => bool) private _regions;
    mapping(string regionId => mapping(string hwClass => HwClass)) private _classes;
    mapping(bytes32 nodeId => Node) private _nodes;
    mapping(bytes32 akKey => bytes32 nodeId) private _nodeOfAk;
    bytes32[] private _nodeIds;

    constructor(IERC20 token_) Ownable(msg.sender) {
        token = token_;
    }

    /// Registers a node and takes its collateral, or changes nothing and says what is wrong.
    function register(RegistrationParams calldata params, Attestation calldata attestation) external {
        _checkParams(params, attestation.maxBookingDuration);
        _checkKeys(attestation);
        _checkQuote(attestation);

        uint64 committedUntil = uint64(block.timestamp + params.commitmentDuration);
        _store(params, attestation, committedUntil);
        emit NodeRegistered(
            attestation.nodeId,
            msg.sender,
            params.hpId,
            params.regionId,
            params.hwClass,
            params.capacity,
            params.collateralAmount,
            committedUntil,
            attestation.unitRoot,
            attestation.evidenceDigest
        );
        token.safeTransferFrom(msg.sender, address(this), params.collateralAmount);
    }

    /// Says that evidence with this SHA-256 exists now: whoever holds the file knows that it is older than this block.
    /// Nothing in it is checked here.  Sequences only rise, so that of two published files it is plain which is newer.
    function publishEvidence(bytes32 nodeId, uint64 sequence, bytes32 evidenceDigest) external {
        Node storage n = _registeredBySender(nodeId);
        if (sequence <= n.publishedSequence) revert SequenceNotAbove(sequence, n.publishedSequence);
        n.publishedSequence = sequence;
        emit EvidencePublished(nodeId, msg.sender, sequence, evidenceDigest);
    }

    /// Ends a node after its commitment; the collateral goes back to the account that registered it.
    function retire(bytes32 nodeId) external {
        Node storage n = _registeredBySender(nodeId);
        if (block.timestamp < n.committedUntil) revert StillCommitted(block.timestamp, n.committedUntil);
        n.status = Status.Retired;
        emit NodeRetired(nodeId, msg.sender, n.params.collateralAmount);
        token.safeTransfer(msg.sender, n.params.collateralAmount);
    }

    function setRegion(string calldata regionId, bool known) external onlyOwner {
        _regions[regionId] = known;
        emit RegionSet(regionId, known);
    }

    function setHwClass(string calldata regionId, string calldata hwClass, bool known, uint256 collateralReq)
        external
        onlyOwner
    {
        if (!_regions[regionId]) revert InvalidRegion(regionId);
        _classes[regionId][hwClass] = HwClass(known, collateralReq);
        emit HwClassSet(regionId, hwClass, known, collateralReq);
    }

    function setMarketAdjustmentFactor(uint256 factor) external onlyOwner {
        marketAdjustmentFactor = factor;
        emit MarketAdjustmentFactorSet(factor);
    }

    function setMinCollateralPercent(uint256 percent) external onlyOwner {
        if (percent > 100) revert InvalidCollateralPercent(percent);
        minCollateralPercent = percent;
        emit MinCollateralPercentSet(percent);
    }

    function node(bytes32 nodeId) external view returns (Node memory) {
        return _nodes[nodeId];
    }

    function nodeCount() external view returns (uint256) {
        return _nodeIds.length;
    }

    /// Nodes in the order of their registration, retired ones included.
    function nodeAt(uint256 index) external view returns (bytes32 nodeId, Node memory record) {
        nodeId = _nodeIds[index];
        record = _nodes[nodeId];
    }

    /// Everything the collateral of a class depends on.  `known` is false where nothing can be registered.
    function terms(string calldata regionId, string calldata hwClass)
        external
        view
        returns (
            uint256 collateralReq,
            uint256 adjustmentFactor,
            uint256 collateralPercent,
            uint256 minCommitment,
            bool known
        )
    {
        HwClass storage c = _classes[regionId][hwClass];
        known = _regions[regionId] && c.known;
        return (c.collateralReq, marketAdjustmentFactor, minCollateralPercent, COMMITMENT_MIN, known);
    }

    /// The least collateral that `register` takes for `capacity`.
    function requiredCollateral(string calldata regionId, string calldata hwClass, uint256 capacity)
        public
        view
        returns (uint256)
    {
        return Math.ceilDiv(_scaledRequirement(regionId, hwClass, capacity), 1e18);
    }

    /// What a quote for this registration has to carry as its qualifying data.
    function expectedQualifyingData(address operator, bytes32 nodeId, bytes32 unitRoot, bytes32 statementDigest)
        public
        view
        returns (bytes32)
    {
        // The last word is kept for the evidence's own digest, which cannot be known when the quote is made.
        bytes32 anchor =
            sha256(abi.encodePacked(block.chainid, address(this), operator, nodeId, unitRoot, bytes32(0)));
        return sha256(abi.encodePacked(QUOTE_DOMAIN, anchor, statementDigest));
    }

    function _registeredBySender(bytes32 nodeId) private view returns (Node storage n) {
        n = _nodes[nodeId];
        if (n.status == Status.None) revert UnknownNode(nodeId);
        if (n.status == Status.Retired) revert AlreadyRetired(nodeId);
        if (n.operator != msg.sender) revert NotTheOperator(msg.sender, n.operator);
    }

    function _checkParams(RegistrationParams calldata p, uint64 maxBookingDuration) private view {
        uint256 nameBytes = bytes(p.name).length;
        if (nameBytes == 0 || nameBytes > NAME_BYTES_MAX) revert InvalidName(nameBytes, 1, NAME_BYTES_MAX);
        if (!_regions[p.regionId]) revert InvalidRegion(p.regionId);
        if (!_classes[p.regionId][p.hwClass].known) revert InvalidHwClass(p.regionId, p.hwClass);
        if (p.capacity == 0) revert InvalidCapacity(p.capacity);
        if (p.location > LOCATION_MAX) revert InvalidLocation(p.location, LOCATION_MAX);
        if (p.nodeRewardShare > REWARD_SHARE_MAX) revert InvalidNodeRewardShare(p.nodeRewardShare, REWARD_SHARE_MAX);
        if (p.commitmentDuration < COMMITMENT_MIN || p.commitmentDuration > COMMITMENT_MAX) {
            revert InvalidCommitmentDuration(p.commitmentDuration, COMMITMENT_MIN, COMMITMENT_MAX);
        }
        if (maxBookingDuration == 0 || maxBookingDuration > p.commitmentDuration) {
            revert InvalidMaxBookingDuration(maxBookingDuration, p.commitmentDuration);
        }
        uint256 required = requiredCollateral(p.regionId, p.hwClass, p.capacity);
        if (p.collateralAmount < required) revert NotEnoughCollateral(p.collateralAmount, required);
    }

    function _checkKeys(Attestation calldata a) private view {
        Node storage n = _nodes[a.nodeId];
        if (n.status != Status.None) revert NodeAlreadyRegistered(a.nodeId, n.operator);
        bytes32 akKey = keccak256(abi.encodePacked(a.akX, a.akY));
        if (_nodeOfAk[akKey] != 0) revert AttestationKeyInUse(_nodeOfAk[akKey]);
    }

    function _checkQuote(Attestation calldata a) private view {
        bytes32 given = TpmQuote.qualifyingData(a.quote);
        bytes32 expected = expectedQualifyingData(msg.sender, a.nodeId, a.unitRoot, a.statementDigest);
        if (given != expected) revert QuoteForSomethingElse(given, expected);
        // Both s and n - s verify; taking one only leaves one valid transaction per quote.
        if (uint256(a.s) > P256.N / 2) revert SignatureNotLowS(a.s);
        if (!P256.verify(sha256(a.quote), a.r, a.s, a.akX, a.akY)) revert QuoteSignatureInvalid();
    }

    function _store(RegistrationParams calldata params, Attestation calldata a, uint64 committedUntil) private {
        _nodes[a.nodeId] = Node({
            status: Status.Registered,
            operator: msg.sender,
            registeredAt: uint64(block.timestamp),
            committedUntil: committedUntil,
            maxBookingDuration: a.maxBookingDuration,
            publishedSequence: 0,
            akX: a.akX,
            akY: a.akY,
            statementDigest: a.statementDigest,
            unitRoot: a.unitRoot,
            evidenceDigest: a.evidenceDigest,
            params: params
        });
        _nodeOfAk[keccak256(abi.encodePacked(a.akX, a.akY))] = a.nodeId;
        _nodeIds.push(a.nodeId);
    }

    /// ICN's right-hand side.  Collateral c is enough when c * 1e18 >= this.
    function _scaledRequirement(string calldata regionId, string calldata hwClass, uint256 capacity)
        private
        view
        returns (uint256)
    {
        return _classes[regionId][hwClass].collateralReq * marketAdjustmentFactor * capacity * minCollateralPercent
            / (100 * 1e18);
    }
}
