//! libFuzzer over the target `dhcp6`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::dhcp6::run(input));
