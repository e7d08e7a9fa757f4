// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Accounts} from "./Accounts.sol";
import {AttestorBindings} from "./AttestorBindings.sol";
import {CollateralVault} from "./CollateralVault.sol";
import {QuoteCheck} from "./QuoteCheck.sol";
import {ScalerTerms} from "./ScalerTerms.sol";

/// The registry of ScalerNodes: takes one only with ICN's ten registration fields, its collateral, attestors enough,
/// and a TPM quote that was made for this chain, this registry, this operator, this node and these units.
///
/// One endorsement key is one node, for good: a retired node id cannot come back.  What later calls need is stored,
/// four words a node; the rest is in the events.  Nobody administers this contract, and it holds no token.
contract ScalerNodes is AttestorBindings {
    /// ICN's registration fields, in ICN's order.
    struct Registration {
        string regionId;
        string name;
        uint256 hpId;
        /// In the class's own measure: TiB, cores, GPUs.
        uint256 capacity;
        /// ICN's LocationCode: ISO 3166-1 countries ordered by English name, AFG = 0.
        uint8 location;
        /// For one unit of capacity and one day of booking, in the token's smallest part.
        uint256 reservationPrice;
        string hwClass;
        /// Fixed point, 1e18 = all.
        uint256 nodeRewardShare;
        /// In the token's smallest part.
        uint256 collateralAmount;
        /// Seconds.
        uint256 commitmentDuration;
    }

    /// What the machine's TPM, the appliance and attestors say about the node.
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
        Binding[] bindings;
    }

    enum Status {
        None,
        Registered,
        Retired
    }

    /// What is kept of a node.  Three words, and one for its attestation key.
    struct Node {
        address owner;
        /// Unix seconds.
        uint40 registeredAt;
        uint40 committedUntil;
        Status status;
        uint8 location;
        uint40 capacity;
        uint32 maxBookingDuration;
        /// Of the evidence that was published last.
        uint48 publishedSequence;
        uint96 reservationPrice;
        uint32 classId;
        bytes32 unitRoot;
    }

    error InvalidName(uint256 actual, uint256 min, uint256 max);
    error InvalidCapacity(uint256 given);
    error InvalidLocation(uint8 given, uint8 max);
    error InvalidReservationPrice(uint256 given, uint256 max);
    error InvalidNodeRewardShare(uint256 given, uint256 max);
    error InvalidCollateralAmount(uint256 given, uint256 max);
    error InvalidCommitmentDuration(uint256 given, uint256 min, uint256 max);
    error InvalidMaxBookingDuration(uint256 given, uint256 max);
    error TooManyScalerNodes(uint256 given, uint256 max);
    error NodeAlreadyRegistered(bytes32 nodeId, address owner);
    error AttestationKeyInUse(bytes32 nodeId);
    error UnknownNode(bytes32 nodeId);
    error AlreadyRetired(bytes32 nodeId);
    error NotTheOperator(address caller, address owner);
    error StillCommitted(uint256 time, uint256 until);
    error SequenceNotAbove(uint48 given, uint48 published);

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
    /// The rest of a registration, beside `NodeRegistered`.
    event NodeDetails(
        bytes32 indexed nodeId,
        address indexed owner,
        string name,
        uint8 location,
        uint256 reservationPrice,
        uint256 nodeRewardShare,
        uint64 maxBookingDuration,
        bytes32 akX,
        bytes32 akY,
        bytes32 statementDigest
    );
    event EvidencePublished(bytes32 indexed nodeId, address indexed operator, uint64 sequence, bytes32 evidenceDigest);
    event NodeRetired(bytes32 indexed nodeId, address indexed operator);

    uint256 public constant NAME_BYTES_MAX = 30;
    uint8 public constant LOCATION_MAX = 248;
    uint256 public constant REWARD_SHARE_MAX = 1e18;
    /// ICN's MIN_COMMITMENT_DURATION; its maximum keeps the sum with a timestamp inside 40 bits.
    uint256 public constant COMMITMENT_MIN = 36 * 30 days;
    uint256 public constant COMMITMENT_MAX = 100 * 365 days;
    /// A transaction has 16,777,216 gas; this many fit four times.
    uint256 public constant BATCH_MAX = 25;
    /// Domain of the qualifying data; the final zero byte belongs to it.
    bytes private constant QUOTE_DOMAIN = "scalerforge/quote/v1\x00";

    ScalerTerms public immutable terms;
    CollateralVault public immutable vault;

    mapping(bytes32 nodeId => Node) private _nodes;
    /// By keccak256 of the key's point.
    mapping(bytes32 akKey => bytes32 nodeId) private _nodeOfAk;

    constructor(ScalerTerms terms_, CollateralVault vault_) {
        terms = terms_;
        vault = vault_;
    }

    /// Registers a node for `owner` and locks its collateral, or changes nothing and says what is wrong.  The sender is
    /// the owner, or one of its operators; the quote names the sender.
    function register(
        address owner,
        Registration calldata params,
        Attestation calldata attestation,
        Accounts.Payment calldata payment,
        uint256[] calldata passport
    ) external {
        _register(owner, params, attestation, payment, passport);
    }

    /// Registers several nodes out of the owner's deposit: all of them or none.
    function registerBatch(
        address owner,
        Registration[] calldata params,
        Attestation[] calldata attestations,
        Accounts.Payment calldata payment
    ) external {
        if (params.length > BATCH_MAX || params.length != attestations.length) {
            revert TooManyScalerNodes(params.length, BATCH_MAX);
        }
        uint256[] calldata none;
        assembly ("memory-safe") {
            none.offset := 0
            none.length := 0
        }
        for (uint256 i = 0; i < params.length; ++i) {
            _register(owner, params[i], attestations[i], payment, none);
        }
    }

    /// Says that evidence with this SHA-256 exists now: whoever holds the file knows that it is older than this block.
    /// Nothing in it is checked here.  Sequences only rise, so that of two published files it is plain which is newer.
    function publishEvidence(bytes32 nodeId, uint48 sequence, bytes32 evidenceDigest) external {
        Node storage n = _registeredForSender(nodeId);
        if (sequence <= n.publishedSequence) revert SequenceNotAbove(sequence, n.publishedSequence);
        n.publishedSequence = sequence;
        emit EvidencePublished(nodeId, msg.sender, sequence, evidenceDigest);
    }

    /// Ends a node after its commitment; the collateral goes back to its owner's deposit.
    function retire(bytes32 nodeId) external {
        Node storage n = _registeredForSender(nodeId);
        if (block.timestamp < n.committedUntil) revert StillCommitted(block.timestamp, n.committedUntil);
        n.status = Status.Retired;
        emit NodeRetired(nodeId, msg.sender);
        terms.remove(n.classId, n.capacity);
        vault.release(nodeId, n.owner, msg.sender);
    }

    function node(bytes32 nodeId) external view returns (Node memory) {
        return _nodes[nodeId];
    }

    function unitRootOf(bytes32 nodeId) external view returns (bytes32) {
        return _nodes[nodeId].unitRoot;
    }

    function ownerOf(bytes32 nodeId) external view returns (address) {
        return _nodes[nodeId].owner;
    }

    function liveOwnerOf(bytes32 nodeId) external view returns (address) {
        Node storage n = _nodes[nodeId];
        return n.status == Status.Registered ? n.owner : address(0);
    }

    /// The node of an attestation key; zero if it has none.
    function nodeOfAk(bytes32 akX, bytes32 akY) external view returns (bytes32) {
        return _nodeOfAk[keccak256(abi.encode(akX, akY))];
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

    function _register(
        address owner,
        Registration calldata params,
        Attestation calldata attestation,
        Accounts.Payment calldata payment,
        uint256[] calldata passport
    ) private {
        _checkParams(params, attestation.maxBookingDuration);
        bytes32 akKey = _checkKeys(attestation);
        ScalerTerms.Admission memory asked = terms.admit(
            params.regionId,
            params.hwClass,
            uint40(params.capacity),
            _signers(attestation.bindings, attestation.nodeId, attestation.akX, attestation.akY)
        );
        _checkQuote(attestation, asked.requiredPcrs);
        uint64 committedUntil = uint64(block.timestamp + params.commitmentDuration);
        _store(owner, params, attestation, asked.classId, committedUntil, akKey);
        _tell(owner, params, attestation, committedUntil);
        vault.lock(
            attestation.nodeId,
            owner,
            msg.sender,
            asked,
            uint96(params.collateralAmount),
            // Kept to 1/10 000, rounded down.
            uint16(params.nodeRewardShare / 1e14),
            payment,
            passport
        );
    }

    function _registeredForSender(bytes32 nodeId) private view returns (Node storage n) {
        n = _nodes[nodeId];
        if (n.status == Status.None) revert UnknownNode(nodeId);
        if (n.status == Status.Retired) revert AlreadyRetired(nodeId);
        if (n.owner != msg.sender && !vault.mayAct(n.owner, msg.sender)) revert NotTheOperator(msg.sender, n.owner);
    }

    function _checkParams(Registration calldata p, uint64 maxBookingDuration) private pure {
        uint256 nameBytes = bytes(p.name).length;
        if (nameBytes == 0 || nameBytes > NAME_BYTES_MAX) revert InvalidName(nameBytes, 1, NAME_BYTES_MAX);
        if (p.capacity == 0 || p.capacity > type(uint40).max) revert InvalidCapacity(p.capacity);
        if (p.location > LOCATION_MAX) revert InvalidLocation(p.location, LOCATION_MAX);
        if (p.reservationPrice > type(uint96).max) {
            revert InvalidReservationPrice(p.reservationPrice, type(uint96).max);
        }
        if (p.nodeRewardShare > REWARD_SHARE_MAX) revert InvalidNodeRewardShare(p.nodeRewardShare, REWARD_SHARE_MAX);
        if (p.collateralAmount > type(uint96).max) {
            revert InvalidCollateralAmount(p.collateralAmount, type(uint96).max);
        }
        if (p.commitmentDuration < COMMITMENT_MIN || p.commitmentDuration > COMMITMENT_MAX) {
            revert InvalidCommitmentDuration(p.commitmentDuration, COMMITMENT_MIN, COMMITMENT_MAX);
        }
        if (maxBookingDuration == 0 || maxBookingDuration > p.commitmentDuration) {
            revert InvalidMaxBookingDuration(maxBookingDuration, p.commitmentDuration);
        }
    }

    function _checkKeys(Attestation calldata a) private view returns (bytes32 akKey) {
        Node storage n = _nodes[a.nodeId];
        if (n.status != Status.None) revert NodeAlreadyRegistered(a.nodeId, n.owner);
        akKey = keccak256(abi.encode(a.akX, a.akY));
        bytes32 holder = _nodeOfAk[akKey];
        if (holder != 0) revert AttestationKeyInUse(holder);
    }

    function _checkQuote(Attestation calldata a, uint24 requiredPcrs) private view {
        bytes32 expected = expectedQualifyingData(msg.sender, a.nodeId, a.unitRoot, a.statementDigest);
        QuoteCheck.check(a.quote, expected, requiredPcrs, a.r, a.s, a.akX, a.akY);
    }

    function _store(
        address owner,
        Registration calldata params,
        Attestation calldata a,
        uint32 classId,
        uint64 committedUntil,
        bytes32 akKey
    ) private {
        _nodes[a.nodeId] = Node({
            owner: owner,
            registeredAt: uint40(block.timestamp),
            committedUntil: uint40(committedUntil),
            status: Status.Registered,
            location: params.location,
            capacity: uint40(params.capacity),
            // No booking outlasts 100 years of commitment, which have fewer than 2^32 seconds.
            maxBookingDuration: uint32(a.maxBookingDuration),
            publishedSequence: 0,
            reservationPrice: uint96(params.reservationPrice),
            classId: classId,
            unitRoot: a.unitRoot
        });
        _nodeOfAk[akKey] = a.nodeId;
    }

    function _tell(address owner, Registration calldata params, Attestation calldata a, uint64 committedUntil)
        private
    {
        emit NodeRegistered(
            a.nodeId,
            msg.sender,
            params.hpId,
            params.regionId,
            params.hwClass,
            params.capacity,
            params.collateralAmount,
            committedUntil,
            a.unitRoot,
            a.evidenceDigest
        );
        emit NodeDetails(
            a.nodeId,
            owner,
            params.name,
            params.location,
            params.reservationPrice,
            params.nodeRewardShare,
            a.maxBookingDuration,
            a.akX,
            a.akY,
            a.statementDigest
        );
    }
}
