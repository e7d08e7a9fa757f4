//! Builds the discovery UKI and predicts its PCRs.
