//! libFuzzer over the target `publication`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::publication::run(input));
