//! Envoy's dynamic-module ABI, played in this process: it does to the module what Envoy does, and
//! what Envoy never would.
//!
//! [`Host`] is the process with its main thread; [`Config`] and [`Extension`] are what an operator
//! has written; [`Stream`] is one request. Callbacks can be refused, give null or too little
//! ([`Fault`]), and what the module must not do is noted as a violation, of which there is none
//! when a [`Host`] is dropped.

mod callbacks;
mod config;
mod host;
mod stream;

use std::sync::atomic::AtomicBool;

pub use config::{Callout, Config, Extension};
pub use host::{Fault, Host};
pub use stream::{Metadata, Stream};

/// A flag that stays for ever.
pub fn flag() -> &'static AtomicBool {
    host::keep(AtomicBool::new(false))
}

/// A DSN that nobody has.
pub const DSN: &str = "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7";
