//! libFuzzer over the target `wire`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::wire::run(input));
