//! One stream, as its hooks see it.

use std::ffi::c_void;
use std::marker::PhantomData;

use sentry_filter_core::headers::{HeaderAddition, HeaderMutation, Headers};
use sentry_filter_core::host::HostError;

use super::{bytes, line};
use crate::abi::{self, header_type, EnvoyBuffer, EnvoyHeader, ModuleBuffer, Timing};
use crate::route::RouteConfig;

/// How many header lines are read without asking for memory.
const USUAL_LINES: usize = 32;
/// More header lines than Envoy lets any message have.
const MAX_LINES: usize = 1 << 16;

/// A stream of Envoy's, for as long as the hook runs that it was given to.
#[derive(Debug, Clone, Copy)]
pub struct StreamHandle<'hook> {
    raw: *mut c_void,
    hook: PhantomData<&'hook ()>,
}

/// The status of a call that was refused: this ABI tells no reason.
const REFUSED: HostError = HostError::Refused(0);

/// What a callback answers that says whether it was done.
fn done(is_done: Option<bool>) -> Result<(), HostError> {
    match is_done {
        Some(true) => Ok(()),
        Some(false) => Err(REFUSED),
        None => Err(HostError::Unavailable),
    }
}

impl<'hook> StreamHandle<'hook> {
    /// The stream that a hook got from Envoy.
    ///
    /// # Safety
    /// Envoy has given the pointer to the hook that is running, and the handle does not outlive it.
    pub unsafe fn new(raw: *mut c_void) -> Self {
        Self {
            raw,
            hook: PhantomData,
        }
    }

    /// Which worker it belongs to.
    pub fn worker_index(self) -> usize {
        let callback = abi::callbacks().http_filter_get_worker_index;
        // SAFETY: the stream is there while its hook runs.
        let index = callback.map(|index| unsafe { index(self.raw) });
        index
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or_default()
    }

    /// The request's headers. No request is without any.
    pub fn request_headers(self) -> Result<Headers, HostError> {
        self.headers(header_type::REQUEST)?
            .ok_or(HostError::Malformed)
    }

    /// The response's headers; `None` where there is no response.
    pub fn response_headers(self) -> Result<Option<Headers>, HostError> {
        self.headers(header_type::RESPONSE)
    }

    fn headers(self, map: u32) -> Result<Option<Headers>, HostError> {
        let callbacks = abi::callbacks();
        let (Some(size), Some(get)) = (callbacks.http_get_headers_size, callbacks.http_get_headers)
        else {
            return Err(HostError::Unavailable);
        };
        // SAFETY: the stream is there while its hook runs.
        let count = unsafe { size(self.raw, map) };
        if count == 0 {
            return Ok(None);
        }
        let mut usual = [EnvoyHeader::NONE; USUAL_LINES];
        let mut many;
        let lines = match usual.get_mut(..count) {
            Some(lines) => lines,
            None if count > MAX_LINES => return Err(HostError::Malformed),
            None => {
                many = vec![EnvoyHeader::NONE; count];
                many.as_mut_slice()
            }
        };
        // SAFETY: there is room for as many lines as Envoy has just said that there are.
        match unsafe { get(self.raw, map, lines.as_mut_ptr()) } {
            // SAFETY: the lines are Envoy's of this hook, and are copied before anything changes.
            true => Ok(Some(Headers::from_pairs(
                lines.iter().map(|one| unsafe { line(one) }),
            ))),
            false => Err(REFUSED),
        }
    }

    /// The first value of a header of the request.
    pub fn request_header(self, name: &str) -> Option<&'hook [u8]> {
        self.header(header_type::REQUEST, name)
    }

    /// The first value of a header of the response.
    pub fn response_header(self, name: &str) -> Option<&'hook [u8]> {
        self.header(header_type::RESPONSE, name)
    }

    /// The first value of a trailer of the response.
    pub fn response_trailer(self, name: &str) -> Option<&'hook [u8]> {
        self.header(header_type::RESPONSE_TRAILERS, name)
    }

    fn header(self, map: u32, name: &str) -> Option<&'hook [u8]> {
        let get = abi::callbacks().http_get_header?;
        let mut value = EnvoyBuffer::NONE;
        let key = ModuleBuffer::new(name.as_bytes());
        // SAFETY: the name lives until the call returns, and the value may be written to.
        let is_there = unsafe {
            get(
                self.raw,
                map,
                key,
                &mut value,
                0,
                std::ptr::null_mut::<usize>(),
            )
        };
        // SAFETY: the value is Envoy's of this hook.
        is_there.then(|| unsafe { bytes(value) })
    }

    /// Changes the request's headers; only while they are being delivered.
    pub fn mutate_request_headers(self, mutation: &HeaderMutation) -> Result<(), HostError> {
        let (name, value) = match mutation {
            HeaderMutation::Set { name, value } => (name, ModuleBuffer::new(value)),
            HeaderMutation::Remove { name } => (name, ModuleBuffer::NONE),
        };
        let set = abi::callbacks().http_set_header;
        let name = ModuleBuffer::new(name.as_bytes());
        // SAFETY: name and value live until the call returns, and Envoy copies them.
        done(set.map(|set| unsafe { set(self.raw, header_type::REQUEST, name, value) }))
    }

    /// Adds a line to the response's headers; only while they are being delivered.
    pub fn add_response_header(self, addition: &HeaderAddition) -> Result<(), HostError> {
        let HeaderAddition { name, value } = addition;
        let add = abi::callbacks().http_add_header;
        let (name, value) = (ModuleBuffer::new(name.as_bytes()), ModuleBuffer::new(value));
        // SAFETY: name and value live until the call returns, and Envoy copies them.
        done(add.map(|add| unsafe { add(self.raw, header_type::RESPONSE, name, value) }))
    }

    /// Lets Envoy match the route again.
    pub fn clear_route_cache(self) {
        if let Some(clear) = abi::callbacks().http_clear_route_cache {
            // SAFETY: the stream is there while its hook runs.
            unsafe { clear(self.raw) }
        }
    }

    /// An attribute that is a number; `None` where Envoy does not have it.
    pub fn number(self, attribute: u32) -> Option<u64> {
        let get = abi::callbacks().http_filter_get_attribute_int?;
        let mut number = 0;
        // SAFETY: the number may be written to.
        unsafe { get(self.raw, attribute, &mut number) }.then_some(number)
    }

    /// An attribute that is a text; `None` where Envoy does not have it.
    pub fn text(self, attribute: u32) -> Option<&'hook [u8]> {
        let get = abi::callbacks().http_filter_get_attribute_string?;
        let mut text = EnvoyBuffer::NONE;
        // SAFETY: the buffer may be written to, and what it tells is Envoy's of this hook.
        unsafe { get(self.raw, attribute, &mut text).then(|| bytes(text)) }
    }

    /// The cluster that the stream's route has chosen.
    pub fn cluster_name(self) -> Option<&'hook [u8]> {
        let get = abi::callbacks().http_get_cluster_name?;
        let mut name = EnvoyBuffer::NONE;
        // SAFETY: the buffer may be written to, and what it tells is Envoy's of this hook.
        unsafe { get(self.raw, &mut name).then(|| bytes(name)) }
    }

    /// The moments that Envoy has noted; `None` where it cannot tell.
    pub fn timing(self) -> Option<Timing> {
        let get = abi::callbacks().http_get_timing_info?;
        let mut timing = Timing::NONE;
        // SAFETY: there is room for all that is written.
        unsafe { get(self.raw, &mut timing) };
        Some(timing)
    }

    /// Puts a value into the stream's filter state, where access logs find it.
    pub fn set_filter_state(self, name: &str, value: &[u8]) -> Result<(), HostError> {
        let set = abi::callbacks().http_set_filter_state_bytes;
        let (name, value) = (ModuleBuffer::new(name.as_bytes()), ModuleBuffer::new(value));
        // SAFETY: name and value live until the call returns, and Envoy copies them.
        done(set.map(|set| unsafe { set(self.raw, name, value) }))
    }

    /// Whether the stream's route has metadata in a namespace.
    pub fn has_route_metadata(self, namespace: &str) -> bool {
        let namespace = ModuleBuffer::new(namespace.as_bytes());
        let count = abi::callbacks().http_get_metadata_keys_count;
        // SAFETY: the namespace lives until the call returns.
        count.is_some_and(|count| unsafe { count(self.raw, abi::ROUTE_METADATA, namespace) } > 0)
    }

    /// A text of the metadata of the stream's route.
    pub fn route_text(self, namespace: &str, key: &str) -> Option<&'hook [u8]> {
        let get = abi::callbacks().http_get_metadata_string?;
        let (namespace, key) = names(namespace, key);
        let mut text = EnvoyBuffer::NONE;
        // SAFETY: the buffer may be written to, and what it tells is Envoy's of this hook.
        unsafe {
            get(self.raw, abi::ROUTE_METADATA, namespace, key, &mut text).then(|| bytes(text))
        }
    }

    /// A number of the metadata of the stream's route.
    pub fn route_number(self, namespace: &str, key: &str) -> Option<f64> {
        let get = abi::callbacks().http_get_metadata_number?;
        let (namespace, key) = names(namespace, key);
        let mut number = 0.0;
        // SAFETY: the number may be written to.
        let is_there = unsafe { get(self.raw, abi::ROUTE_METADATA, namespace, key, &mut number) };
        is_there.then_some(number)
    }

    /// A flag of the metadata of the stream's route.
    pub fn route_flag(self, namespace: &str, key: &str) -> Option<bool> {
        let get = abi::callbacks().http_get_metadata_bool?;
        let (namespace, key) = names(namespace, key);
        let mut flag = 0;
        // SAFETY: the flag may be written to.
        let is_there = unsafe { get(self.raw, abi::ROUTE_METADATA, namespace, key, &mut flag) };
        is_there.then_some(flag != 0)
    }

    /// What the hook has made of the configuration that the stream's route has for this filter.
    pub fn route_config(self) -> Option<&'hook RouteConfig> {
        let get = abi::callbacks().get_most_specific_route_config?;
        // SAFETY: the stream is there while its hook runs.
        let config = unsafe { get(self.raw) };
        // SAFETY: the hook for the configurations of routes gives Envoy nothing else, and the route
        // keeps it while the stream has the route.
        unsafe { config.cast::<RouteConfig>().as_ref() }
    }
}

fn names(namespace: &str, key: &str) -> (ModuleBuffer, ModuleBuffer) {
    let buffer = |name: &str| ModuleBuffer::new(name.as_bytes());
    (buffer(namespace), buffer(key))
}
