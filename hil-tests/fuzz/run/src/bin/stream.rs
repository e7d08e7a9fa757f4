//! libFuzzer over the target `stream`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::stream::run(input));
