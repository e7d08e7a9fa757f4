// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// Stands in for ICNT on development chains.  Its deployer mints; on a real network the token is somebody else's.
contract IcntMock is ERC20, ERC20Permit, Ownable {
    constructor() ERC20("ICN Token (development)", "ICNT") ERC20Permit("ICN Token (development)") Ownable(msg.sender) {}

    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }
}
