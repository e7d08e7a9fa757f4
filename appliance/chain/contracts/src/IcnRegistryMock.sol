// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// A mock of ICN's registry at the wire, for tests of the `icn` adapter and for nothing else.
///
/// It answers with the structs, storage places and errors that are known of ICN's registry, and checks what is known that
/// ICN checks.  The selector of the registration is not known: whoever makes this contract says which one it has.
/// Anybody may set it up; what it holds is a test's.
contract IcnRegistryMock {
    using SafeERC20 for IERC20;

    struct Params {
        string regionId;
        string name;
        uint256 hpId;
        uint256 capacity;
        uint8 location;
        uint256 reservationPrice;
        string hwClass;
        uint256 nodeRewardShare;
        uint256 collateralAmount;
        uint256 commitmentDuration;
    }

    struct Booking {
        uint256 price;
        uint256 start;
        uint256 period;
    }

    struct Node {
        uint8 status;
        uint256 creationDate;
        string name;
        uint256 totalCapacity;
        uint256 utilizedCapacity;
        uint256 hpId;
        uint8 location;
        string clusterId;
        uint256 reservationPrice;
        uint256 bookingPrice;
        uint256 nodeRewardShare;
        string hwClass;
        address daemonAddress;
        uint256 collateralAmount;
        uint256 commitmentDuration;
        uint256 commitmentStart;
        address spUnused;
        uint256 activationEra;
        uint256 startUnused;
        uint256 periodUnused;
        Booking[2] bookings;
        uint256 spId;
    }

    /// The layout of another version, which one public interface has.
    struct NodeWithoutBookings {
        uint8 status;
        uint256 creationDate;
        string name;
        uint256 totalCapacity;
        uint256 utilizedCapacity;
        uint256 hpId;
        uint8 location;
        string clusterId;
        uint256 reservationPrice;
        uint256 bookingPrice;
        uint256 nodeRewardShare;
        string hwClass;
        address daemonAddress;
        uint256 collateralAmount;
        uint256 commitmentDuration;
        uint256 commitmentStart;
        address spUnused;
        uint256 activationEra;
        uint256 startUnused;
        uint256 periodUnused;
        uint256 spId;
    }

    struct HwClass {
        uint256 creationDate;
        uint256 collateralReq;
        uint256 targetCapacity;
        uint256 totalCapacity;
        uint256 utilizedCapacity;
        uint256 releaseSchedule;
        uint256 maximumBootstrapRelease;
    }

    struct Region {
        bool status;
        uint256 creationDate;
        string[] hwClassIds;
        mapping(string hwClass => HwClass) hwClasses;
    }

    struct Provider {
        bool status;
        address account;
        uint256 totalCapacity;
        uint256 utilizedCapacity;
    }

    /// Places as ICN's registry has them; `gapN` are of no matter here.
    struct Layout {
        uint64 version;
        uint256 lastNode;
        uint256 lastHyperNode;
        uint256 lastProvider;
        address foundation;
        uint256 minCollateralPercent;
        uint256 marketAdjustmentFactor;
        mapping(string regionId => Region) regions;
        uint256 gap8;
        mapping(uint256 hpId => Provider) providers;
        mapping(uint256 nodeId => Node) nodes;
        uint256 gap11;
        uint256 gap12;
        uint256 gap13;
        string[] regionIds;
        uint256 gap15;
        mapping(address key => bool) registeredKeys;
        uint256 gap17;
        uint256 gap18;
        mapping(address account => uint256 hpId) providerOf;
    }

    error InvalidName(uint256 actual, uint256 min, uint256 max);
    error InvalidRegion();
    error InvalidHwClass();
    error InvalidCapacity();
    error InvalidCommitmentDuration();
    error InvalidNodeRewardShare();
    error InvalidScalerNode();
    error NotEnoughCollateral();
    error InvalidDaemonAddress();
    error DuplicatePublicKey(address publicKey);
    error ICNRegistryUnauthorizedAccount(address actualCaller, address expectedCaller);

    bytes32 private constant SLOT = 0xe32462c3d0235542581986c483958675ee491e3e4515282b8d0df00d74e47200;
    bytes4 private constant READ = bytes4(keccak256("getScalerNode(uint256)"));

    IERC20 public immutable token;
    bytes4 public immutable registerSelector;
    address public immutable verifier;

    /// Whether nodes are answered in the layout without bookings.
    bool public without;
    mapping(uint256 nodeId => uint256) private delegated;
    mapping(uint256 nodeId => bool) private offboarded;

    constructor(IERC20 token_, bytes4 registerSelector_, uint256 percent, uint256 factor) {
        token = token_;
        registerSelector = registerSelector_;
        verifier = msg.sender;
        _layout().version = 5;
        _layout().minCollateralPercent = percent;
        _layout().marketAdjustmentFactor = factor;
    }

    function addClass(string calldata regionId, string calldata hwClass, uint256 collateralReq) external {
        Region storage region = _layout().regions[regionId];
        if (!region.status) {
            region.status = true;
            region.creationDate = block.timestamp;
            _layout().regionIds.push(regionId);
        }
        region.hwClassIds.push(hwClass);
        region.hwClasses[hwClass].creationDate = block.timestamp;
        region.hwClasses[hwClass].collateralReq = collateralReq;
    }

    function addProvider(address account) external returns (uint256 hpId) {
        hpId = ++_layout().lastProvider;
        _layout().providers[hpId].status = true;
        _layout().providers[hpId].account = account;
        _layout().providerOf[account] = hpId;
    }

    function answerWithoutBookings(bool without_) external {
        without = without_;
    }

    /// The step that comes after a registration and that only the network takes: a daemon's address, or a no.
    function verify(uint256 nodeId, address daemon) external {
        if (msg.sender != verifier) revert ICNRegistryUnauthorizedAccount(msg.sender, verifier);
        Node storage node = _node(nodeId);
        if (daemon == address(0)) revert InvalidDaemonAddress();
        if (_layout().registeredKeys[daemon]) revert DuplicatePublicKey(daemon);
        _layout().registeredKeys[daemon] = true;
        node.daemonAddress = daemon;
        node.status = 2;
    }

    function reject(uint256 nodeId) external {
        if (msg.sender != verifier) revert ICNRegistryUnauthorizedAccount(msg.sender, verifier);
        _node(nodeId).status = 3;
    }

    function delegate(uint256 nodeId, uint256 amount) external {
        delegated[nodeId] += amount;
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    function book(uint256 nodeId, uint256 spId, uint256 period) external {
        Node storage node = _node(nodeId);
        node.utilizedCapacity = node.totalCapacity;
        node.spId = spId;
        node.bookings[0] = Booking(node.reservationPrice, block.timestamp, period);
    }

    function offboard(uint256 nodeId) external {
        offboarded[nodeId] = true;
        _node(nodeId);
    }

    function getProtocolScalerNodeStatus(uint256 nodeId) external view returns (uint8) {
        Node storage node = _node(nodeId);
        if (offboarded[nodeId]) return 4;
        if (node.spId != 0) return 3;
        return node.status == 2 ? 2 : 1;
    }

    function getNodeTotalDelegatedICNT(uint256 nodeId) external view returns (uint256) {
        return delegated[nodeId];
    }

    /// The two calls that differ between versions: the registration's selector, and the layout of a node.
    fallback(bytes calldata input) external returns (bytes memory) {
        if (msg.sig == READ) return _encoded(_node(abi.decode(input[4:], (uint256))));
        if (msg.sig == registerSelector) return abi.encode(_register(abi.decode(input[4:], (Params))));
        revert();
    }

    function _register(Params memory params) private returns (uint256 nodeId) {
        Layout storage all = _layout();
        uint256 length = bytes(params.name).length;
        if (length == 0 || length > 30) revert InvalidName(length, 1, 30);
        if (!all.regions[params.regionId].status) revert InvalidRegion();
        HwClass storage hwClass = all.regions[params.regionId].hwClasses[params.hwClass];
        if (hwClass.creationDate == 0) revert InvalidHwClass();
        if (params.capacity == 0) revert InvalidCapacity();
        if (params.location > 248) revert();
        if (params.nodeRewardShare > 1e18) revert InvalidNodeRewardShare();
        if (params.commitmentDuration < 36 * 30 days) revert InvalidCommitmentDuration();
        address expected = all.providers[params.hpId].account;
        if (expected != msg.sender) revert ICNRegistryUnauthorizedAccount(msg.sender, expected);
        uint256 required =
            hwClass.collateralReq * all.marketAdjustmentFactor * params.capacity * all.minCollateralPercent / (100 * 1e18);
        if (params.collateralAmount * 1e18 < required) revert NotEnoughCollateral();
        nodeId = ++all.lastNode;
        _store(all.nodes[nodeId], params);
        hwClass.totalCapacity += params.capacity;
        token.safeTransferFrom(msg.sender, address(this), params.collateralAmount);
    }

    function _store(Node storage node, Params memory params) private {
        node.status = 1;
        node.creationDate = block.timestamp;
        node.name = params.name;
        node.totalCapacity = params.capacity;
        node.hpId = params.hpId;
        node.location = params.location;
        node.clusterId = string.concat(params.regionId, "-1");
        node.reservationPrice = params.reservationPrice;
        node.nodeRewardShare = params.nodeRewardShare;
        node.hwClass = params.hwClass;
        node.collateralAmount = params.collateralAmount;
        node.commitmentDuration = params.commitmentDuration;
        node.commitmentStart = block.timestamp;
    }

    function _encoded(Node memory node) private view returns (bytes memory) {
        if (!without) return abi.encode(node);
        NodeWithoutBookings memory other;
        other.status = node.status;
        other.creationDate = node.creationDate;
        other.name = node.name;
        other.totalCapacity = node.totalCapacity;
        other.utilizedCapacity = node.utilizedCapacity;
        other.hpId = node.hpId;
        other.location = node.location;
        other.clusterId = node.clusterId;
        other.reservationPrice = node.reservationPrice;
        other.nodeRewardShare = node.nodeRewardShare;
        other.hwClass = node.hwClass;
        other.daemonAddress = node.daemonAddress;
        other.collateralAmount = node.collateralAmount;
        other.commitmentDuration = node.commitmentDuration;
        other.commitmentStart = node.commitmentStart;
        other.spId = node.spId;
        return abi.encode(other);
    }

    function _node(uint256 nodeId) private view returns (Node storage node) {
        node = _layout().nodes[nodeId];
        if (node.status == 0) revert InvalidScalerNode();
    }

    function _layout() private pure returns (Layout storage all) {
        assembly {
            all.slot := SLOT
        }
    }
}
