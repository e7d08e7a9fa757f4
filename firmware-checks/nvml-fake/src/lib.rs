//! A `libnvidia-ml.so` of our own: it plays boards that a YAML file describes, so that what reads GPUs can be tested
//! where there is none.
//!
//! The file's path comes in the environment variable `SCALERFORGE_NVML_FAKE`; `firmware-checks/nvml/boards` has
//! examples.  Values stand once in `device_defaults`, and each entry of `devices` may override them.  `faults` of a
//! device injects what goes wrong: errors that grow with each question, a board that falls off the bus.  A fact that
//! the file does not have is "not supported", as on a board without it.  A second file beside it changes boards over
//! time (`boards`), and instances of boards that are made (`instances`) stand there too.  The library is a `libcuda.so` as well, whose kernels run on the CPU and can go wrong (`cuda`).
//! Nothing here is linked into a product; it is loaded by its path and shares no code with what it tests.

mod boards;
mod calls;
mod cuda;
mod instances;
mod state;
