// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IPermit2} from "./Accounts.sol";

/// Stands in for Permit2 on chains that have none: the one call that is used, with Permit2's own types, so that what is
/// signed for the real one differs in nothing but the domain's address.
contract Permit2Mock is EIP712, IPermit2 {
    using SafeERC20 for IERC20;

    error Expired(uint256 deadline);
    error AboveAllowed(uint256 max);
    error NonceUsed(uint256 nonce);
    error WrongSignature();

    bytes32 private constant TOKEN_TYPEHASH = keccak256("TokenPermissions(address token,uint256 amount)");
    bytes32 private constant TRANSFER_TYPEHASH = keccak256(
        "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)"
    );

    mapping(address owner => mapping(uint256 nonce => bool)) public used;

    // Permit2's domain has no version; OpenZeppelin's always has one, and on a development chain that is no matter.
    constructor() EIP712("Permit2", "1") {}

    function permitTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes calldata signature
    ) external {
        if (block.timestamp > permit.deadline) revert Expired(permit.deadline);
        if (transferDetails.requestedAmount > permit.permitted.amount) revert AboveAllowed(permit.permitted.amount);
        if (used[owner][permit.nonce]) revert NonceUsed(permit.nonce);
        used[owner][permit.nonce] = true;
        bytes32 permitted = keccak256(abi.encode(TOKEN_TYPEHASH, permit.permitted));
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(TRANSFER_TYPEHASH, permitted, msg.sender, permit.nonce, permit.deadline))
        );
        if (!SignatureChecker.isValidSignatureNow(owner, digest, signature)) revert WrongSignature();
        IERC20(permit.permitted.token).safeTransferFrom(owner, transferDetails.to, transferDetails.requestedAmount);
    }
}
