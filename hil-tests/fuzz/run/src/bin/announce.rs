//! libFuzzer over the target `announce`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::announce::run(input));
