// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {QuoteCheck} from "./QuoteCheck.sol";

/// The library behind calls of its own, for tests: what it takes, and what it costs.
contract QuoteProbe {
    function parse(bytes calldata quote, uint24 requiredPcrs) external pure returns (bytes32) {
        return QuoteCheck.qualifyingData(quote, requiredPcrs);
    }

    function check(
        bytes calldata quote,
        bytes32 expected,
        uint24 requiredPcrs,
        bytes32 r,
        bytes32 s,
        bytes32 akX,
        bytes32 akY
    ) external view {
        QuoteCheck.check(quote, expected, requiredPcrs, r, s, akX, akY);
    }
}
