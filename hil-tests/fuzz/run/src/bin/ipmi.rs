//! libFuzzer over the target `ipmi`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::ipmi::run(input));
