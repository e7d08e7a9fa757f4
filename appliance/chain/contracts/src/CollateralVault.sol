// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Accounts, IPermit2} from "./Accounts.sol";
import {ScalerTerms} from "./ScalerTerms.sol";

interface INodeOwners {
    function ownerOf(bytes32 nodeId) external view returns (address);

    /// Zero where there is no such node, or none any more.
    function liveOwnerOf(bytes32 nodeId) external view returns (address);
}

/// Holds every token of the reference network: deposits, collateral, delegations, rewards that nobody fetched.
///
/// Collateral leaves in three ways only: back to the owner's deposit when the node retires, back to a delegator when
/// the node is covered without it, to the treasury by a slash.  The sum of all parts is the balance, to the last coin.
/// Nobody administers this contract.
contract CollateralVault is Accounts {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// A node's collateral.  One word.
    struct Lock {
        /// The owner's own, in the token's smallest part.
        uint96 own;
        /// Asked for at registration, in millionths of a token; the owner's own and its passport have to make it up.
        uint64 nodePart;
        /// Asked for at registration, in millionths of a token, by anybody's tokens.
        uint64 networkPart;
        /// The owner's share of rewards while there are delegators, in 1/10 000.
        uint16 rewardShareBps;
        /// An anomaly is open: rewards and delegations stay.
        bool held;
        /// A passport is staked.
        bool passported;
    }

    /// Shares in a node's delegated collateral and what they have earned.
    struct Pool {
        uint96 delegated;
        uint128 shares;
        /// Rewards of delegators that nobody fetched yet, with what rounding left.
        uint128 rewards;
        /// Rewards per share since the beginning, times 2^128.
        uint256 perShare;
    }

    struct Delegation {
        uint128 shares;
        uint128 due;
        /// `perShare` up to which `due` is reckoned.
        uint256 reckoned;
        /// When what was asked back can be taken; 0 if nothing was.
        uint40 readyAt;
    }

    /// A passport loses its value from the day it is first staked, wherever it is.
    struct Passport {
        uint40 since;
        uint32 decay;
        /// Seconds by which slashes have aged it.
        uint32 aged;
        uint96 value;
    }

    error NotEnoughCollateral(uint256 given, uint256 required);
    error InvalidAmount(uint256 given);
    error AlreadyLocked(bytes32 nodeId);
    error UnknownNode(bytes32 nodeId);
    error NodeHeld(bytes32 nodeId);
    error DelegationAboveNeed(uint256 sum, uint256 networkPart);
    error DelegationsSlashedAway(bytes32 nodeId);
    error NotEnoughShares(uint256 given, uint256 needed);
    error NotReady(uint256 time, uint256 readyAt);
    error NeededByNode(uint256 left, uint256 needed);
    error OnePassportOnly(bytes32 nodeId);
    error NotAnomalies(address caller);
    error NotBookings(address caller);

    event Locked(bytes32 indexed nodeId, uint256 own, uint256 nodePart, uint256 networkPart);
    event ToppedUp(bytes32 indexed nodeId, address indexed payer, uint256 amount);
    event Released(bytes32 indexed nodeId, address indexed owner, uint256 amount);
    event Delegated(bytes32 indexed nodeId, address indexed delegator, uint256 amount, uint256 shares);
    event UndelegationAsked(bytes32 indexed nodeId, address indexed delegator, uint256 readyAt);
    event Undelegated(bytes32 indexed nodeId, address indexed delegator, uint256 amount, uint256 shares);
    event Slashed(bytes32 indexed nodeId, uint256 own, uint256 delegated);
    event HoldSet(bytes32 indexed nodeId, bool held);
    event Rewarded(bytes32 indexed nodeId, uint256 toOwner, uint256 toDelegators);
    event RewardsClaimed(bytes32 indexed nodeId, address indexed to, uint256 amount);
    event PassportStaked(bytes32 indexed nodeId, uint256 passport, uint256 value);

    /// Between asking a delegation back and taking it: as long as an anomaly may take to be seen.
    uint256 public constant UNDELEGATION_DELAY = 2 days;
    uint256 private constant MICROTOKEN = 1e12;

    ScalerTerms public immutable terms;
    IERC721 public immutable passports;
    address public immutable anomalies;
    address public immutable bookings;

    mapping(bytes32 nodeId => Lock) private _locks;
    mapping(bytes32 nodeId => Pool) private _pools;
    mapping(bytes32 nodeId => mapping(address delegator => Delegation)) private _delegations;
    mapping(bytes32 nodeId => uint256 tokenId) private _stakedPassport;
    mapping(uint256 tokenId => Passport) private _passports;
    mapping(bytes32 nodeId => uint256) public ownerRewards;

    constructor(
        IERC20 token_,
        IPermit2 permit2_,
        address registry_,
        ScalerTerms terms_,
        IERC721 passports_,
        address anomalies_,
        address bookings_
    ) Accounts(token_, permit2_, registry_) {
        terms = terms_;
        passports = passports_;
        anomalies = anomalies_;
        bookings = bookings_;
    }

    modifier onlyAnomalies() {
        if (msg.sender != anomalies) revert NotAnomalies(msg.sender);
        _;
    }

    /// Locks a new node's own collateral.  An operator pays out of the deposit and within its limits; only the owner
    /// itself brings tokens or a passport from outside.
    function lock(
        bytes32 nodeId,
        address owner,
        address caller,
        ScalerTerms.Admission calldata asked,
        uint96 amount,
        uint16 rewardShareBps,
        Payment calldata payment,
        uint256[] calldata passport
    ) external onlyRegistry {
        Lock storage l = _locks[nodeId];
        if (l.own != 0) revert AlreadyLocked(nodeId);
        if (caller != owner) {
            if (payment.source != Source.Deposit || passport.length != 0) revert NotTheOwner(caller, owner);
            _spend(owner, caller, amount);
        }
        _locks[nodeId] = Lock(amount, asked.nodePart, asked.networkPart, rewardShareBps, false, false);
        uint256 value = amount;
        if (passport.length == 1) value += _stake(nodeId, owner, passport[0]);
        else if (passport.length > 1) revert OnePassportOnly(nodeId);
        uint256 required = asked.nodePart * MICROTOKEN;
        if (value < required) revert NotEnoughCollateral(value, required);
        emit Locked(nodeId, amount, required, asked.networkPart * MICROTOKEN);
        _take(owner, amount, payment);
    }

    /// The node has retired after its commitment: the owner's own goes back to its deposit, its passport to it.
    function release(bytes32 nodeId, address owner, address caller) external onlyRegistry {
        Lock storage l = _locks[nodeId];
        if (l.held) revert NodeHeld(nodeId);
        if (caller != owner) _countRetirement(owner, caller);
        uint256 own = l.own;
        (l.own, l.nodePart, l.networkPart) = (0, 0, 0);
        deposits[owner] += own;
        emit Released(nodeId, owner, own);
        if (l.passported) {
            l.passported = false;
            passports.transferFrom(address(this), owner, _stakedPassport[nodeId]);
        }
    }

    /// Adds to a node's own collateral, for whoever owns it.
    function topUp(bytes32 nodeId, uint96 amount, Payment calldata payment) external {
        _live(nodeId);
        _locks[nodeId].own += amount;
        emit ToppedUp(nodeId, msg.sender, amount);
        _take(msg.sender, amount, payment);
    }

    /// Stakes a passport of the node's owner on it.
    function stakePassport(bytes32 nodeId, uint256 passport) external {
        address owner = _live(nodeId);
        if (msg.sender != owner) revert NotTheOwner(msg.sender, owner);
        _stake(nodeId, owner, passport);
    }

    /// Puts up a part of a node's network part, for a share of its rewards and of its slashes.
    function delegate(bytes32 nodeId, uint96 amount, Payment calldata payment) external {
        _live(nodeId);
        Lock storage l = _locks[nodeId];
        Pool storage p = _pools[nodeId];
        if (amount == 0) revert InvalidAmount(amount);
        if (l.held) revert NodeHeld(nodeId);
        uint256 sum = uint256(p.delegated) + amount;
        uint256 most = l.networkPart * MICROTOKEN;
        if (sum > most) revert DelegationAboveNeed(sum, most);
        uint256 shares = amount;
        if (p.shares != 0) {
            if (p.delegated == 0) revert DelegationsSlashedAway(nodeId);
            shares = Math.mulDiv(amount, p.shares, p.delegated);
        }
        if (shares == 0) revert InvalidAmount(amount);
        Delegation storage d = _reckon(nodeId, msg.sender);
        d.shares += shares.toUint128();
        d.readyAt = 0;
        p.shares += shares.toUint128();
        p.delegated = uint96(sum);
        emit Delegated(nodeId, msg.sender, amount, shares);
        _take(msg.sender, amount, payment);
    }

    /// Says that the sender wants its delegation back; until it is taken, it earns and can be slashed.
    function askUndelegation(bytes32 nodeId) external {
        uint256 readyAt = block.timestamp + UNDELEGATION_DELAY;
        _delegations[nodeId][msg.sender].readyAt = uint40(readyAt);
        emit UndelegationAsked(nodeId, msg.sender, readyAt);
    }

    /// Takes a delegation back, where the node is covered without it or has retired.
    function undelegate(bytes32 nodeId, uint128 shares) external returns (uint256 amount) {
        Lock storage l = _locks[nodeId];
        Pool storage p = _pools[nodeId];
        Delegation storage d = _reckon(nodeId, msg.sender);
        if (l.held) revert NodeHeld(nodeId);
        if (shares == 0 || d.shares < shares) revert NotEnoughShares(d.shares, shares);
        if (d.readyAt == 0 || block.timestamp < d.readyAt) revert NotReady(block.timestamp, d.readyAt);
        amount = Math.mulDiv(p.delegated, shares, p.shares);
        uint256 left = uint256(l.own) + passportWorth(nodeId) + p.delegated - amount;
        uint256 needed = (uint256(l.nodePart) + l.networkPart) * MICROTOKEN;
        if (left < needed) revert NeededByNode(left, needed);
        d.shares -= shares;
        p.shares -= shares;
        p.delegated -= uint96(amount);
        emit Undelegated(nodeId, msg.sender, amount, shares);
        token.safeTransfer(msg.sender, amount);
    }

    /// An anomaly was opened or closed.
    function setHold(bytes32 nodeId, bool held_) external onlyAnomalies {
        _locks[nodeId].held = held_;
        emit HoldSet(nodeId, held_);
    }

    /// Takes up to `amount` to the treasury: the owner's own first, then delegations; a passport ages by `bps` of the
    /// time that it has left.
    function slash(bytes32 nodeId, uint256 amount, uint256 bps) external onlyAnomalies returns (uint256 taken) {
        Lock storage l = _locks[nodeId];
        Pool storage p = _pools[nodeId];
        uint256 own = Math.min(amount, l.own);
        uint256 others = Math.min(amount - own, p.delegated);
        l.own -= uint96(own);
        if (others != 0) p.delegated -= uint96(others);
        if (l.passported) {
            Passport storage pass = _passports[_stakedPassport[nodeId]];
            pass.aged += uint32(Math.ceilDiv(_timeLeft(pass) * bps, 10_000));
        }
        emit Slashed(nodeId, own, others);
        taken = own + others;
        token.safeTransfer(terms.treasury(), taken);
    }

    /// Books a reward that has just been sent here: the owner's share, the rest to delegators by their shares.
    function credit(bytes32 nodeId, uint256 amount) external {
        if (msg.sender != bookings) revert NotBookings(msg.sender);
        Lock storage l = _locks[nodeId];
        Pool storage p = _pools[nodeId];
        uint256 toOwner = amount;
        uint256 shares = p.shares;
        if (shares != 0) {
            toOwner = amount * l.rewardShareBps / 10_000;
            uint256 rest = amount - toOwner;
            p.rewards += rest.toUint128();
            p.perShare += (rest << 128) / shares;
        }
        ownerRewards[nodeId] += toOwner;
        emit Rewarded(nodeId, toOwner, amount - toOwner);
    }

    /// Moves a node's rewards to its owner's deposit.
    function claimForOwner(bytes32 nodeId) external {
        if (_locks[nodeId].held) revert NodeHeld(nodeId);
        address owner = INodeOwners(registry).ownerOf(nodeId);
        uint256 amount = ownerRewards[nodeId];
        ownerRewards[nodeId] = 0;
        deposits[owner] += amount;
        emit RewardsClaimed(nodeId, owner, amount);
    }

    /// Sends the sender what its delegation has earned.
    function claimForDelegator(bytes32 nodeId) external {
        if (_locks[nodeId].held) revert NodeHeld(nodeId);
        Delegation storage d = _reckon(nodeId, msg.sender);
        uint128 amount = d.due;
        d.due = 0;
        _pools[nodeId].rewards -= amount;
        emit RewardsClaimed(nodeId, msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    function lockOf(bytes32 nodeId) external view returns (Lock memory) {
        return _locks[nodeId];
    }

    function pool(bytes32 nodeId) external view returns (Pool memory) {
        return _pools[nodeId];
    }

    function delegation(bytes32 nodeId, address delegator) external view returns (Delegation memory) {
        return _delegations[nodeId][delegator];
    }

    function passportRecord(uint256 tokenId) external view returns (Passport memory) {
        return _passports[tokenId];
    }

    function isHeld(bytes32 nodeId) external view returns (bool) {
        return _locks[nodeId].held;
    }

    /// Whether a node's collateral is whole and nothing is open against it: only then can it be booked.
    function isCovered(bytes32 nodeId) external view returns (bool) {
        (uint256 nodeGap, uint256 networkGap) = gap(nodeId);
        return !_locks[nodeId].held && nodeGap == 0 && networkGap == 0;
    }

    /// What has to be added for a node to be covered: by its owner, and then by anybody.
    function gap(bytes32 nodeId) public view returns (uint256 nodeGap, uint256 networkGap) {
        Lock storage l = _locks[nodeId];
        uint256 own = uint256(l.own) + passportWorth(nodeId);
        uint256 nodePart = l.nodePart * MICROTOKEN;
        nodeGap = own < nodePart ? nodePart - own : 0;
        uint256 all = own + nodeGap + _pools[nodeId].delegated;
        uint256 needed = nodePart + l.networkPart * MICROTOKEN;
        networkGap = all < needed ? needed - all : 0;
    }

    /// What the passport on a node is worth now: its value times the share of its time that is left, rounded down.
    function passportWorth(bytes32 nodeId) public view returns (uint256) {
        if (!_locks[nodeId].passported) return 0;
        Passport storage p = _passports[_stakedPassport[nodeId]];
        return uint256(p.value) * _timeLeft(p) / p.decay;
    }

    function _timeLeft(Passport storage p) private view returns (uint256) {
        uint256 age = block.timestamp - p.since + p.aged;
        return age < p.decay ? p.decay - age : 0;
    }

    function _stake(bytes32 nodeId, address owner, uint256 tokenId) private returns (uint256 worth) {
        Lock storage l = _locks[nodeId];
        if (l.passported) revert OnePassportOnly(nodeId);
        Passport storage p = _passports[tokenId];
        if (p.since == 0) {
            (p.since, p.decay, p.value) = (uint40(block.timestamp), terms.passportDecay(), terms.passportValue());
        }
        l.passported = true;
        _stakedPassport[nodeId] = tokenId;
        worth = passportWorth(nodeId);
        emit PassportStaked(nodeId, tokenId, worth);
        passports.transferFrom(owner, address(this), tokenId);
    }

    /// Brings what a delegator is due up to now.
    function _reckon(bytes32 nodeId, address delegator) private returns (Delegation storage d) {
        d = _delegations[nodeId][delegator];
        uint256 perShare = _pools[nodeId].perShare;
        d.due += uint128(Math.mulDiv(perShare - d.reckoned, d.shares, 1 << 128));
        d.reckoned = perShare;
    }

    function _live(bytes32 nodeId) private view returns (address owner) {
        owner = INodeOwners(registry).liveOwnerOf(nodeId);
        if (owner == address(0)) revert UnknownNode(nodeId);
    }
}
