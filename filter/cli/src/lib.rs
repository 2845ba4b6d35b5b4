//! What `sentry-filter` does.

pub mod schema;
