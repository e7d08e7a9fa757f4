//! ICN's registry at the wire, as far as it is known: what is read, what is sent, what it says when it refuses.
//!
//! Written down from the public description of its structs and errors.  The selector of the registration is not part of
//! it: nobody has published that, so it is configured.  Enums are bare `uint8`: a value that is new to us is a sentence,
//! not a failure to decode.

#![allow(missing_docs, reason = "a macro's output; the names are ICN's")]

use alloy::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
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

    #[derive(Debug, PartialEq, Eq)]
    struct Booked {
        uint256 price;
        uint256 start;
        uint256 period;
    }

    /// A node of version 5.0.3.
    #[derive(Debug, PartialEq, Eq)]
    struct NodeWithBookings {
        uint256 status;
        uint256 creationDate;
        string name;
        uint256 totalCapacity;
        uint256 utilizedCapacity;
        uint256 hpId;
        uint256 location;
        string clusterId;
        uint256 reservationPrice;
        uint256 priceUnused;
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
        Booked[2] bookings;
        uint256 spId;
    }

    /// A node of the version that other people's interfaces have.
    #[derive(Debug, PartialEq, Eq)]
    struct NodeWithoutBookings {
        uint256 status;
        uint256 creationDate;
        string name;
        uint256 totalCapacity;
        uint256 utilizedCapacity;
        uint256 hpId;
        uint256 location;
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
        uint256 startBookingPeriod;
        uint256 bookingPeriod;
        uint256 spId;
    }

    #[derive(Debug, PartialEq, Eq)]
    interface Icn {
        function getScalerNode(uint256 scalerNodeId) external view;
        function getProtocolScalerNodeStatus(uint256 scalerNodeId) external view returns (uint256);
        function getNodeTotalDelegatedICNT(uint256 nodeId) external view returns (uint256);

        error ICNRegistryAlreadyInitialized();
        error ICNRegistryInvalidParams();
        error ICNRegistryInvalidLength();
        error ICNRegistryUnauthorizedAccount(address actualCaller, address expectedCaller);
        error InvalidName(uint256 actual, uint256 min, uint256 max);
        error InvalidRegion();
        error InvalidTargetCapacity();
        error InvalidCollateralReq();
        error InvalidReleaseScheduleEndTimestamp();
        error InvalidCluster();
        error InvalidHP();
        error InvalidSP();
        error InvalidScalerNode();
        error InvalidHyperNode();
        error InvalidCommitmentDuration();
        error TooManyNodes();
        error InvalidCaller();
        error HardwareClassMismatch();
        error NotEnoughCollateral();
        error HwClassAlreadyRegistered();
        error InvalidHwClass();
        error InvalidCapacity();
        error InvalidReason();
        error InvalidMinCollateralPercent(uint256 actual, uint256 min, uint256 max);
        error InvalidMarketAdjustmentFactor();
        error InvalidProtocolMargin();
        error InvalidDaemonAddress();
        error DuplicatePublicKey(address publicKey);
        error InvalidCollateralAmount();
        error InvalidReservationPrice();
        error InvalidNodeRewardShare();
        error TooManyScalerNodes();
        error UtilizedCapacityNotNull();
    }

    /// What ICNT says of itself.
    interface Token {
        function balanceOf(address account) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function decimals() external view returns (uint8);
        function approve(address spender, uint256 amount) external returns (bool);
        function transfer(address to, uint256 amount) external returns (bool);
    }
}
