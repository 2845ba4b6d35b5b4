//! One process, since compiling the module takes most of the time.

mod path;
mod tables;
