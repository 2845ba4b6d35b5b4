//! The one door to Envoy: what its callbacks do, as safe functions. Every call can fail, and every
//! buffer that comes back can be null.
#![allow(unsafe_code)]

mod config;
mod stream;

use std::sync::OnceLock;
use std::thread::{self, ThreadId};
use std::time::{SystemTime, UNIX_EPOCH};

use log::Level;

use crate::abi::{self, EnvoyBuffer, EnvoyHeader, ModuleBuffer, ModuleHeader};

pub use config::{Bootstrap, Callout, CompletionCallback, ConfigHandle, MetricId, Scheduler};
pub use stream::StreamHandle;

/// Envoy's number of a severity.
pub fn level(severity: Level) -> u32 {
    match severity {
        Level::Error => abi::level::ERROR,
        Level::Warn => abi::level::WARN,
        Level::Info | Level::Debug | Level::Trace => abi::level::INFO,
    }
}

/// Writes a line into Envoy's log, or to standard error where Envoy has no such callback.
pub fn log(level: u32, line: &str) {
    match abi::callbacks().log {
        // SAFETY: the buffer lives until the call returns, and Envoy only reads it.
        Some(log) => unsafe { log(level, ModuleBuffer::new(line.as_bytes())) },
        None => eprintln!("{line}"),
    }
}

/// The time in nanoseconds since the epoch; the epoch if the clock is before it.
#[allow(clippy::disallowed_methods, reason = "this is the host")]
pub fn now_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch
        .ok()
        .and_then(|time| u64::try_from(time.as_nanos()).ok())
        .unwrap_or_default()
}

/// Fills a buffer with random bytes; `false` if the system has none.
pub fn fill_random(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

static MAIN_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// Notes that this is Envoy's main thread, which alone may make callouts.
pub fn set_main_thread() {
    MAIN_THREAD.get_or_init(|| thread::current().id());
}

/// Whether this is Envoy's main thread.
pub fn is_main_thread() -> bool {
    MAIN_THREAD.get() == Some(&thread::current().id())
}

/// How many workers Envoy has; one if it does not say.
pub fn concurrency() -> usize {
    // SAFETY: a plain number, asked for on the main thread.
    let count = abi::callbacks()
        .get_concurrency
        .map(|count| unsafe { count() });
    count
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(1)
        .max(1)
}

/// Whether Envoy tells the moments of a stream (1.40).
pub fn tells_times() -> bool {
    abi::callbacks().http_get_timing_info.is_some()
}

/// Whether Envoy only checks its configuration.
pub fn only_validates() -> bool {
    let callback = abi::callbacks().is_validation_mode;
    // SAFETY: a plain flag, asked for on the main thread.
    callback.is_some_and(|only_validates| unsafe { only_validates() })
}

/// The bytes of a buffer of Envoy's.
///
/// # Safety
/// Envoy has given the buffer in the hook that is running, and nothing was changed since.
pub unsafe fn bytes<'a>(buffer: EnvoyBuffer) -> &'a [u8] {
    match isize::try_from(buffer.length) {
        // SAFETY: so many bytes are there, and they stay until the hook returns.
        Ok(length) if length > 0 && !buffer.ptr.is_null() => unsafe {
            std::slice::from_raw_parts(buffer.ptr, buffer.length)
        },
        _ => &[],
    }
}

/// The values of an array of Envoy's.
///
/// # Safety
/// Envoy has given the array in the hook that is running.
pub unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
    match first.is_null() || count == 0 {
        true => &[],
        // SAFETY: so many values are there, and they stay until the hook returns.
        false => unsafe { std::slice::from_raw_parts(first, count) },
    }
}

/// Name and value of a line of Envoy's.
///
/// # Safety
/// As for [`bytes`].
pub unsafe fn line<'a>(header: &EnvoyHeader) -> (&'a [u8], &'a [u8]) {
    // SAFETY: the caller promises it.
    unsafe { (bytes(header.key), bytes(header.value)) }
}

fn module_header((name, value): (&[u8], &[u8])) -> ModuleHeader {
    ModuleHeader {
        key: ModuleBuffer::new(name),
        value: ModuleBuffer::new(value),
    }
}

/// Envoy's numbers of the metrics, in the order of [`Metric::all`].
pub type MetricIds = Vec<Option<MetricId>>;
