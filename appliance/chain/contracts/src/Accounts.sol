// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// The part of Permit2 that is used.
interface IPermit2 {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    function permitTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes calldata signature
    ) external;
}

/// Owners' deposits, and what their operators may do with them.
///
/// The owner (a Safe, a hardware wallet) deposits once and alone gets anything back.  An operator (the key in the
/// appliance) may only register nodes against the deposit and retire them, so many a day; collateral that comes free
/// goes back to the owner's deposit whoever retires the node.
abstract contract Accounts {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// Where tokens come from.
    enum Source {
        /// The owner's deposit.
        Deposit,
        /// An approval that the owner has given to this contract.
        Approval,
        /// EIP-2612, where the token has it.
        Permit,
        /// Uniswap's Permit2, where the token or the owner has approved that.
        Permit2
    }

    struct Payment {
        Source source;
        /// Of Permit2.
        uint256 nonce;
        /// Of the permit.
        uint256 deadline;
        /// r, s and v of the permit; whatever Permit2 takes.
        bytes signature;
    }

    /// What an operator may do in one day (UTC), and has done.  One word.
    struct Grant {
        bool enabled;
        uint16 registrationsPerDay;
        uint16 retirementsPerDay;
        /// In thousandths of a whole token; what is used counts rounded up.
        uint56 collateralPerDay;
        uint32 day;
        uint16 registrations;
        uint16 retirements;
        uint56 collateral;
    }

    error NotTheOwner(address caller, address owner);
    error NotAnOperator(address caller, address owner);
    error NotTheRegistry(address caller);
    error DailyLimit(string what, uint256 used, uint256 limit);
    error NotEnoughDeposit(uint256 available, uint256 needed);
    error PermitSignatureLength(uint256 given);

    event Deposited(address indexed owner, uint256 amount);
    event Withdrawn(address indexed owner, address to, uint256 amount);
    event OperatorSet(address indexed owner, address indexed operator, Grant grant);

    uint256 private constant MILLITOKEN = 1e15;

    IERC20 public immutable token;
    IPermit2 public immutable permit2;
    address public immutable registry;

    mapping(address owner => uint256) public deposits;
    mapping(address owner => mapping(address operator => Grant)) private _grants;

    constructor(IERC20 token_, IPermit2 permit2_, address registry_) {
        token = token_;
        permit2 = permit2_;
        registry = registry_;
    }

    modifier onlyRegistry() {
        if (msg.sender != registry) revert NotTheRegistry(msg.sender);
        _;
    }

    function deposit(uint256 amount, Payment calldata payment) external {
        deposits[msg.sender] += amount;
        emit Deposited(msg.sender, amount);
        _pull(msg.sender, amount, payment);
    }

    function withdraw(uint256 amount, address to) external {
        _takeDeposit(msg.sender, amount);
        emit Withdrawn(msg.sender, to, amount);
        token.safeTransfer(to, amount);
    }

    /// Lets `operator` act for the sender within these limits, or no longer.  What it did today stays counted.
    function setOperator(
        address operator,
        bool enabled,
        uint16 registrationsPerDay,
        uint16 retirementsPerDay,
        uint56 collateralPerDay
    ) external {
        Grant storage g = _grants[msg.sender][operator];
        g.enabled = enabled;
        g.registrationsPerDay = registrationsPerDay;
        g.retirementsPerDay = retirementsPerDay;
        g.collateralPerDay = collateralPerDay;
        emit OperatorSet(msg.sender, operator, g);
    }

    function grant(address owner, address operator) external view returns (Grant memory) {
        return _grants[owner][operator];
    }

    /// Whether `caller` is the owner or one of its operators.
    function mayAct(address owner, address caller) external view returns (bool) {
        return caller == owner || _grants[owner][caller].enabled;
    }

    /// Counts a registration of `amount` against the operator's day.
    function _spend(address owner, address operator, uint256 amount) internal {
        Grant memory g = _today(owner, operator);
        uint256 registrations = uint256(g.registrations) + 1;
        if (registrations > g.registrationsPerDay) {
            revert DailyLimit("registrations", registrations, g.registrationsPerDay);
        }
        uint256 collateral = g.collateral + (amount + MILLITOKEN - 1) / MILLITOKEN;
        if (collateral > g.collateralPerDay) revert DailyLimit("collateral", collateral, g.collateralPerDay);
        (g.registrations, g.collateral) = (uint16(registrations), uint56(collateral));
        _grants[owner][operator] = g;
    }

    /// Counts a retirement against the operator's day.
    function _countRetirement(address owner, address operator) internal {
        Grant memory g = _today(owner, operator);
        uint256 retirements = uint256(g.retirements) + 1;
        if (retirements > g.retirementsPerDay) revert DailyLimit("retirements", retirements, g.retirementsPerDay);
        g.retirements = uint16(retirements);
        _grants[owner][operator] = g;
    }

    function _takeDeposit(address owner, uint256 amount) internal {
        uint256 available = deposits[owner];
        if (available < amount) revert NotEnoughDeposit(available, amount);
        deposits[owner] = available - amount;
    }

    /// Brings `amount` from `payer` into this contract, out of its deposit or from outside.
    function _take(address payer, uint256 amount, Payment calldata payment) internal {
        if (payment.source == Source.Deposit) _takeDeposit(payer, amount);
        else _pull(payer, amount, payment);
    }

    function _pull(address payer, uint256 amount, Payment calldata payment) private {
        if (payment.source == Source.Permit2) {
            permit2.permitTransferFrom(
                IPermit2.PermitTransferFrom(
                    IPermit2.TokenPermissions(address(token), amount), payment.nonce, payment.deadline
                ),
                IPermit2.SignatureTransferDetails(address(this), amount),
                payer,
                payment.signature
            );
            return;
        }
        if (payment.source == Source.Permit) _permit(payer, amount, payment);
        token.safeTransferFrom(payer, address(this), amount);
    }

    /// A permit that fails does no harm: somebody may have sent it ahead, and then the approval is there.
    function _permit(address payer, uint256 amount, Payment calldata payment) private {
        bytes calldata signature = payment.signature;
        if (signature.length != 65) revert PermitSignatureLength(signature.length);
        try IERC20Permit(address(token)).permit(
            payer,
            address(this),
            amount,
            payment.deadline,
            uint8(signature[64]),
            bytes32(signature[0:32]),
            bytes32(signature[32:64])
        ) {} catch {}
    }

    function _today(address owner, address operator) private view returns (Grant memory g) {
        g = _grants[owner][operator];
        if (!g.enabled) revert NotAnOperator(operator, owner);
        uint32 day = uint32(block.timestamp / 1 days);
        if (g.day != day) (g.day, g.registrations, g.retirements, g.collateral) = (day, 0, 0, 0);
    }
}
