//! When the call to the upstream began and ended, from what Envoy tells.
//!
//! Envoy has no attribute for either. It tells two lengths, and this filter sees two moments:
//!
//! ```text
//! request.time  sent_ns         first byte out     answered_ns  last byte in  end of the stream
//!      |-filters-|---- attempts, ----|---- upstream ----|-- body --|- to client -|
//!      |         |     back-off      |     at work      |          |             |
//!                |  cx_pool_ready_   |
//!                |  duration         |
//!                                    |- response.backend_latency --|
//!      |-------------------------- request.duration -----------------------------|
//! ```
//! Measured on 1.40, with the numbers of Envoy's access log (`%COMMON_DURATION%`) beside them:
//!
//! - **A slow upstream** (300 ms): backend latency 304.6 ms of 304.8.
//! - **A slow body** (headers after 100 ms, the rest after 200): backend latency 301.2 ms, so it
//!   ends with the last byte received. **A slow client** makes it longer, too: Envoy stops reading
//!   from the upstream while the client's buffer is full.
//! - **Retries** (three attempts of 100 ms): attempt count 3; backend latency (100.9 ms) and pool
//!   wait are those of the last attempt.
//! - **A connection that fails**: no backend latency; the pool wait is the time until it failed.
//! - **Queueing** for a connection (the only one busy for 300 ms): pool wait 295.5 ms, outside of
//!   the backend latency.
//! - **A response that does not end** (reset by either side, timeout): no backend latency.
//!
//! So a call with one attempt begins when it begins to wait for its connection, one with several
//! when the filter let the request go. It ends with the last byte from the upstream, or with the
//! stream where that never came. The first byte out is not before the request was let go and the
//! connection was there; and since the last byte cannot come before the headers, it is not earlier
//! than the response minus the latency. The later of the two is it: exactly, unless a filter behind
//! this one holds up the request *and* the body goes on after the headers.

use super::interval::Interval;
use super::stream_info::UpstreamInfo;

/// When the call took place, within the times of the stream. `sent_ns` is when the filter let the
/// request go, `answered_ns` when the response's headers came by.
pub fn call(
    stream: Interval,
    sent_ns: Option<u64>,
    answered_ns: Option<u64>,
    end: &UpstreamInfo,
) -> Interval {
    let sent_ns = stream.clamp(sent_ns.unwrap_or(stream.start_ns));
    let Some(latency_ns) = end.latency_ns else {
        return Interval {
            start_ns: sent_ns,
            ..stream
        };
    };
    let pool_wait_ns = end.pool_wait_ns.unwrap_or(0);
    let by_request = sent_ns.saturating_add(pool_wait_ns);
    let by_answer = answered_ns.map_or(0, |answered_ns| answered_ns.saturating_sub(latency_ns));
    let at_latest = stream.end_ns.saturating_sub(latency_ns);
    let first_byte_ns = by_request.max(by_answer).min(at_latest);
    let start_ns = match (end.attempts, end.pool_wait_ns) {
        (0 | 1, Some(pool_wait_ns)) => first_byte_ns.saturating_sub(pool_wait_ns),
        // How long it waited is not known, and a part of the call.
        _ => sent_ns.min(first_byte_ns),
    };
    Interval {
        start_ns: stream.clamp(start_ns),
        end_ns: stream.clamp(first_byte_ns.saturating_add(latency_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In milliseconds after the beginning of the stream: let go, answered, attempts, pool wait,
    /// backend latency; the stream's end; start and end of the call.
    type Row = (
        &'static str,
        (Option<u64>, Option<u64>, u64, Option<u64>, Option<u64>),
        u64,
        (u64, u64),
    );

    #[test]
    fn a_call_is_found_in_its_stream() {
        let rows: [Row; 14] = [
            (
                "slow upstream",
                (Some(1), Some(303), 1, Some(1), Some(301)),
                304,
                (1, 303),
            ),
            (
                "slow body",
                (Some(1), Some(101), 1, Some(0), Some(301)),
                303,
                (1, 302),
            ),
            (
                "queueing",
                (Some(1), Some(598), 1, Some(296), Some(301)),
                599,
                (1, 598),
            ),
            (
                "a filter behind takes 50",
                (Some(1), Some(152), 1, Some(1), Some(100)),
                153,
                (51, 152),
            ),
            (
                "three attempts",
                (Some(1), Some(310), 3, Some(0), Some(100)),
                311,
                (1, 310),
            ),
            (
                "slow client",
                (Some(1), Some(20), 1, Some(0), Some(900)),
                1000,
                (1, 901),
            ),
            (
                "broken off",
                (Some(1), Some(101), 1, Some(0), None),
                300,
                (1, 300),
            ),
            (
                "never connected",
                (Some(1), Some(20), 2, Some(0), None),
                20,
                (1, 20),
            ),
            (
                "waiting that nobody tells",
                (Some(1), Some(303), 1, None, Some(100)),
                304,
                (1, 303),
            ),
            (
                "a clock that was set back, and waiting that nobody tells",
                (Some(900), Some(0), 1, None, Some(100)),
                300,
                (200, 300),
            ),
            (
                "nothing known but the latency",
                (None, None, 1, None, Some(100)),
                300,
                (0, 100),
            ),
            ("nothing known", (None, None, 1, None, None), 300, (0, 300)),
            (
                "a clock that was set back",
                (Some(900), Some(0), 1, Some(1), Some(100)),
                300,
                (199, 300),
            ),
            (
                "a latency that cannot be",
                (Some(1), Some(2), 1, Some(1), Some(9999)),
                300,
                (0, 300),
            ),
        ];
        let base = 1_787_306_400_000;
        let ns = |ms: u64| (base + ms) * 1_000_000;
        for (name, (sent, answered, attempts, pool, latency), end, (start, stop)) in rows {
            let stream = Interval {
                start_ns: ns(0),
                end_ns: ns(end),
            };
            let upstream = UpstreamInfo {
                attempts,
                pool_wait_ns: pool.map(|ms| ms * 1_000_000),
                latency_ns: latency.map(|ms| ms * 1_000_000),
                ..UpstreamInfo::default()
            };
            let found = call(stream, sent.map(ns), answered.map(ns), &upstream);
            let expected = Interval {
                start_ns: ns(start),
                end_ns: ns(stop),
            };
            assert_eq!(found, expected, "{name}");
        }
    }
}
