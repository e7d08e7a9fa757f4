// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A mock of the tokens that answer `false` where others revert, for tests and for nothing else: it has balances, and moves
/// nothing.
contract TokenSaysNoMock is ERC20 {
    bool private immutable approves;

    constructor(address rich, uint256 amount, bool approves_) ERC20("No", "NO") {
        approves = approves_;
        _mint(rich, amount);
    }

    function approve(address spender, uint256 amount) public override returns (bool) {
        if (!approves) return false;
        return super.approve(spender, amount);
    }

    function transfer(address, uint256) public pure override returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}
