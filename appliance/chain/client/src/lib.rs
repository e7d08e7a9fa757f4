//! Reads terms from a chain and registers ScalerNodes on it.
