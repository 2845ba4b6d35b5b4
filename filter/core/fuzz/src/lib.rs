//! What must hold for whatever strangers send. Every check takes bytes and panics if it does not
//! hold.
//!
//! ```text
//! formats      each parser: what is read is written strictly, and what is written reads the same
//! request      the request side: arbitrary headers under a handful of configurations
//! response     the response side: arbitrary responses to arbitrary requests
//! segment      the end of a request: what leaves of it, in every format
//! operations   the whole line: requests, ends of streams, callouts, answers, clocks in any order
//! readers      how Sentry's SDKs read `baggage`
//! host         a host whose every value an input may decide
//! strict       independent readers, as strict as the strictest service of a header or an envelope
//! input        how bytes become header lines
//! ```
//! The fuzz targets call these functions, and so does `filter/core/tests/properties.rs`, which
//! includes this file: one checker, not two. A finding stays as a file in `corpus/<target>/`, which
//! both of them run.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans are for what runs in a gateway"
)]

pub mod formats;
pub mod host;
pub mod input;
pub mod operations;
pub mod readers;
pub mod request;
pub mod response;
pub mod segment;
pub mod strict;
