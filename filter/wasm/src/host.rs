//! The one door to the host. Everything crosses it as bytes, and every call can be refused.
//!
//! The calls go to the ABI's imports and not through `proxy_wasm::hostcalls`, which panics on every
//! status that it did not expect and on texts that are not UTF-8. The status is a plain number
//! here, since a host may give one that the SDK's enum does not have.
#![allow(unsafe_code)]

mod imports;

use std::ptr;

use log::{Level, LevelFilter, Log, Metadata, Record};
use sentry_filter_codec::{attributes, header_map, lifetime, shared_number};
use sentry_filter_core::config::EnvDefaults;
use sentry_filter_core::export::callout::Callout;
use sentry_filter_core::export::metrics::MetricKind;
use sentry_filter_core::headers::{HeaderAddition, HeaderMutation, Headers};
use sentry_filter_core::host::HostError;

use imports::*;

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const CAS_MISMATCH: u32 = 8;
const UNIMPLEMENTED: u32 = 12;

// The ABI's `MapType` and `BufferType`.
const HTTP_REQUEST_HEADERS: u32 = 0;
const HTTP_RESPONSE_HEADERS: u32 = 2;
const HTTP_CALL_RESPONSE_HEADERS: u32 = 6;
const HTTP_CALL_RESPONSE_BODY: u32 = 4;
const PLUGIN_CONFIGURATION: u32 = 7;

/// More variables than anybody passes to a VM.
const MAX_VARIABLES: usize = 4_096;
/// More bytes than anybody passes to a VM.
const MAX_ENVIRONMENT: usize = 1 << 20;

/// The time in nanoseconds since the epoch.
pub fn now_ns() -> Result<u64, HostError> {
    let mut time = 0;
    // SAFETY: the pointer is valid for the one write that the host makes during the call.
    check(unsafe { proxy_get_current_time_nanoseconds(&mut time) })?;
    Ok(time)
}

/// Asks for ticks of the root context.
pub fn set_tick_period_ms(period: u32) -> Result<(), HostError> {
    // SAFETY: plain numbers.
    check(unsafe { proxy_set_tick_period_milliseconds(period) })
}

/// The bytes of the plugin configuration; none if there is none.
pub fn plugin_configuration() -> Result<Vec<u8>, HostError> {
    let bytes = returned(|data, size| {
        // SAFETY: the pointers are valid for the writes that the host makes during the call.
        unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, data, size) }
    })?;
    Ok(bytes.unwrap_or_default())
}

/// The environment variables of the VM and the node, as far as the filter is interested.
pub fn env_defaults() -> EnvDefaults {
    let environment = environment().unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let variable = |name: &str| {
        let mut values = environment
            .iter()
            .filter_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        values.next().map(text)
    };
    let node_id = property(attributes::NODE_ID).ok().flatten();
    EnvDefaults::read(variable, node_id.as_deref().map(text))
}

/// The environment of the VM, each variable as `name=value`. The standard library is of no use
/// here: it ends the process, and with it the VM, if the host refuses.
fn environment() -> Result<Vec<Vec<u8>>, HostError> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: both numbers are valid for the one write that the host makes.
    check(unsafe { environ_sizes_get(&mut count, &mut size) })?;
    if count > MAX_VARIABLES || size > MAX_ENVIRONMENT {
        return Err(HostError::Malformed);
    }
    let mut pointers = vec![ptr::null_mut(); count];
    let mut texts = vec![0; size];
    // SAFETY: the host writes as many pointers and bytes as it said it would.
    check(unsafe { environ_get(pointers.as_mut_ptr(), texts.as_mut_ptr()) })?;
    // The pointers lead to the starts of the texts; the NUL behind each text says the same.
    Ok(texts.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

/// The request's headers, in one call. No request is without any: none are some that could not be
/// read.
pub fn request_headers() -> Result<Headers, HostError> {
    header_map(HTTP_REQUEST_HEADERS)?.ok_or(HostError::Malformed)
}

/// The response's headers, in one call; `None` where there is no response.
pub fn response_headers() -> Result<Option<Headers>, HostError> {
    header_map(HTTP_RESPONSE_HEADERS)
}

/// Whether the response has a header. Where it has none, this costs a tenth of reading them all.
pub fn has_response_header(name: &str) -> Result<bool, HostError> {
    let value = returned(|data, size| {
        // SAFETY: the name lives until the call returns, the pointers are valid for the writes that
        // the host makes during the call.
        unsafe {
            proxy_get_header_map_value(HTTP_RESPONSE_HEADERS, name.as_ptr(), name.len(), data, size)
        }
    })?;
    Ok(value.is_some())
}

/// The headers of the response to a callout; only while it is being delivered. None if the callout
/// failed.
pub fn callout_response_headers() -> Result<Headers, HostError> {
    Ok(header_map(HTTP_CALL_RESPONSE_HEADERS)?.unwrap_or_default())
}

/// The beginning of the response to a callout; only while it is being delivered.
pub fn callout_response_body(max_size: usize) -> Result<Vec<u8>, HostError> {
    let bytes = returned(|data, size| {
        // SAFETY: the pointers are valid for the writes that the host makes during the call.
        unsafe { proxy_get_buffer_bytes(HTTP_CALL_RESPONSE_BODY, 0, max_size, data, size) }
    })?;
    Ok(bytes.unwrap_or_default())
}

/// A number that all workers share, and which of its versions that is; none if nobody has set it.
pub fn shared_number(key: &str) -> Result<Option<(u64, u32)>, HostError> {
    let mut version = 0;
    let bytes = returned(|data, size| {
        // SAFETY: the key lives until the call returns, the pointers are valid for the writes that
        // the host makes during the call.
        unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut version) }
    })?;
    let number = bytes.and_then(|bytes| shared_number::read(&bytes));
    Ok(number.map(|number| (number, version)))
}

/// Sets a shared number, unless it has another version by now: `false`. Version 0 is any.
pub fn set_shared_number(key: &str, number: u64, version: u32) -> Result<bool, HostError> {
    let value = shared_number::write(number);
    // SAFETY: both slices live until the call returns, and the host only reads them.
    let status = unsafe {
        proxy_set_shared_data(
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
            version,
        )
    };
    match status {
        CAS_MISMATCH => Ok(false),
        status => check(status).map(|()| true),
    }
}

/// Makes the calls that follow in this callback those of another context: callouts of a stream
/// would end with it.
pub fn set_effective_context(context_id: u32) -> Result<(), HostError> {
    // SAFETY: a plain number.
    check(unsafe { proxy_set_effective_context(context_id) })
}

/// Changes the request's headers; only while they are being delivered.
pub fn mutate_request_headers(mutation: &HeaderMutation) -> Result<(), HostError> {
    let map = HTTP_REQUEST_HEADERS;
    match mutation {
        // SAFETY: both slices live until the call returns, and the host only reads them.
        HeaderMutation::Set { name, value } => check(unsafe {
            proxy_replace_header_map_value(
                map,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        }),
        // SAFETY: as above.
        HeaderMutation::Remove { name } => {
            check(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
        }
    }
}

/// Adds a line to the response's headers; only while they are being delivered.
pub fn add_response_header(addition: &HeaderAddition) -> Result<(), HostError> {
    let HeaderAddition { name, value } = addition;
    // SAFETY: both slices live until the call returns, and the host only reads them.
    check(unsafe {
        proxy_add_header_map_value(
            HTTP_RESPONSE_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Puts a value into the stream's filter state, where access logs find it.
pub fn set_filter_state(name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: both slices live until the call returns, and the host only reads them.
    check(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Lets a value of filter state live as long as the client's request, so that it outlives internal
/// redirects. A host that does not have this has no internal redirects either.
pub fn keep_filter_state(name: &str) -> Result<(), HostError> {
    match call_by_name(lifetime::FUNCTION, &lifetime::of_request(name)) {
        Err(HostError::Unavailable) => Ok(()),
        declared => declared.map(|_| ()),
    }
}

/// A property by its path: an attribute of the stream, or a value of its filter state; `None` where
/// the host does not have it.
pub fn property(path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
    returned(|data, size| {
        // SAFETY: the path lives until the call returns, the pointers are valid for the writes that
        // the host makes during the call.
        unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }
    })
}

/// An expression over attributes that Envoy has read, by its token (its own functions
/// `expr_create`, `expr_evaluate` and `expr_delete`).
#[derive(Debug)]
pub struct Expression([u8; 4]);

impl Expression {
    /// Gives a host an expression to read; `None` if it does not have such.
    pub fn create(text: &str) -> Result<Option<Self>, HostError> {
        match call_by_name("expr_create", text.as_bytes()) {
            Ok(token) => token
                .map(|token| token.try_into().map(Self))
                .transpose()
                .map_err(|_| HostError::Malformed),
            Err(HostError::Unavailable) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its value for the current stream; `None` where something in it is not there.
    pub fn evaluate(&self) -> Option<Vec<u8>> {
        call_by_name("expr_evaluate", &self.0).ok().flatten()
    }

    /// Gives it back: a VM may see many configurations.
    pub fn delete(self) {
        // Whatever the host says, it is not asked for again.
        let _ = call_by_name("expr_delete", &self.0);
    }
}

/// Calls a function that a host adds to the ABI; `None` if there is none of that name.
fn call_by_name(name: &str, argument: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
    returned(|data, size| {
        // SAFETY: name and argument live until the call returns, the pointers are valid for the
        // writes that the host makes during the call.
        unsafe {
            proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                argument.as_ptr(),
                argument.len(),
                data,
                size,
            )
        }
    })
}

/// Makes a callout and returns the token that its response will have.
pub fn dispatch(callout: &Callout) -> Result<u32, HostError> {
    let Callout {
        project: _,
        cluster,
        headers,
        body,
        timeout_ms,
        segments: _,
        report: _,
    } = callout;
    let headers = header_map::write(
        headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    );
    let trailers = header_map::write(std::iter::empty());
    let mut token = 0;
    // SAFETY: all slices live until the call returns and the host only reads them; the token is
    // valid for the one write it makes.
    check(unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            *timeout_ms,
            &mut token,
        )
    })?;
    Ok(token)
}

/// Defines a metric, or finds the one that another worker has defined, and returns its id.
pub fn define_metric(name: &str, kind: MetricKind) -> Result<u32, HostError> {
    let kind = match kind {
        MetricKind::Counter => 0,
        MetricKind::Gauge => 1,
    };
    let mut id = 0;
    // SAFETY: the name lives until the call returns; the id is valid for the one write that the
    // host makes.
    check(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) })?;
    Ok(id)
}

/// Adds to a metric. All workers share it, so a gauge is changed, never set.
pub fn change_metric(id: u32, change: i64) -> Result<(), HostError> {
    // SAFETY: plain numbers.
    check(unsafe { proxy_increment_metric(id, change) })
}

/// Tells the host that a root context whose `on_done` said "not yet" has ended.
pub fn done() -> Result<(), HostError> {
    // SAFETY: nothing is passed.
    check(unsafe { proxy_done() })
}

/// Fills a buffer with random bytes.
pub fn fill_random(buffer: &mut [u8]) -> Result<(), HostError> {
    getrandom::fill(buffer).map_err(|_| HostError::Malformed)
}

/// The lines of a header map; `None` if there are none.
fn header_map(map: u32) -> Result<Option<Headers>, HostError> {
    let bytes = returned(|data, size| {
        // SAFETY: the pointers are valid for the writes that the host makes during the call.
        unsafe { proxy_get_header_map_pairs(map, data, size) }
    })?;
    let headers = header_map::read(bytes.unwrap_or_default());
    let headers = headers.map_err(|_| HostError::Malformed)?;
    Ok(Some(headers).filter(|headers| !headers.is_empty()))
}

fn refused(status: u32) -> HostError {
    match status {
        UNIMPLEMENTED => HostError::Unavailable,
        status => HostError::Refused(status),
    }
}

fn check(status: u32) -> Result<(), HostError> {
    match status {
        OK => Ok(()),
        status => Err(refused(status)),
    }
}

/// Takes what the host wrote into memory that it had allocated in this module.
fn returned(
    call: impl FnOnce(*mut *mut u8, *mut usize) -> u32,
) -> Result<Option<Vec<u8>>, HostError> {
    let mut data = ptr::null_mut();
    let mut size = 0;
    match call(&mut data, &mut size) {
        OK if data.is_null() || size == 0 => Ok(Some(Vec::new())),
        // SAFETY: the host got this memory from `proxy_on_memory_allocate` (the SDK's allocator),
        // which gives it away as a boxed slice of exactly this size.
        OK => Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) })),
        NOT_FOUND => Ok(None),
        status => Err(refused(status)),
    }
}

/// Sends what is logged, and what a panic would say, to the host. The SDK's own logger panics if
/// the host refuses a line.
pub fn install_logger() {
    if log::set_logger(&HostLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    std::panic::set_hook(Box::new(|panic| write_log(5, &panic.to_string())));
}

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        write_log(level, &record.args().to_string());
    }

    fn flush(&self) {}
}

fn write_log(level: u32, message: &str) {
    // A log line that is refused has nowhere else to go.
    // SAFETY: the message lives until the call returns, and the host only reads it.
    let _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}
