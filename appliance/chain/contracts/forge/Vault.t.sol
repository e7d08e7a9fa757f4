// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bookings, Network, Vault} from "./Network.sol";

/// Everybody's moves, made up by forge.  Keeps its own books of what went in and out.
contract Moves is Network {
    uint256 internal constant NODES = 3;

    uint256 public moved;
    uint256 public registered;
    /// By node: what was put up and added by the owner, what slashes took of it.
    mapping(uint256 => uint256) public put;
    mapping(uint256 => bool) public retired;
    uint256 public margins;
    uint256 public withdrawn;

    constructor() {
        deployNetwork();
    }

    modifier counted() {
        _;
        ++moved;
    }

    function deposit(uint256 amount) external counted {
        amount = between(amount, 1, 1000 * ONE);
        vm.prank(owner);
        vault.deposit(amount, from(1));
    }

    function withdraw(uint256 amount) external counted {
        vm.prank(owner);
        vault.withdraw(between(amount, 0, 1000 * ONE), owner);
    }

    function register(uint256 own) external counted {
        require(registered < NODES, "all are there");
        own = between(own, 60 * ONE, 90 * ONE);
        register(registered, own, keccak256("units"));
        put[registered++] = own;
    }

    function topUp(uint256 n, uint96 amount, bool ofDeposit) external counted {
        amount = uint96(between(amount, 0, 10 * ONE));
        vm.prank(owner);
        vault.topUp(id(n % NODES), amount, from(ofDeposit ? 0 : 1));
        put[n % NODES] += amount;
    }

    function delegate(uint256 n, uint96 amount) external counted {
        vm.prank(others);
        vault.delegate(id(n % NODES), uint96(between(amount, 1, 60 * ONE)), from(1));
    }

    function cover(uint256 n) external counted {
        bytes32 node = id(n % NODES);
        uint256 left = uint256(vault.lockOf(node).networkPart) * 1e12 - vault.pool(node).delegated;
        vm.prank(others);
        vault.delegate(node, uint96(left), from(1));
    }

    function undelegate(uint256 n, uint128 shares) external counted {
        bytes32 node = id(n % NODES);
        Vault.Delegation memory d = vault.delegation(node, others);
        vm.prank(others);
        if (d.readyAt == 0) vault.askUndelegation(node);
        else vault.undelegate(node, uint128(between(shares, 1, d.shares)));
    }

    function report(uint256 n) external counted {
        vm.prank(hyperNode);
        anomalies.report(id(n % NODES), 1, 0);
    }

    function restored(uint256 n) external counted {
        vm.prank(hyperNode);
        anomalies.restored(id(n % NODES), 0);
    }

    function slash(uint256 n) external counted {
        anomalies.slash(id(n % NODES));
    }

    function book(uint256 n, uint40 duration) external counted {
        uint256 before = token.balanceOf(treasury);
        vm.prank(others);
        bookings.bookNode(id(n % NODES), uint40(between(duration, 1, 180 days)), type(uint256).max);
        margins += token.balanceOf(treasury) - before;
    }

    function settle(uint256 booking) external counted {
        bookings.settle(between(booking, 1, bookings.bookingCount()));
    }

    /// A node that breaks while it is booked, and is not restored in time.
    function walkAway(uint256 n, uint40 duration) external counted {
        bytes32 node = id(n % NODES);
        uint256 part = uint256(vault.lockOf(node).networkPart) * 1e12;
        uint256 before = token.balanceOf(treasury);
        if (!vault.isCovered(node)) {
            uint256 missing = part - vault.pool(node).delegated;
            vm.prank(others);
            vault.delegate(node, uint96(missing), from(1));
        }
        vm.prank(others);
        uint256 booking = bookings.bookNode(node, uint40(between(duration, 2 days, 180 days)), type(uint256).max);
        margins += token.balanceOf(treasury) - before;
        vm.prank(hyperNode);
        anomalies.report(node, 1, 0);
        vm.warp(block.timestamp + 1 days + 1);
        vm.prank(others);
        bookings.cancel(booking);
    }

    function claim(uint256 n, bool ofOwner) external counted {
        if (ofOwner) return vault.claimForOwner(id(n % NODES));
        vm.prank(others);
        vault.claimForDelegator(id(n % NODES));
    }

    function retire(uint256 n) external counted {
        vm.prank(owner);
        nodes.retire(id(n % NODES));
        retired[n % NODES] = true;
    }

    /// Mostly hours, now and then years.
    function wait_(uint256 time, uint8 far) external counted {
        vm.warp(block.timestamp + (far < 8 ? COMMITMENT : between(time, 1, 3 days)));
    }

    function held() external view returns (uint256 vaultParts, uint256 unearned) {
        vaultParts = vault.deposits(owner);
        for (uint256 n = 0; n < NODES; ++n) {
            Vault.Pool memory pool = vault.pool(id(n));
            vaultParts += vault.lockOf(id(n)).own + vault.ownerRewards(id(n)) + pool.delegated + pool.rewards;
        }
        for (uint256 i = 1; i <= bookings.bookingCount(); ++i) {
            Bookings.Booking memory b = bookings.booking(i);
            unearned += b.fee - b.earned;
        }
    }

    function balances() external view returns (uint256, uint256, uint256, uint256) {
        return (
            token.balanceOf(address(vault)),
            token.balanceOf(address(bookings)),
            token.balanceOf(treasury),
            token.balanceOf(owner) + token.balanceOf(others)
        );
    }

    /// What slashes took of owners' own: nothing more than was there, and nothing of a node in order.
    function lost(uint256 n) external view returns (uint256) {
        return retired[n] ? 0 : put[n] - vault.lockOf(id(n)).own;
    }

    function twice() external view returns (bool) {
        uint256 count = bookings.bookingCount();
        for (uint256 i = 1; i <= count; ++i) {
            Bookings.Booking memory a = bookings.booking(i);
            for (uint256 j = i + 1; j <= count; ++j) {
                Bookings.Booking memory b = bookings.booking(j);
                if (a.nodeId == b.nodeId && a.start < b.end && b.start < a.end) return true;
            }
        }
        return false;
    }
}

/// What holds after every call of every sequence.
contract VaultTest is Network {
    Moves private moves;

    function setUp() public {
        moves = new Moves();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(moves);
    }

    function invariant_PartsAreTheBalances() public view {
        (uint256 parts, uint256 unearned) = moves.held();
        (uint256 vaultHas, uint256 bookingsHave, uint256 treasuryHas, uint256 outside) = moves.balances();
        require(parts == vaultHas, "the vault's parts are not its balance");
        require(unearned == bookingsHave, "what is unearned is not the bookings' balance");
        require(vaultHas + bookingsHave + treasuryHas + outside == 2_000_000 * ONE, "tokens came or went");
        require(treasuryHas >= moves.margins(), "margins went elsewhere");
    }

    function invariant_NothingIsSlashedThatIsNotTheTreasurys() public view {
        (,, uint256 treasuryHas,) = moves.balances();
        uint256 lost;
        for (uint256 n = 0; n < 3; ++n) lost += moves.lost(n);
        require(lost <= treasuryHas - moves.margins(), "collateral left by another way than a slash");
    }

    function invariant_NoNodeIsBookedTwice() public view {
        require(!moves.twice(), "booked twice");
    }

    /// Sequences of nothing but refusals would show nothing.
    function afterInvariant() public view {
        require(moves.moved() >= 10, "hardly a move got through");
    }
}

contract DepositTest is Network {
    function setUp() public {
        deployNetwork();
    }

    function testFuzz_WhatIsDepositedComesBackAndNoMore(uint256 amount, uint256 more) public {
        amount = between(amount, 0, token.balanceOf(owner));
        more = between(more, 1, type(uint256).max - amount);
        vm.prank(owner);
        vault.deposit(amount, from(1));
        vm.expectRevert(abi.encodeWithSelector(Vault.NotEnoughDeposit.selector, amount, amount + more));
        vm.prank(owner);
        vault.withdraw(amount + more, owner);
        vm.expectRevert(abi.encodeWithSelector(Vault.NotEnoughDeposit.selector, 0, 1));
        vm.prank(others);
        vault.withdraw(1, others);
        vm.prank(owner);
        vault.withdraw(amount, owner);
        require(token.balanceOf(owner) == 1_000_000 * ONE && token.balanceOf(address(vault)) == 0, "not all of it");
    }

    /// Of a case: nothing in the window, then a tenth for every day begun, a half at most.
    function testFuzz_ASlashIsDueByTheDay(uint256 own, uint256 late) public {
        own = between(own, 60 * ONE, 1000 * ONE);
        late = between(late, 0, 20 days);
        register(0, own, 0);
        vm.prank(hyperNode);
        anomalies.report(id(0), 1, 0);
        vm.warp(START + late);
        if (late <= 1 days) {
            vm.expectRevert();
            anomalies.slash(id(0));
            return;
        }
        anomalies.slash(id(0));
        uint256 steps = (late - 1 days) / 1 days + 1;
        uint256 bps = steps * 1000 > 5000 ? 5000 : steps * 1000;
        uint256 due = own * bps / 10_000;
        require(vault.lockOf(id(0)).own == own - due && token.balanceOf(treasury) == due, "another amount");
    }
}
