//! The one door to the host. Everything crosses it as bytes, and every call can be refused.
//!
//! The calls go to the ABI's imports and not through `proxy_wasm::hostcalls`, which panics on every
//! status that it did not expect and on texts that are not UTF-8. The status is a plain number
//! here, since a host may answer with one that the SDK's enum does not have.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr;

use log::{Level, LevelFilter, Log, Metadata, Record};
use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::config::EnvDefaults;
use sentry_filter_core::headers::{self, HeaderAddition, HeaderMutation, Headers};
use sentry_filter_core::metrics::MetricKind;
use sentry_filter_core::protobuf::Message;
use sentry_filter_core::transport::Callout;

/// The host's answer to a call that it did not carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// The ABI's status.
    Status(u32),
    /// The call succeeded, but what came back is not what the ABI promises.
    Malformed,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Malformed => f.write_str("malformed data"),
        }
    }
}

impl HostError {
    /// Whether the host does not have such a call at all, and not only now.
    pub fn is_for_good(self) -> bool {
        self == Self::Status(UNIMPLEMENTED)
    }
}

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

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_log(level: u32, data: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_http_call(
        upstream: *const u8,
        upstream_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_ms: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        argument_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_effective_context(context_id: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_done() -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn environ_get(pointers: *mut *mut u8, texts: *mut u8) -> u32;
}

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
pub fn env() -> EnvDefaults {
    let environment = environment().unwrap_or_default();
    let variable = |name: &str| {
        environment
            .iter()
            .filter_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .next()
    };
    EnvDefaults {
        dsn: variable("SENTRY_DSN"),
        environment: variable("SENTRY_ENVIRONMENT"),
        release: variable("SENTRY_RELEASE"),
        traces_sample_rate: variable("SENTRY_TRACES_SAMPLE_RATE"),
        node_id: property(Attribute::NodeId)
            .ok()
            .flatten()
            .map(|id| String::from_utf8_lossy(&id).into_owned()),
    }
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

/// The headers of the answer to a callout; only while it is being delivered. None if the callout
/// failed.
pub fn callout_response_headers() -> Result<Headers, HostError> {
    Ok(header_map(HTTP_CALL_RESPONSE_HEADERS)?.unwrap_or_default())
}

/// The beginning of the answer to a callout; only while it is being delivered.
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
    let number = bytes.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    Ok(number.map(|number| (number, version)))
}

/// Sets a shared number, unless it has another version by now: `false`. Version 0 is any.
pub fn set_shared_number(key: &str, number: u64, version: u32) -> Result<bool, HostError> {
    let value = number.to_le_bytes();
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

/// A value of the stream's filter state; `None` where there is none.
pub fn filter_state(name: &str) -> Result<Option<Vec<u8>>, HostError> {
    returned(|data, size| {
        // SAFETY: the name lives until the call returns, the pointers are valid for the writes that
        // the host makes during the call.
        unsafe { proxy_get_property(name.as_ptr(), name.len(), data, size) }
    })
}

/// Lets a value of filter state live as long as the client's request, so that it outlives internal
/// redirects (Envoy's own function `declare_property`). A host that does not have it has no
/// internal redirects either.
pub fn keep_filter_state(name: &str) -> Result<(), HostError> {
    /// `LifeSpan.DownstreamRequest` of Envoy's `DeclarePropertyArguments`, where `WasmType` has
    /// `Bytes` as 0.
    const DOWNSTREAM_REQUEST: i64 = 1;
    let mut arguments = Message::default();
    arguments
        .bytes(1, name.as_bytes())
        .number(5, DOWNSTREAM_REQUEST);
    match call_by_name("declare_property", &arguments.into_bytes()) {
        Err(refused) if refused.is_for_good() => Ok(()),
        declared => declared.map(|_| ()),
    }
}

/// An attribute of the stream; `None` where the host does not have it.
pub fn property(attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
    let path = attribute.path();
    returned(|data, size| {
        // SAFETY: the path is static, the pointers are valid for the writes that the host makes
        // during the call.
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
            Err(refused) if refused.is_for_good() => Ok(None),
            Err(refused) => Err(refused),
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

/// Makes a callout and returns the token that its answer will have.
pub fn dispatch(callout: &Callout) -> Result<u32, HostError> {
    let Callout {
        cluster,
        headers,
        body,
        timeout_ms,
        segments: _,
        report: _,
    } = callout;
    let headers = headers::serialize(
        headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    );
    let trailers = headers::serialize(std::iter::empty());
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

/// Tells the host that a root context whose `on_done` answered "not yet" has ended.
pub fn done() -> Result<(), HostError> {
    // SAFETY: nothing is passed.
    check(unsafe { proxy_done() })
}

/// A random number; 0 if the host has none.
pub fn random_number() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// Random bytes, fetched for many requests at once: a call to the host costs more than the bytes.
#[derive(Default)]
pub struct Entropy {
    stock: Vec<u8>,
}

impl Entropy {
    const STOCK: usize = 768;

    /// A random number; 0 if the host has none.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        match self.fill(&mut bytes) {
            true => u64::from_le_bytes(bytes),
            false => 0,
        }
    }

    /// Fills a buffer; `false` if the host has no random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) -> bool {
        if self.stock.len() < buffer.len() {
            self.stock.resize(Self::STOCK, 0);
            if getrandom::fill(&mut self.stock).is_err() {
                self.stock.clear();
                return false;
            }
        }
        for byte in buffer {
            let Some(random) = self.stock.pop() else {
                return false;
            };
            *byte = random;
        }
        true
    }
}

/// The lines of a header map; `None` if there are none.
fn header_map(map: u32) -> Result<Option<Headers>, HostError> {
    let bytes = returned(|data, size| {
        // SAFETY: the pointers are valid for the writes that the host makes during the call.
        unsafe { proxy_get_header_map_pairs(map, data, size) }
    })?;
    let headers = Headers::from_serialized(bytes.unwrap_or_default());
    let headers = headers.map_err(|_| HostError::Malformed)?;
    Ok(Some(headers).filter(|headers| !headers.is_empty()))
}

fn check(status: u32) -> Result<(), HostError> {
    match status {
        OK => Ok(()),
        status => Err(HostError::Status(status)),
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
        status => Err(HostError::Status(status)),
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
