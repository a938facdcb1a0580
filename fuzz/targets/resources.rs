#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bcs_fuzz::resources(input));
