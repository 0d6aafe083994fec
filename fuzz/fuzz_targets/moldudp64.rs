//! libFuzzer's way into the property `moldudp64`.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::moldudp64(data));
