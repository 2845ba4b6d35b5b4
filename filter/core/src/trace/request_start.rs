//! `X-Request-Start`: when the gateway got the request, for the time in queue that Sentry's SDKs
//! show (docs/spec/sentry-protocol.md §12.4).
//!
//! ```text
//! X-Request-Start: t=1787306400.012345
//! ```

use crate::headers::{HeaderMutation, X_REQUEST_START};

/// The header for a request that began at `start_ns`, in nanoseconds since the epoch. Without a
/// clock there is none, and one that has arrived goes.
pub fn mutation(start_ns: u64, has_arrived: bool) -> Option<HeaderMutation> {
    let us = start_ns.checked_div(1_000).unwrap_or_default();
    let name = X_REQUEST_START;
    if us == 0 {
        return has_arrived.then_some(HeaderMutation::Remove { name });
    }
    let (seconds, rest) = (us.checked_div(1_000_000)?, us.checked_rem(1_000_000)?);
    let value = format!("t={seconds}.{rest:06}").into_bytes();
    Some(HeaderMutation::Set { name, value })
}
