// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CollateralVault} from "./CollateralVault.sol";
import {ScalerNodes} from "./ScalerNodes.sol";
import {ScalerTerms} from "./ScalerTerms.sol";

/// What HyperNodes report, and what follows: hold → window to restore → gradual slash → release.
///
/// Enough HyperNodes open a case; from then on the node's rewards and delegations stay where they are.  If as many say
/// within the window that the node is whole again, nothing was lost.  After the window anybody may carry the slash up to
/// the present: so many 1/10 000 of the collateral for every period begun, up to the class's maximum.  A case ends
/// when the node is restored, or when it has cost its maximum.
contract Anomalies {
    struct Case {
        uint40 openedAt;
        uint40 restoreUntil;
        uint32 period;
        uint16 bps;
        uint16 bpsMax;
        /// Taken so far.
        uint16 slashedBps;
        /// The collateral when the case was opened: the rates count on this.
        uint96 base;
        bool open;
    }

    /// HyperNodes that said the same thing of a node, since the case before.
    struct Votes {
        uint32 round;
        uint8 broken;
        uint8 restored;
        /// When the first of these said that it is broken.
        uint40 since;
    }

    error NotAHyperNode(address caller);
    error UnknownNode(bytes32 nodeId);
    error SaidAlready(address hyperNode);
    error CaseOpen(bytes32 nodeId);
    error NoCase(bytes32 nodeId);
    error StillRestoring(uint256 time, uint256 until);

    /// `digest` names the report that the HyperNode published elsewhere.
    event Reported(bytes32 indexed nodeId, address indexed hyperNode, uint8 kind, bytes32 digest);
    event CaseOpened(bytes32 indexed nodeId, uint256 restoreUntil, uint256 base);
    event SaidRestored(bytes32 indexed nodeId, address indexed hyperNode, bytes32 digest);
    event CaseClosed(bytes32 indexed nodeId, uint256 slashedBps, bool restored);

    ScalerTerms public immutable terms;
    ScalerNodes public immutable registry;
    CollateralVault public immutable vault;

    mapping(bytes32 nodeId => Case) private _cases;
    mapping(bytes32 nodeId => Votes) private _votes;
    mapping(bytes32 nodeId => mapping(uint32 round => mapping(address hyperNode => uint8))) private _said;

    /// Reports that are further apart than this are not of one anomaly.
    uint256 public constant REPORTS_TOGETHER = 1 days;
    uint8 private constant BROKEN = 1;
    uint8 private constant RESTORED = 2;

    constructor(ScalerTerms terms_, ScalerNodes registry_, CollateralVault vault_) {
        terms = terms_;
        registry = registry_;
        vault = vault_;
    }

    modifier onlyHyperNode() {
        if (!terms.isHyperNode(msg.sender)) revert NotAHyperNode(msg.sender);
        _;
    }

    /// A HyperNode says that a node is not what it is paid for.  `kind` is the class's own numbering.
    function report(bytes32 nodeId, uint8 kind, bytes32 digest) external onlyHyperNode {
        if (registry.liveOwnerOf(nodeId) == address(0)) revert UnknownNode(nodeId);
        if (_cases[nodeId].open) revert CaseOpen(nodeId);
        Votes storage v = _votes[nodeId];
        // Reports that found no company count no longer: a case is about one anomaly.
        if (block.timestamp > v.since + REPORTS_TOGETHER) {
            (v.round, v.broken, v.restored, v.since) = (v.round + 1, 0, 0, uint40(block.timestamp));
        }
        _say(nodeId, BROKEN);
        emit Reported(nodeId, msg.sender, kind, digest);
        if (++v.broken >= terms.reportsNeeded()) _open(nodeId);
    }

    /// A HyperNode says that a node is whole again.
    function restored(bytes32 nodeId, bytes32 digest) external onlyHyperNode {
        Case storage c = _cases[nodeId];
        if (!c.open) revert NoCase(nodeId);
        _say(nodeId, RESTORED);
        emit SaidRestored(nodeId, msg.sender, digest);
        Votes storage v = _votes[nodeId];
        if (++v.restored < terms.reportsNeeded()) return;
        _slash(nodeId, c);
        if (c.open) _close(nodeId, c, true);
    }

    /// Carries a case's slash up to now; anybody may.
    function slash(bytes32 nodeId) external {
        Case storage c = _cases[nodeId];
        if (!c.open) revert NoCase(nodeId);
        if (block.timestamp <= c.restoreUntil) revert StillRestoring(block.timestamp, c.restoreUntil);
        _slash(nodeId, c);
    }

    function caseOf(bytes32 nodeId) external view returns (Case memory) {
        return _cases[nodeId];
    }

    /// Whether the window to restore has passed: whoever booked the node may leave it, with what it has not yet earned.
    function isOverdue(bytes32 nodeId) external view returns (bool) {
        Case storage c = _cases[nodeId];
        return c.open && block.timestamp > c.restoreUntil;
    }

    /// What a case would have cost by `time`, in 1/10 000 of its base.
    function dueBps(bytes32 nodeId, uint256 time) external view returns (uint256) {
        return _dueBps(_cases[nodeId], time);
    }

    function _open(bytes32 nodeId) private {
        ScalerTerms.Class memory class = terms.class(registry.node(nodeId).classId);
        uint96 base = vault.lockOf(nodeId).own + vault.pool(nodeId).delegated;
        uint256 until = block.timestamp + class.restoreWindow;
        _cases[nodeId] = Case({
            openedAt: uint40(block.timestamp),
            restoreUntil: uint40(until),
            period: class.slashPeriod,
            bps: class.slashBps,
            bpsMax: class.slashBpsMax,
            slashedBps: 0,
            base: base,
            open: true
        });
        emit CaseOpened(nodeId, until, base);
        vault.setHold(nodeId, true);
    }

    function _slash(bytes32 nodeId, Case storage c) private {
        uint256 due = _dueBps(c, block.timestamp);
        uint256 more = due - c.slashedBps;
        if (more > 0) {
            // What is due in all, less what was: rounding does not add up over many small steps.
            uint256 amount = uint256(c.base) * due / 10_000 - uint256(c.base) * c.slashedBps / 10_000;
            c.slashedBps = uint16(due);
            vault.slash(nodeId, amount, more);
        }
        if (due > 0 && due == c.bpsMax) _close(nodeId, c, false);
    }

    function _close(bytes32 nodeId, Case storage c, bool whole) private {
        c.open = false;
        Votes storage v = _votes[nodeId];
        (v.round, v.broken, v.restored, v.since) = (v.round + 1, 0, 0, uint40(block.timestamp));
        emit CaseClosed(nodeId, c.slashedBps, whole);
        vault.setHold(nodeId, false);
    }

    /// Nothing within the window; then one step for every period begun.
    function _dueBps(Case storage c, uint256 time) private view returns (uint256) {
        if (time <= c.restoreUntil) return 0;
        uint256 steps = 1 + (time - c.restoreUntil) / c.period;
        uint256 due = steps * c.bps;
        return due < c.bpsMax ? due : c.bpsMax;
    }

    /// Each HyperNode says each thing once in a round.
    function _say(bytes32 nodeId, uint8 what) private {
        uint8 said = _said[nodeId][_votes[nodeId].round][msg.sender];
        if (said & what != 0) revert SaidAlready(msg.sender);
        _said[nodeId][_votes[nodeId].round][msg.sender] = said | what;
    }
}
