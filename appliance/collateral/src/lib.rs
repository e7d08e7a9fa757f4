//! What a node must stake, in the contract's own order of rounding.
