//! libFuzzer over the target `evidence`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::evidence::run(input));
