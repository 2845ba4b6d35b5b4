//! The part of Envoy's dynamic-module ABI that the filter uses, in declarations of its own. The
//! facts are those of `source/extensions/dynamic_modules/abi/abi.h` as of Envoy 1.40.
//!
//! Nothing is linked: every callback is looked up by its name when the module is loaded, so that
//! an Envoy that lacks one gets a line in its log instead of a module that cannot be loaded, and
//! so that tests can put callbacks of their own in the place of Envoy's.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void, CStr};
use std::mem;
use std::sync::OnceLock;

/// The version of the ABI that Envoy 1.40 has. Another one is a warning in Envoy's log.
pub const VERSION: &CStr = c"v0.2.0";

/// Bytes that belong to Envoy. `(null, 0)` where there are none.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EnvoyBuffer {
    /// The first byte; may be null.
    pub ptr: *const u8,
    /// How many there are.
    pub length: usize,
}

impl EnvoyBuffer {
    /// No bytes.
    pub const NONE: Self = Self {
        ptr: std::ptr::null(),
        length: 0,
    };
}

/// Bytes that belong to this module, valid until the callback that they are given to returns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ModuleBuffer {
    /// The first byte; null says that there is no value.
    pub ptr: *const u8,
    /// How many there are.
    pub length: usize,
}

impl ModuleBuffer {
    /// No value at all.
    pub const NONE: Self = Self {
        ptr: std::ptr::null(),
        length: 0,
    };

    /// The bytes of a slice.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        }
    }
}

/// A header line that belongs to Envoy.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EnvoyHeader {
    /// Its name.
    pub key: EnvoyBuffer,
    /// Its value.
    pub value: EnvoyBuffer,
}

impl EnvoyHeader {
    /// A line without a name.
    pub const NONE: Self = Self {
        key: EnvoyBuffer::NONE,
        value: EnvoyBuffer::NONE,
    };
}

/// A header line of this module.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ModuleHeader {
    /// Its name.
    pub key: ModuleBuffer,
    /// Its value.
    pub value: ModuleBuffer,
}

/// The moments of a stream, from `http_get_timing_info` of 1.40: the first is in nanoseconds since
/// the epoch, all others are in nanoseconds since the first. Some are rightly negative.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The moments, in the order of [`Moment`].
    pub moments: [i64; Moment::COUNT],
    /// Whether each of them is known: 0 or 1.
    pub is_known: [u8; Moment::COUNT],
}

impl Timing {
    /// Nothing known.
    pub const NONE: Self = Self {
        moments: [0; Moment::COUNT],
        is_known: [0; Moment::COUNT],
    };

    /// A moment, if it is known.
    pub fn get(&self, moment: Moment) -> Option<i64> {
        let place = moment as usize;
        let is_known = *self.is_known.get(place)? != 0;
        is_known.then_some(*self.moments.get(place)?)
    }
}

/// Which moment of [`Timing`], as far as the filter asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The request began.
    Start = 0,
    /// The connection to the upstream was begun.
    UpstreamConnectStart = 6,
    /// The first byte went to the upstream.
    UpstreamFirstSent = 9,
    /// The last byte came from the upstream.
    UpstreamLastReceived = 13,
    /// The last byte went to the client.
    DownstreamLastSent = 15,
    /// The request was complete.
    RequestComplete = 17,
}

impl Moment {
    /// How many Envoy tells.
    pub const COUNT: usize = 19;
}

/// The header map of a stream.
pub mod header_type {
    /// The request's headers.
    pub const REQUEST: u32 = 0;
    /// The response's headers.
    pub const RESPONSE: u32 = 2;
    /// The response's trailers.
    pub const RESPONSE_TRAILERS: u32 = 3;
}

/// The attributes by their number: their place in the list of Envoy's attributes.
pub mod attribute {
    /// `request.protocol`
    pub const REQUEST_PROTOCOL: u32 = 10;
    /// `request.size`
    pub const REQUEST_SIZE: u32 = 13;
    /// `response.code`
    pub const RESPONSE_CODE: u32 = 15;
    /// `response.code_details`
    pub const RESPONSE_CODE_DETAILS: u32 = 16;
    /// `response.flags`
    pub const RESPONSE_FLAGS: u32 = 17;
    /// `response.size`
    pub const RESPONSE_SIZE: u32 = 21;
    /// `source.address`
    pub const SOURCE_ADDRESS: u32 = 24;
    /// `connection.tls_version`
    pub const CONNECTION_TLS_VERSION: u32 = 31;
    /// `upstream.address`
    pub const UPSTREAM_ADDRESS: u32 = 41;
    /// `upstream.tls_version`
    pub const UPSTREAM_TLS_VERSION: u32 = 43;
    /// `upstream.transport_failure_reason`
    pub const UPSTREAM_TRANSPORT_FAILURE: u32 = 52;
    /// `upstream.request_attempt_count`
    pub const UPSTREAM_ATTEMPTS: u32 = 53;
    /// `xds.route_name`
    pub const ROUTE_NAME: u32 = 61;
}

/// Where metadata comes from: the route's own.
pub const ROUTE_METADATA: u32 = 1;

/// How severe a line of the log is.
pub mod level {
    /// For those who look for something.
    pub const INFO: u32 = 2;
    /// Something may be regretted.
    pub const WARN: u32 = 3;
    /// Something is wrong.
    pub const ERROR: u32 = 4;
}

/// What a hook answers where Envoy is to go on: `Continue` of every status.
pub const CONTINUE: u32 = 0;
/// What callbacks about metrics answer that were carried out.
pub const METRIC_OK: u32 = 0;
/// What a callout answers that was begun.
pub const CALLOUT_BEGUN: u32 = 0;
/// The result of a callout that was answered; others say why it was not.
pub const CALLOUT_ANSWERED: u32 = 0;

/// What Envoy gives a bootstrap extension to call when it is done with the shutdown.
pub type Completion = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// Declares the table of callbacks, each by the end of its name.
macro_rules! callbacks {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// What Envoy lets a module call; `None` where this Envoy does not have it.
        #[derive(Debug, Clone, Copy, Default)]
        pub struct Callbacks {
            $($(#[$doc])* pub $name: Option<unsafe extern "C" fn($($argument),*) $(-> $result)?>,)*
        }

        impl Callbacks {
            /// The ends of their names.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            fn look_up() -> Self {
                Self {
                    $($name: {
                        const NAME: &str =
                            concat!("envoy_dynamic_module_callback_", stringify!($name), "\0");
                        // SAFETY: Envoy's function of this name has this type, and null is `None`.
                        unsafe {
                            mem::transmute::<
                                *mut c_void,
                                Option<unsafe extern "C" fn($($argument),*) $(-> $result)?>,
                            >(symbol(NAME))
                        }
                    },)*
                }
            }
        }
    };
}

callbacks! {
    /// Level and text of a line in Envoy's log.
    fn log(u32, ModuleBuffer);
    /// How many workers there are; on the main thread only.
    fn get_concurrency() -> u32;
    /// Whether Envoy only checks its configuration; on the main thread only.
    fn is_validation_mode() -> bool;
    /// Configuration, name, names of labels and their count, where the id goes; only while the
    /// configuration is made.
    fn http_filter_config_define_counter(*mut c_void, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;
    /// The same for a gauge.
    fn http_filter_config_define_gauge(*mut c_void, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;
    /// Configuration, id, values of labels and their count, by how much.
    fn http_filter_config_increment_counter(*mut c_void, usize, *const ModuleBuffer, usize, u64) -> u32;
    /// The same for a gauge.
    fn http_filter_config_increment_gauge(*mut c_void, usize, *const ModuleBuffer, usize, u64) -> u32;
    /// The same for a gauge that goes down.
    fn http_filter_config_decrement_gauge(*mut c_void, usize, *const ModuleBuffer, usize, u64) -> u32;
    /// Something that can call the main thread for a configuration; null if it cannot.
    fn http_filter_config_scheduler_new(*mut c_void) -> *mut c_void;
    /// Scheduler and a number for the hook; from any thread.
    fn http_filter_config_scheduler_commit(*mut c_void, u64);
    /// Gives a scheduler back.
    fn http_filter_config_scheduler_delete(*mut c_void);
    /// Configuration, where the id goes, cluster, headers and their count, body, timeout in
    /// milliseconds; on the main thread only. It may be answered before it returns.
    fn http_filter_config_http_callout(*mut c_void, *mut u64, ModuleBuffer, *const ModuleHeader, usize, ModuleBuffer, u64) -> u32;
    /// Which worker a stream belongs to.
    fn http_filter_get_worker_index(*mut c_void) -> u32;
    /// Stream and map: how many lines there are, 0 where there is no map.
    fn http_get_headers_size(*mut c_void, u32) -> usize;
    /// Stream, map, room for as many lines as there are.
    fn http_get_headers(*mut c_void, u32, *mut EnvoyHeader) -> bool;
    /// Stream, map, name, where the value goes, which of the values, where their count goes.
    fn http_get_header(*mut c_void, u32, ModuleBuffer, *mut EnvoyBuffer, usize, *mut usize) -> bool;
    /// Stream, map, name, value: one line in the place of all of that name; a null value is none.
    fn http_set_header(*mut c_void, u32, ModuleBuffer, ModuleBuffer) -> bool;
    /// Stream, map, name, value: one more line.
    fn http_add_header(*mut c_void, u32, ModuleBuffer, ModuleBuffer) -> bool;
    /// Lets Envoy match the route again.
    fn http_clear_route_cache(*mut c_void);
    /// Stream, attribute, where the text goes.
    fn http_filter_get_attribute_string(*mut c_void, u32, *mut EnvoyBuffer) -> bool;
    /// Stream, attribute, where the number goes.
    fn http_filter_get_attribute_int(*mut c_void, u32, *mut u64) -> bool;
    /// Stream, where the name of its cluster goes (1.40).
    fn http_get_cluster_name(*mut c_void, *mut EnvoyBuffer) -> bool;
    /// Stream, where its moments go (1.40).
    fn http_get_timing_info(*mut c_void, *mut Timing);
    /// Stream, name, value.
    fn http_set_filter_state_bytes(*mut c_void, ModuleBuffer, ModuleBuffer) -> bool;
    /// Stream, source, namespace: how many keys there are.
    fn http_get_metadata_keys_count(*mut c_void, u32, ModuleBuffer) -> usize;
    /// Stream, source, namespace, key, where the text goes.
    fn http_get_metadata_string(*mut c_void, u32, ModuleBuffer, ModuleBuffer, *mut EnvoyBuffer) -> bool;
    /// Stream, source, namespace, key, where the number goes.
    fn http_get_metadata_number(*mut c_void, u32, ModuleBuffer, ModuleBuffer, *mut f64) -> bool;
    /// Stream, source, namespace, key, where the flag goes.
    fn http_get_metadata_bool(*mut c_void, u32, ModuleBuffer, ModuleBuffer, *mut u8) -> bool;
    /// The configuration of the stream's route for this filter, as the hook has made it.
    fn get_most_specific_route_config(*mut c_void) -> *const c_void;
    /// Lets Envoy go on with its start; a bootstrap extension has to.
    fn bootstrap_extension_config_signal_init_complete(*mut c_void);
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_scheduler_new(*mut c_void) -> *mut c_void;
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_scheduler_commit(*mut c_void, u64);
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_scheduler_delete(*mut c_void);
    /// As for a configuration of the filter.
    fn bootstrap_extension_http_callout(*mut c_void, *mut u64, ModuleBuffer, *const ModuleHeader, usize, ModuleBuffer, u64) -> u32;
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_define_counter(*mut c_void, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_define_gauge(*mut c_void, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_increment_counter(*mut c_void, usize, *const ModuleBuffer, usize, u64) -> u32;
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_increment_gauge(*mut c_void, usize, *const ModuleBuffer, usize, u64) -> u32;
    /// As for a configuration of the filter.
    fn bootstrap_extension_config_decrement_gauge(*mut c_void, usize, *const ModuleBuffer, usize, u64) -> u32;
}

impl Callbacks {
    /// Those without which nothing goes, by name, that this Envoy lacks.
    pub fn missing(&self) -> Vec<&'static str> {
        let needed = [
            ("get_concurrency", self.get_concurrency.is_some()),
            (
                "http_filter_config_scheduler_new",
                self.http_filter_config_scheduler_new.is_some(),
            ),
            (
                "http_filter_config_http_callout",
                self.http_filter_config_http_callout.is_some(),
            ),
            ("http_get_headers", self.http_get_headers.is_some()),
            (
                "http_get_headers_size",
                self.http_get_headers_size.is_some(),
            ),
            ("http_set_header", self.http_set_header.is_some()),
            ("http_add_header", self.http_add_header.is_some()),
            (
                "http_filter_get_attribute_int",
                self.http_filter_get_attribute_int.is_some(),
            ),
            (
                "http_filter_get_attribute_string",
                self.http_filter_get_attribute_string.is_some(),
            ),
        ];
        let lacks = needed.into_iter().filter(|(_, is_there)| !is_there);
        lacks.map(|(name, _)| name).collect()
    }
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

/// The callbacks of this process.
pub fn callbacks() -> &'static Callbacks {
    CALLBACKS.get_or_init(Callbacks::look_up)
}

/// Puts these in the place of Envoy's, for a test; `false` if others are in use already.
pub fn provide(callbacks: Callbacks) -> bool {
    CALLBACKS.set(callbacks).is_ok()
}

/// A function that the process exports; null if it does not. The name ends with NUL.
fn symbol(name: &str) -> *mut c_void {
    extern "C" {
        fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    /// `RTLD_DEFAULT`: wherever the process has it.
    const ANYWHERE: *mut c_void = std::ptr::null_mut();
    // SAFETY: the name is a constant that ends with NUL, and is only read.
    unsafe { dlsym(ANYWHERE, name.as_ptr().cast()) }
}
