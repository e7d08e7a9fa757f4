// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// ICNT as it would be without EIP-2612, for development chains and tests: only approvals and Permit2 are left.
contract IcntPlainMock is ERC20, Ownable {
    constructor() ERC20("ICN Token (development, plain)", "ICNT") Ownable(msg.sender) {}

    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }
}
