//! What the command `sentry-filter` does: [`find`] configurations in files, [`check`] them,
//! [`explain`] decisions, [`send_test`].

pub mod check;
pub mod explain;
pub mod find;
pub mod schema;
pub mod send_test;
pub mod table;
