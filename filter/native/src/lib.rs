//! The Sentry filter as an Envoy dynamic module. Everything that is decided is decided in
//! `sentry-filter-core`; this crate fetches values from Envoy and carries out what comes back.
//!
//! ```text
//! a worker's thread                      Envoy's main thread
//! hooks ─▶ stream ─▶ Tracer (worker)     hooks ─▶ configuration ─▶ Exporter ─▶ POST
//!                      │ inbox                        ▲                │
//!                      └── segments, counts ──────────┘                ▼
//!                                                   boot: POSTs that outlive a configuration
//! ```
//! One configuration object serves all workers, so each worker has a `Tracer` of its own behind a
//! lock that only the main thread wants besides it, for as long as it takes to swap a list. The
//! main thread has the `Exporter`, builds bodies outside of every lock, and posts.
//!
//! [`abi`] says what Envoy has, [`host`] is the only door to it, and [`hooks`] is what Envoy calls:
//! nowhere else is `unsafe` allowed. The filter shares the process with Envoy, so a panic is caught
//! in every hook, and what it was busy with counts as not done.

#![deny(unsafe_code)]
// Nothing on the traffic path is to panic, though a panic would be caught.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::get_unwrap,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]

pub mod abi;
mod boot;
mod call;
mod configuration;
mod generations;
pub mod guard;
pub mod hooks;
mod host;
mod inbox;
mod limits;
mod route;
mod stream;
mod ticker;
mod worker;
