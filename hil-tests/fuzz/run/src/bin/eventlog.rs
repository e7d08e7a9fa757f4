//! libFuzzer over the target `eventlog`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::eventlog::run(input));
