//! An in-process proxy-wasm host (ABI 0.2.1) that does to the built module what Envoy does, and
//! what Envoy never would.
//!
//! [`Host`] is one worker's VM: it loads the module, makes contexts, calls back, and records what
//! the module asks for. It refuses any import on demand ([`When`]), twists what imports return
//! ([`Twist`]), counts fuel and host calls for each callback ([`Record`]), and turns a trap into an
//! error that carries the module's last words ([`Trap`]). [`Gateway`] drives it in sentences: a
//! configured filter, and whole requests through it.
//!
//! The semantics are those of Envoy 1.40 and its C++ host; where they are surprising, the import
//! says so.

mod assertions;
mod builder;
mod call;
mod envelope;
mod error;
mod expressions;
mod footprint;
mod gateway;
mod host;
mod imports;
mod life;
mod maps;
mod module;
mod state;
mod wasi;

pub use builder::Builder;
pub use envelope::{only, read_spans, Envelope, Item};
pub use error::{HostError, Trap};
pub use footprint::{footprints, Footprint};
pub use gateway::{config, Exchange, Gateway, Served};
pub use host::{Answer, Host, CONTINUE};
pub use life::live;
pub use maps::{text, HeaderMap};
pub use module::{module_bytes, module_exports, module_imports, offered, offers, MODULE_VARIABLE};
pub use state::{map, status, Callout, Cluster, HeaderWrite, LogLine, Record, Rng, Twist, When};
