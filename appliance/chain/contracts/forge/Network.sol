// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Forge} from "./Vm.sol";

interface Token {
    function approve(address spender, uint256 value) external returns (bool);
    function balanceOf(address account) external view returns (uint256);
    function mint(address to, uint256 amount) external;
    function totalSupply() external view returns (uint256);
}

interface Terms {
    struct Class {
        uint192 collateralReq;
        uint64 totalCapacity;
        uint64 baselineCapacity;
        uint64 networkShare;
        uint24 requiredPcrs;
        uint8 attestorsNeeded;
        uint32 restoreWindow;
        uint32 slashPeriod;
        uint16 slashBps;
        uint16 slashBpsMax;
        uint128 attestorMask;
        uint96 priceMax;
        bool known;
    }

    function setAttestor(address attestor, uint8 place, bool known) external;
    function setClass(string calldata regionId, string calldata hwClass, Class calldata terms) external;
    function setFactors(uint128 factor, uint120 circulating, uint8 percent) external;
    function setHyperNode(address hyperNode, bool known) external;
    function setRegion(string calldata regionId, bool known) external;
}

struct Payment {
    uint8 source;
    uint256 nonce;
    uint256 deadline;
    bytes signature;
}

interface Nodes {
    struct Registration {
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

    struct Binding {
        uint64 validUntil;
        bytes32 r;
        bytes32 vs;
    }

    struct Attestation {
        bytes32 nodeId;
        bytes32 akX;
        bytes32 akY;
        bytes32 statementDigest;
        bytes32 unitRoot;
        bytes32 evidenceDigest;
        uint64 maxBookingDuration;
        bytes quote;
        bytes32 r;
        bytes32 s;
        Binding[] bindings;
    }

    function bindingDigest(bytes32 nodeId, bytes32 akX, bytes32 akY, uint64 validUntil) external view returns (bytes32);
    function expectedQualifyingData(address operator, bytes32 nodeId, bytes32 unitRoot, bytes32 statementDigest)
        external
        view
        returns (bytes32);
    function liveOwnerOf(bytes32 nodeId) external view returns (address);
    function register(
        address owner,
        Registration calldata params,
        Attestation calldata attestation,
        Payment calldata payment,
        uint256[] calldata passport
    ) external;
    function retire(bytes32 nodeId) external;
}

interface Vault {
    struct Lock {
        uint96 own;
        uint64 nodePart;
        uint64 networkPart;
        uint16 rewardShareBps;
        bool held;
        bool passported;
    }

    struct Pool {
        uint96 delegated;
        uint128 shares;
        uint128 rewards;
        uint256 perShare;
    }

    struct Delegation {
        uint128 shares;
        uint128 due;
        uint256 reckoned;
        uint40 readyAt;
    }

    error NotEnoughDeposit(uint256 available, uint256 needed);

    function askUndelegation(bytes32 nodeId) external;
    function claimForDelegator(bytes32 nodeId) external;
    function claimForOwner(bytes32 nodeId) external;
    function delegate(bytes32 nodeId, uint96 amount, Payment calldata payment) external;
    function delegation(bytes32 nodeId, address delegator) external view returns (Delegation memory);
    function deposit(uint256 amount, Payment calldata payment) external;
    function deposits(address owner) external view returns (uint256);
    function isCovered(bytes32 nodeId) external view returns (bool);
    function lockOf(bytes32 nodeId) external view returns (Lock memory);
    function ownerRewards(bytes32 nodeId) external view returns (uint256);
    function pool(bytes32 nodeId) external view returns (Pool memory);
    function topUp(bytes32 nodeId, uint96 amount, Payment calldata payment) external;
    function undelegate(bytes32 nodeId, uint128 shares) external returns (uint256);
    function withdraw(uint256 amount, address to) external;
}

interface Anomalies {
    function report(bytes32 nodeId, uint8 kind, bytes32 digest) external;
    function restored(bytes32 nodeId, bytes32 digest) external;
    function slash(bytes32 nodeId) external;
}

interface Bookings {
    struct Booking {
        bytes32 nodeId;
        bytes32 leaf;
        address booker;
        uint40 start;
        uint40 end;
        uint96 fee;
        uint96 earned;
    }

    struct Unit {
        bytes text;
        uint256 index;
        uint256 count;
        bytes32[] siblings;
    }

    error NodeTaken(bytes32 nodeId, uint256 until);
    error UnitTaken(bytes32 nodeId, bytes32 leaf, uint256 until);
    error NotTheOwnersWord(address owner);

    function bookNode(bytes32 nodeId, uint40 duration, uint256 feeMax) external returns (uint256 id);
    function bookUnit(
        bytes32 nodeId,
        Unit calldata unit,
        uint40 duration,
        uint96 pricePerDay,
        uint64 validUntil,
        bytes calldata ownersSignature
    ) external returns (uint256 id);
    function booking(uint256 id) external view returns (Booking memory);
    function bookingCount() external view returns (uint256);
    function cancel(uint256 id) external;
    function settle(uint256 id) external;
    function unitOfferDigest(bytes32 nodeId, bytes32 leaf, uint96 pricePerDay, uint64 validUntil)
        external
        view
        returns (bytes32);
}

/// The five contracts as they are committed (artifacts/), with their circle of addresses, and machines with TPMs.
///
/// What is deployed is not compiled here: the interfaces above are all that these tests know of it.
abstract contract Network is Forge {
    uint256 internal constant ONE = 1e18;
    /// 36 months of 30 days.
    uint256 internal constant COMMITMENT = 36 * 30 days;
    uint256 internal constant START = 1_800_000_000;
    /// Half of the curve's order, P-256.
    uint256 private constant ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;

    uint256 internal constant OWNER_KEY = 0xA11CE;
    uint256 private constant ATTESTOR_KEY = 0xA77E57;
    address internal owner = vm.addr(OWNER_KEY);
    address internal others = address(0x07E2);
    address internal hyperNode = address(0x44);
    address internal treasury = address(0x77);

    Token internal token;
    Terms internal terms;
    Vault internal vault;
    Nodes internal nodes;
    Anomalies internal anomalies;
    Bookings internal bookings;

    function deployNetwork() internal {
        vm.warp(START);
        token = Token(create("IcntMock", ""));
        address permit2 = create("Permit2Mock", "");
        address passports = create("PassportMock", "");
        uint256 nonce = vm.getNonce(address(this));
        address[5] memory places;
        for (uint256 i = 0; i < 5; ++i) places[i] = vm.computeCreateAddress(address(this), nonce + i);
        terms = Terms(create("ScalerTerms", abi.encode(address(this), token, places[2], treasury)));
        vault = Vault(
            create("CollateralVault", abi.encode(token, permit2, places[2], places[0], passports, places[3], places[4]))
        );
        nodes = Nodes(create("ScalerNodes", abi.encode(places[0], places[1])));
        anomalies = Anomalies(create("Anomalies", abi.encode(places[0], places[2], places[1])));
        bookings = Bookings(create("Bookings", abi.encode(token, places[0], places[2], places[1], places[3])));
        token.mint(owner, 1_000_000 * ONE);
        token.mint(others, 1_000_000 * ONE);
        token.mint(address(0x600D), 698_000_000 * ONE);
        terms.setRegion("eu-west", true);
        terms.setAttestor(vm.addr(ATTESTOR_KEY), 0, true);
        terms.setHyperNode(hyperNode, true);
        terms.setFactors(1e18, uint120(300_000_000 * ONE), 30);
        terms.setClass("eu-west", "storage", class());
        address[2] memory all = [owner, others];
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(all[i]);
            token.approve(address(vault), type(uint256).max);
            vm.prank(all[i]);
            token.approve(address(bookings), type(uint256).max);
        }
    }

    /// 100 tokens a unit at 30 %, one attestor; a day to restore, then a tenth a day up to a half.
    function class() private pure returns (Terms.Class memory) {
        return Terms.Class({
            collateralReq: uint192(100 * 1e36),
            totalCapacity: 0,
            baselineCapacity: 1000,
            networkShare: 1e14,
            requiredPcrs: 0x00FAFF,
            attestorsNeeded: 1,
            restoreWindow: 1 days,
            slashPeriod: 1 days,
            slashBps: 1000,
            slashBpsMax: 5000,
            attestorMask: 1,
            priceMax: uint96(ONE),
            known: true
        });
    }

    function create(string memory name, bytes memory arguments) private returns (address made) {
        bytes memory code = abi.encodePacked(vm.getCode(string.concat("artifacts/", name, ".json")), arguments);
        assembly {
            made := create(0, add(code, 32), mload(code))
        }
        require(made != address(0), name);
    }

    function id(uint256 n) internal pure returns (bytes32) {
        return keccak256(abi.encode("node", n));
    }

    function from(uint8 source) internal pure returns (Payment memory) {
        return Payment(source, 0, 0, "");
    }

    /// Registers node `n` of the owner's, with `own` tokens' smallest parts out of its approval.
    function register(uint256 n, uint256 own, bytes32 unitRoot) internal {
        Nodes.Registration memory params = Nodes.Registration({
            regionId: "eu-west",
            name: "rack-1-slot-7",
            hpId: 42,
            capacity: 2,
            location: 83,
            reservationPrice: ONE / 10,
            hwClass: "storage",
            nodeRewardShare: ONE / 4,
            collateralAmount: own,
            commitmentDuration: COMMITMENT
        });
        Nodes.Attestation memory attestation = attest(n, unitRoot);
        vm.prank(owner);
        nodes.register(owner, params, attestation, from(1), new uint256[](0));
    }

    function attest(uint256 n, bytes32 unitRoot) private view returns (Nodes.Attestation memory a) {
        uint256 key = uint256(keccak256(abi.encode("ak", n))) % ORDER;
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        (a.nodeId, a.akX, a.akY, a.unitRoot) = (id(n), bytes32(x), bytes32(y), unitRoot);
        (a.statementDigest, a.evidenceDigest) = (keccak256("statement"), keccak256("evidence"));
        a.maxBookingDuration = 180 days;
        bytes32 data = nodes.expectedQualifyingData(owner, a.nodeId, unitRoot, a.statementDigest);
        a.quote = abi.encodePacked(
            hex"ff544347", hex"8018", hex"0022000b", keccak256("signer"), hex"0020", data, new bytes(25),
            hex"00000001", hex"000b", hex"03", hex"fffa00", hex"0020", keccak256("digest")
        );
        (a.r, a.s) = vm.signP256(key, sha256(a.quote));
        if (uint256(a.s) > ORDER / 2) a.s = bytes32(ORDER - uint256(a.s));
        uint64 until = uint64(block.timestamp + 1 days);
        a.bindings = new Nodes.Binding[](1);
        (bytes32 r, bytes32 vs) = vm.signCompact(ATTESTOR_KEY, nodes.bindingDigest(a.nodeId, a.akX, a.akY, until));
        a.bindings[0] = Nodes.Binding(until, r, vs);
    }
}
