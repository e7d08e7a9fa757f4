//! libFuzzer over the target `binding`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::binding::run(input));
