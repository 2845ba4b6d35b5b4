//! The argument of Envoy's own function `declare_property`: how long a value of filter state lives.
//!
//! ```text
//! message DeclarePropertyArguments {
//!   string name = 1;
//!   WasmType type = 3;       Bytes is 0
//!   LifeSpan span = 5;       FilterChain 0, DownstreamRequest 1, DownstreamConnection 2
//! }
//! ```

use sentry_filter_core::protobuf::Message;

/// The name of the function.
pub const FUNCTION: &str = "declare_property";

/// The argument that lets a value live as long as the client's request, so that it outlives
/// internal redirects.
pub fn of_request(name: &str) -> Vec<u8> {
    /// `LifeSpan.DownstreamRequest`.
    const DOWNSTREAM_REQUEST: i64 = 1;
    let mut arguments = Message::default();
    arguments
        .bytes(1, name.as_bytes())
        .number(5, DOWNSTREAM_REQUEST);
    arguments.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_protobuf() {
        assert_eq!(of_request("ab"), b"\x0a\x02ab\x28\x01");
    }
}
