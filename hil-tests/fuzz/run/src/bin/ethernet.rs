//! libFuzzer over the target `ethernet`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::ethernet::run(input));
