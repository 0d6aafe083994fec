//! libFuzzer's way into the property `snapshot`.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::snapshot(data));
