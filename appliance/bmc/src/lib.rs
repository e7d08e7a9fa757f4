//! Speaks to management controllers by Redfish.
