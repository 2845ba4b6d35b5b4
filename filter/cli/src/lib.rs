//! What the command `sentry-filter` does: it reads [`document`]s, [`find`]s configurations in them,
//! [`check`]s them, [`explain`]s decisions, and asks the receiver ([`send_test`]) and a running
//! Envoy ([`doctor`]).

pub mod admin;
pub mod check;
pub mod cluster;
pub mod doctor;
pub mod document;
pub mod explain;
pub mod files;
pub mod find;
pub mod finding;
pub mod formats;
pub mod found;
pub mod kubernetes;
pub mod lint;
pub mod print;
pub mod proxy;
pub mod schema;
pub mod send_test;
pub mod suggest;
pub mod table;
