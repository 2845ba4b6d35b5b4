//! The way of what was recorded to Sentry: what waits, what is under way, and what the responses
//! mean. [`crate::exporter::Exporter`] puts the parts together.

pub mod backoff;
pub mod callout;
pub mod delivery;
pub mod failure;
pub mod in_flight;
pub mod metrics;
pub mod queue;
pub mod rate_limit;
pub mod shared_limit;
pub mod transport;
