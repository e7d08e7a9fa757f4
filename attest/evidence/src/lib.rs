//! Evidence v1: the file a stranger can check.
