//! `response::check` on arbitrary bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentry_filter_fuzz::response::check(data));
