//! libFuzzer over the target `dhcp4`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| hil_tests_fuzz::targets::dhcp4::run(input));
