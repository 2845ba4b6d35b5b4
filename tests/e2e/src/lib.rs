//! The filter in a real Envoy, between an upstream that records every byte and a fake Sentry that
//! is stricter than the real one.
//!
//! ```text
//! Request ──► Envoy + sentry_filter.wasm ──► Upstream     what the service behind the gateway sees
//!                        │
//!                        └──────────────► MiniSentry      what Sentry gets; any violation fails
//! ```
//!
//! A test starts a [`Gateway`], sends [`Request`]s through it and asserts on the [`Exchange`]: the
//! client's response and what the upstream got. [`MiniSentry`] validates on its own: a test that
//! asserts nothing still fails on a bad envelope. Nothing sleeps for luck: whatever takes time is
//! awaited by polling against [`DEADLINE`].

pub mod attacker;
pub mod browser;
pub mod bugsink;
pub mod client;
pub mod door;
pub mod ended;
pub mod envoy;
pub mod gateway;
pub mod http2;
pub mod load;
pub mod oracles;
pub mod peers;
pub mod receivers;
pub mod reports;
pub mod services;
pub mod shipped;
pub mod trap;
pub mod upstream;
pub mod wire;

mod polling;

pub use mini_sentry::{Answer, MiniSentry, Segment, Span, Transaction};
pub use vectors::{Baggage, SentryTrace};

pub use crate::{
    browser::{Sdk, Site, Visit},
    bugsink::Bugsink,
    client::{Request, Response},
    door::{door, Door},
    envoy::{cluster_at, Account, Bootstrap, Envoy, Launch, Route},
    gateway::{Exchange, Gateway, GatewayBuilder, SPANS},
    load::Load,
    polling::{eventually, eventually_within, DEADLINE},
    receivers::look,
    services::{Instrumented, Library, Service},
    trap::TrappedModule,
    upstream::{RecordedRequest, Reply, Step, Upstream},
};
