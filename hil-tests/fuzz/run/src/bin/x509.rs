//! libFuzzer over the target `x509`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::x509::run(input));
