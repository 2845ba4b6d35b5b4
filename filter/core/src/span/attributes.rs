//! What may leave the gateway as an attribute, under the names of sentry-conventions (sentry-protocol.md §12.4) and a handful of Envoy's own.

use serde::Serialize;

use super::FinishedSpan;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(u64),
}

/// The attributes of the server span; what is not known is absent.
pub fn of_server_span(span: &FinishedSpan) -> Vec<(&'static str, Value)> {
    let FinishedSpan { request, end, .. } = span;
    let (host, port) = host_and_port(request.authority.as_deref().unwrap_or_default());
    let text = |value: Option<&str>| {
        Some(Value::Text(
            value.filter(|text| !text.is_empty())?.to_owned(),
        ))
    };
    let (protocol, version) = match end
        .protocol
        .as_deref()
        .and_then(|text| text.split_once('/'))
    {
        Some((protocol, version)) => (Some(protocol.to_ascii_lowercase()), Some(version)),
        None => (None, None),
    };
    let route_name = end.route_name.as_deref().map(String::from_utf8_lossy);
    [
        ("sentry.kind", text(Some("server"))),
        ("http.request.method", text(Some(&request.method))),
        (
            "http.response.status_code",
            end.response_code.map(|code| Value::Integer(code.into())),
        ),
        (
            "http.response.body.size",
            end.response_size.map(Value::Integer),
        ),
        ("url.scheme", text(request.scheme.as_deref())),
        ("url.path", text(Some(&request.path))),
        ("server.address", text(Some(host))),
        ("server.port", port.map(|port| Value::Integer(port.into()))),
        ("network.protocol.name", text(protocol.as_deref())),
        ("network.protocol.version", text(version)),
        ("envoy.route", text(route_name.as_deref())),
        ("envoy.cluster", text(end.cluster_name.as_deref())),
        (
            "envoy.response_code_details",
            text(end.response_code_details.as_deref()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// Splits `host:port`; the colons of an IPv6 literal are inside brackets.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_split_at_its_port() {
        let rows = [
            ("shop.example", ("shop.example", None)),
            ("shop.example:8080", ("shop.example", Some(8080))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some(80))),
            ("", ("", None)),
        ];
        for (authority, expected) in rows {
            assert_eq!(host_and_port(authority), expected, "{authority}");
        }
    }
}
