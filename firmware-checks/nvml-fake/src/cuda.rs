//! A `libcuda.so` of our own, in the same file as the library for management: GPUs whose kernels run on the CPU.
//!
//! A GPU's section `cuda` says what memory it has and what goes wrong: `wrong_value` (the first value that a launch of a
//! kernel stores), `stuck_bit` (in its memory), `wrong_copy` (to the host), `fails_after_launches`,
//! `hangs_after_launches`.  `under_load` is what its management library shows from its first kernel on, `rising` what it
//! adds each time somebody waits for it, `kernel_log` what the kernel then logs.

mod calls;
mod memory;
mod parse;
mod run;
mod state;
