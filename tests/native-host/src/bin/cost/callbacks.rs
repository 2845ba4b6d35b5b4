//! Envoy's callbacks, which do what they are asked for and no more.

use std::cell::UnsafeCell;
use std::ffi::c_void;

use sentry_filter::abi::{
    attribute, header_type, level, EnvoyBuffer, EnvoyHeader, ModuleBuffer, ModuleHeader, Timing,
};

/// Header lines.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// What there is of Envoy; only the thread of `main` has it.
#[derive(Default)]
pub struct Process {
    /// What the main thread was called for.
    pub scheduled: Vec<u64>,
    /// POSTs that are not answered yet.
    pub under_way: Vec<u64>,
    /// How many POSTs there were.
    pub posts: u64,
    /// How many errors and warnings were logged, but for the one about the bootstrap extension.
    pub refused_log: u32,
}

struct Only(UnsafeCell<Option<Process>>);

// SAFETY: threads of the module do not come near it within the minute that its ticker waits.
unsafe impl Sync for Only {}

static PROCESS: Only = Only(UnsafeCell::new(None));

impl Process {
    /// The only one.
    pub fn get() -> &'static mut Self {
        // SAFETY: one thread, and no reference is kept over a call of a hook.
        unsafe { (*PROCESS.0.get()).get_or_insert_with(Self::default) }
    }

    /// As a configuration of Envoy's.
    pub fn raw() -> *mut c_void {
        PROCESS.0.get().cast()
    }
}

/// One request and its response.
pub struct Stream {
    request: Lines,
    response: Lines,
}

fn lines(of: &[(&str, &str)]) -> Lines {
    of.iter()
        .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
        .collect()
}

impl Stream {
    /// What a browser sends through Envoy, with more lines.
    pub fn new(more: &Lines) -> Self {
        let mut request = lines(&[
            (":authority", "shop.example:10000"),
            (":path", "/api/7?limit=10"),
            (":method", "GET"),
            (":scheme", "http"),
            ("accept", "application/json"),
            ("accept-language", "en-US,en;q=0.5"),
            (
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            ),
            ("cookie", "a=1; b=2"),
            ("x-forwarded-proto", "http"),
            ("x-request-id", "0c3e5d4f-8a53-4c3f-9b36-5a3d7e5f1b2a"),
        ]);
        request.extend(more.iter().cloned());
        let mut response = lines(&[
            (":status", "200"),
            ("content-length", "25"),
            ("content-type", "text/plain"),
            ("date", "Fri, 27 Nov 2026 12:00:00 GMT"),
            ("server", "envoy"),
            ("x-envoy-upstream-service-time", "1"),
        ]);
        if let Some((_, origin)) = request.iter().find(|(name, _)| name == b"origin") {
            response.push((b"access-control-allow-origin".to_vec(), origin.clone()));
        }
        Self { request, response }
    }

    fn map(raw: *mut c_void, kind: u32) -> Option<&'static mut Lines> {
        // SAFETY: the module has the pointer from a hook.
        let stream = unsafe { &mut *raw.cast::<Self>() };
        match kind {
            header_type::REQUEST => Some(&mut stream.request),
            header_type::RESPONSE => Some(&mut stream.response),
            _ => None,
        }
    }
}

/// Bytes as Envoy gives them.
pub fn buffer(bytes: &[u8]) -> EnvoyBuffer {
    EnvoyBuffer {
        ptr: bytes.as_ptr(),
        length: bytes.len(),
    }
}

fn bytes(buffer: ModuleBuffer) -> &'static [u8] {
    if buffer.ptr.is_null() {
        return &[];
    }
    // SAFETY: the module promises so many bytes until the callback returns.
    unsafe { std::slice::from_raw_parts(buffer.ptr, buffer.length) }
}

/// Gives a text, if there is one.
fn give(text: Option<&[u8]>, result: *mut EnvoyBuffer) -> bool {
    if let Some(text) = text {
        // SAFETY: the module promises room for it.
        unsafe { result.write(buffer(text)) };
    }
    text.is_some()
}

/// Declares callbacks by the ends of their names.
macro_rules! callbacks {
    ($(fn $name:ident = $symbol:literal ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {
        $(
            /// As Envoy's ABI says.
            #[unsafe(export_name = $symbol)]
            pub extern "C" fn $name($($argument: $type),*) $(-> $result)? $body
        )*
        /// All of them: what is used is not thrown away by the linker.
        #[used]
        static ALL: &[Pointer] = &[$(Pointer($name as *const c_void)),*];
    };
}

struct Pointer(#[allow(dead_code)] *const c_void);

// SAFETY: it is never followed.
unsafe impl Sync for Pointer {}

callbacks! {
    fn log = "envoy_dynamic_module_callback_log" (severity: u32, line: ModuleBuffer) {
        let is_expected = String::from_utf8_lossy(bytes(line)).contains("bootstrap_extensions");
        if severity >= level::WARN && !is_expected {
            eprintln!("{}", String::from_utf8_lossy(bytes(line)));
            Process::get().refused_log += 1;
        }
    }
    fn get_concurrency = "envoy_dynamic_module_callback_get_concurrency" () -> u32 {
        1
    }
    fn define_counter = "envoy_dynamic_module_callback_http_filter_config_define_counter" (_config: *mut c_void, _name: ModuleBuffer, _labels: *const ModuleBuffer, _count: usize, id: *mut usize) -> u32 {
        // SAFETY: the module promises room for it.
        unsafe { id.write(1) };
        0
    }
    fn define_gauge = "envoy_dynamic_module_callback_http_filter_config_define_gauge" (_config: *mut c_void, _name: ModuleBuffer, _labels: *const ModuleBuffer, _count: usize, id: *mut usize) -> u32 {
        // SAFETY: the module promises room for it.
        unsafe { id.write(1) };
        0
    }
    fn increment_counter = "envoy_dynamic_module_callback_http_filter_config_increment_counter" (_config: *mut c_void, _id: usize, _labels: *const ModuleBuffer, _count: usize, _by: u64) -> u32 {
        0
    }
    fn increment_gauge = "envoy_dynamic_module_callback_http_filter_config_increment_gauge" (_config: *mut c_void, _id: usize, _labels: *const ModuleBuffer, _count: usize, _by: u64) -> u32 {
        0
    }
    fn decrement_gauge = "envoy_dynamic_module_callback_http_filter_config_decrement_gauge" (_config: *mut c_void, _id: usize, _labels: *const ModuleBuffer, _count: usize, _by: u64) -> u32 {
        0
    }
    fn scheduler_new = "envoy_dynamic_module_callback_http_filter_config_scheduler_new" (config: *mut c_void) -> *mut c_void {
        config
    }
    fn scheduler_commit = "envoy_dynamic_module_callback_http_filter_config_scheduler_commit" (_scheduler: *mut c_void, event: u64) {
        Process::get().scheduled.push(event);
    }
    fn scheduler_delete = "envoy_dynamic_module_callback_http_filter_config_scheduler_delete" (_scheduler: *mut c_void) {}
    fn callout = "envoy_dynamic_module_callback_http_filter_config_http_callout" (_config: *mut c_void, id: *mut u64, _cluster: ModuleBuffer, _headers: *const ModuleHeader, _count: usize, _body: ModuleBuffer, _timeout_ms: u64) -> u32 {
        let process = Process::get();
        process.posts += 1;
        process.under_way.push(process.posts);
        // SAFETY: the module promises room for it.
        unsafe { id.write(process.posts) };
        0
    }
    fn worker_index = "envoy_dynamic_module_callback_http_filter_get_worker_index" (_stream: *mut c_void) -> u32 {
        0
    }
    fn headers_size = "envoy_dynamic_module_callback_http_get_headers_size" (stream: *mut c_void, kind: u32) -> usize {
        Stream::map(stream, kind).map_or(0, |lines| lines.len())
    }
    fn get_headers = "envoy_dynamic_module_callback_http_get_headers" (stream: *mut c_void, kind: u32, result: *mut EnvoyHeader) -> bool {
        let Some(lines) = Stream::map(stream, kind) else {
            return false;
        };
        for (place, (name, value)) in lines.iter().enumerate() {
            // SAFETY: the module promises room for as many as it was told of.
            unsafe { result.add(place).write(EnvoyHeader { key: buffer(name), value: buffer(value) }) };
        }
        true
    }
    fn get_header = "envoy_dynamic_module_callback_http_get_header" (stream: *mut c_void, kind: u32, name: ModuleBuffer, result: *mut EnvoyBuffer, index: usize, _count: *mut usize) -> bool {
        let lines = Stream::map(stream, kind);
        let value = lines.and_then(|lines| lines.iter().filter(|(known, _)| known == bytes(name)).nth(index));
        give(value.map(|(_, value)| value.as_slice()), result)
    }
    fn set_header = "envoy_dynamic_module_callback_http_set_header" (stream: *mut c_void, kind: u32, name: ModuleBuffer, value: ModuleBuffer) -> bool {
        let Some(lines) = Stream::map(stream, kind) else {
            return false;
        };
        lines.retain(|(known, _)| known != bytes(name));
        if !value.ptr.is_null() {
            lines.push((bytes(name).into(), bytes(value).into()));
        }
        true
    }
    fn add_header = "envoy_dynamic_module_callback_http_add_header" (stream: *mut c_void, kind: u32, name: ModuleBuffer, value: ModuleBuffer) -> bool {
        let lines = Stream::map(stream, kind);
        lines.is_some_and(|lines| {
            lines.push((bytes(name).into(), bytes(value).into()));
            true
        })
    }
    fn attribute_string = "envoy_dynamic_module_callback_http_filter_get_attribute_string" (_stream: *mut c_void, which: u32, result: *mut EnvoyBuffer) -> bool {
        let text: Option<&[u8]> = match which {
            attribute::REQUEST_PROTOCOL => Some(b"HTTP/1.1"),
            attribute::RESPONSE_CODE_DETAILS => Some(b"via_upstream"),
            attribute::UPSTREAM_ADDRESS => Some(b"10.0.0.7:8080"),
            attribute::SOURCE_ADDRESS => Some(b"192.0.2.1:40000"),
            attribute::ROUTE_NAME => Some(b"/api/{id}"),
            _ => None,
        };
        give(text, result)
    }
    fn attribute_int = "envoy_dynamic_module_callback_http_filter_get_attribute_int" (_stream: *mut c_void, which: u32, result: *mut u64) -> bool {
        let number = match which {
            attribute::RESPONSE_CODE => Some(200),
            attribute::RESPONSE_FLAGS | attribute::REQUEST_SIZE => Some(0),
            attribute::RESPONSE_SIZE => Some(25),
            attribute::UPSTREAM_ATTEMPTS => Some(1),
            _ => None,
        };
        if let Some(number) = number {
            // SAFETY: the module promises room for it.
            unsafe { result.write(number) };
        }
        number.is_some()
    }
    fn cluster_name = "envoy_dynamic_module_callback_http_get_cluster_name" (_stream: *mut c_void, result: *mut EnvoyBuffer) -> bool {
        give(Some(b"upstream"), result)
    }
    fn timing_info = "envoy_dynamic_module_callback_http_get_timing_info" (_stream: *mut c_void, result: *mut Timing) {
        let mut timing = Timing::NONE;
        for (place, (moment, is_known)) in timing.moments.iter_mut().zip(&mut timing.is_known).enumerate() {
            *moment = if place == 0 { 1_800_000_000_000_000_000 } else { 10_000 * place as i64 };
            *is_known = u8::from(!matches!(place, 2 | 3 | 6 | 7 | 8 | 16 | 18));
        }
        // SAFETY: the module promises room for it.
        unsafe { result.write(timing) };
    }
    fn set_filter_state = "envoy_dynamic_module_callback_http_set_filter_state_bytes" (_stream: *mut c_void, _name: ModuleBuffer, _value: ModuleBuffer) -> bool {
        true
    }
    fn metadata_keys_count = "envoy_dynamic_module_callback_http_get_metadata_keys_count" (_stream: *mut c_void, _source: u32, _namespace: ModuleBuffer) -> usize {
        0
    }
    fn route_config = "envoy_dynamic_module_callback_get_most_specific_route_config" (_stream: *mut c_void) -> *const c_void {
        std::ptr::null()
    }
}
