//! libFuzzer over the target `tftp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::tftp::run(input));
