//! One request.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::Ordering;

use sentry_filter::abi::{attribute, EnvoyBuffer, Moment, Timing};
use sentry_filter::hooks::http;

use crate::config::Config;

/// A value of a route's metadata.
#[derive(Debug, Clone)]
pub enum Metadata {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A flag.
    Flag(bool),
}

/// Header lines.
pub(crate) type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// A stream: what Envoy knows about it, and the module's object for it.
pub struct Stream {
    /// The worker it belongs to.
    pub worker: u32,
    pub(crate) request: Option<Lines>,
    pub(crate) response: Option<Lines>,
    /// Attributes that are numbers.
    pub numbers: HashMap<u32, u64>,
    /// Attributes that are texts.
    pub texts: HashMap<u32, Vec<u8>>,
    /// The cluster.
    pub cluster: Option<Vec<u8>>,
    /// The moments.
    pub timing: Timing,
    /// What is in the filter state.
    pub filter_state: HashMap<String, Vec<u8>>,
    /// The route's metadata.
    pub metadata: HashMap<String, Metadata>,
    pub(crate) route_config: *const c_void,
    /// How often the route was matched again.
    pub route_clears: u32,
    pub(crate) module: *const c_void,
}

fn lines(pairs: &[(&str, &str)]) -> Lines {
    let bytes = |text: &str| text.as_bytes().to_vec();
    pairs
        .iter()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect()
}

impl Stream {
    /// A stream of a worker. It stays where it is, since the module knows its place.
    pub fn new(config: Config, worker: u32) -> Box<Self> {
        let mut timing = Timing::NONE;
        let known = [
            (Moment::Start, 1_787_306_400_000_000_000),
            (Moment::DownstreamLastSent, 5_000_000),
            (Moment::UpstreamFirstSent, 1_000_000),
            (Moment::UpstreamLastReceived, 4_000_000),
        ];
        for (moment, ns) in known {
            timing.moments[moment as usize] = ns;
            timing.is_known[moment as usize] = 1;
        }
        let mut stream = Box::new(Self {
            worker,
            request: None,
            response: None,
            numbers: HashMap::from([(attribute::RESPONSE_CODE, 200)]),
            texts: HashMap::from([
                (attribute::REQUEST_PROTOCOL, b"HTTP/1.1".to_vec()),
                (attribute::UPSTREAM_ADDRESS, b"10.0.0.1:80".to_vec()),
                (attribute::RESPONSE_CODE_DETAILS, b"via_upstream".to_vec()),
            ]),
            cluster: Some(b"shop".to_vec()),
            timing,
            filter_state: HashMap::new(),
            metadata: HashMap::new(),
            route_config: ptr::null(),
            route_clears: 0,
            module: ptr::null(),
        });
        let raw = stream.raw();
        let module = config.0.module.load(Ordering::SeqCst);
        // SAFETY: the configuration is there, and so is the stream.
        stream.module = unsafe { http::envoy_dynamic_module_on_http_filter_new(module, raw) };
        stream
    }

    /// # Safety
    /// The pointer is one that the module got for a stream.
    pub(crate) unsafe fn of<'a>(raw: *mut c_void) -> &'a mut Self {
        // SAFETY: the caller promises it.
        unsafe { &mut *raw.cast::<Self>() }
    }

    fn raw(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    /// Gives the stream's route a configuration for this filter; `false` if the module refuses it.
    pub fn set_route_config(&mut self, text: &str) -> bool {
        let buffer = |bytes: &[u8]| EnvoyBuffer {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        };
        // SAFETY: what is pointed to lives until the hook returns.
        self.route_config = unsafe {
            http::envoy_dynamic_module_on_http_filter_per_route_config_new(
                buffer(b"sentry"),
                buffer(text.as_bytes()),
            )
        };
        !self.route_config.is_null()
    }

    /// Whether the module has made something for it.
    pub fn is_there(&self) -> bool {
        !self.module.is_null()
    }

    /// The request's headers arrive.
    pub fn request_headers(&mut self, headers: &[(&str, &str)]) -> u32 {
        self.request = Some(lines(headers));
        self.deliver_request_headers()
    }

    /// The hook for whatever headers there are.
    pub fn deliver_request_headers(&mut self) -> u32 {
        let (raw, module) = (self.raw(), self.module);
        // SAFETY: as Envoy calls it.
        unsafe { http::envoy_dynamic_module_on_http_filter_request_headers(raw, module, true) }
    }

    /// The response's headers arrive.
    pub fn response_headers(&mut self, headers: &[(&str, &str)]) -> u32 {
        self.response = Some(lines(headers));
        let (raw, module) = (self.raw(), self.module);
        // SAFETY: as Envoy calls it.
        unsafe { http::envoy_dynamic_module_on_http_filter_response_headers(raw, module, true) }
    }

    /// The stream ends.
    pub fn end(&mut self) {
        let (raw, module) = (self.raw(), self.module);
        // SAFETY: as Envoy calls it.
        unsafe { http::envoy_dynamic_module_on_http_filter_stream_complete(raw, module) };
    }

    /// The value of a header of the request as it goes to the upstream.
    pub fn sent(&self, name: &str) -> Option<String> {
        value(self.request.as_ref()?, name)
    }

    /// The value of a header of the response as it goes to the client.
    pub fn received(&self, name: &str) -> Option<String> {
        value(self.response.as_ref()?, name)
    }
}

fn value(lines: &Lines, name: &str) -> Option<String> {
    let (_, value) = lines.iter().find(|(known, _)| known == name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the module gets its object back once.
        unsafe {
            http::envoy_dynamic_module_on_http_filter_destroy(self.module);
            http::envoy_dynamic_module_on_http_filter_per_route_config_destroy(self.route_config);
        }
    }
}
