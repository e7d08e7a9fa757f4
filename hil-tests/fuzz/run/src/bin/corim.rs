//! libFuzzer over the target `corim`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::corim::run(input));
