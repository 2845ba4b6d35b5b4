use super::*;
use crate::span::response_flags::ResponseFlags;

const GRPC: Watched = Watched {
    project: ProjectId::FIRST,
    is_grpc: true,
    is_ignored: None,
};
const HTTP: Watched = Watched {
    project: ProjectId::FIRST,
    is_grpc: false,
    is_ignored: None,
};

fn options(origin: Origin) -> FailureOptions {
    FailureOptions {
        status_codes: vec![500..=599],
        origin,
        max_per_minute: 30,
    }
}

/// The flags of a stream, by their names.
fn flags(names: &str) -> ResponseFlags {
    let bits = (0..64).filter(|bit| {
        let one = ResponseFlags::from_bits(1 << bit).names();
        names.split(',').any(|name| name == one)
    });
    ResponseFlags::from_bits(bits.fold(0, |all, bit| all | 1 << bit))
}

fn end(code: u16, names: &str, details: &str) -> StreamInfo {
    StreamInfo {
        response_code: Some(code).filter(|code| *code > 0),
        response_flags: flags(names),
        response_code_details: (!details.is_empty()).then(|| details.to_owned()),
        ..StreamInfo::default()
    }
}

/// What is captured, by its name; of the gateway's failures, and of any.
fn captured(end: &StreamInfo, watched: Watched) -> [Option<String>; 2] {
    [Origin::Gateway, Origin::Any].map(|origin| {
        let kind = options(origin).kind(end, watched)?;
        Some(name(kind, end, watched.is_grpc))
    })
}

#[test]
fn every_flag_of_envoy_has_one_row() {
    let known = (0..30).map(|bit| ResponseFlags::from_bits(1 << bit).names());
    let known: Vec<_> = known.collect();
    let mut rows = Vec::new();
    kind::each_row(&mut |mark, name, whose| {
        assert!(
            ["gateway", "client", "policy", "service"].contains(&whose),
            "{mark}"
        );
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !name.is_empty());
        rows.push(mark);
    });
    for flag in &known {
        assert_eq!(
            rows.iter().filter(|mark| *mark == flag).count(),
            1,
            "{flag}"
        );
    }
    for mark in rows
        .iter()
        .filter(|mark| mark.starts_with(|first: char| first.is_ascii_uppercase()))
    {
        assert!(known.iter().any(|flag| flag == mark), "{mark}");
    }
    assert_eq!(
        ResponseFlags::from_bits(1 << 30).names(),
        "bit30",
        "there are more flags now"
    );
}

#[test]
fn failures_are_told_apart() {
    let gateways = |name: &'static str| (Some(name), Some(name));
    let others = |name: &'static str| (None, Some(name));
    let nobodys = (None, None);
    let rows = [
        // As seen on 1.40.
        (
            503,
            "UF,URX",
            "upstream_reset_before_response_started{remote_connection_failure}",
            gateways("UpstreamConnectionFailure"),
        ),
        (
            503,
            "UH",
            "no_healthy_upstream",
            gateways("NoHealthyUpstream"),
        ),
        (
            504,
            "UT",
            "response_timeout",
            gateways("UpstreamRequestTimeout"),
        ),
        (
            504,
            "UT,URX",
            "upstream_per_try_timeout",
            gateways("UpstreamRequestTimeout"),
        ),
        (
            503,
            "UC",
            "upstream_reset_before_response_started{connection_termination}",
            gateways("UpstreamReset"),
        ),
        (
            503,
            "UR",
            "upstream_reset_before_response_started{remote_reset}",
            gateways("UpstreamReset"),
        ),
        (
            502,
            "UPE",
            "upstream_reset_before_response_started{protocol_error}",
            gateways("UpstreamProtocolError"),
        ),
        (
            503,
            "UO",
            "upstream_reset_before_response_started{overflow}",
            gateways("UpstreamOverflow"),
        ),
        (503, "NC", "cluster_not_found", gateways("NoClusterFound")),
        (503, "OM", "overload", gateways("OverloadManager")),
        (503, "DO", "drop_overload", gateways("DropOverload")),
        (
            503,
            "UDO",
            "unconditional_drop_overload",
            gateways("DropOverload"),
        ),
        (
            504,
            "SI",
            "stream_idle_timeout",
            gateways("StreamIdleTimeout"),
        ),
        (
            504,
            "",
            "max_duration_timeout",
            gateways("StreamDurationTimeout"),
        ),
        (
            500,
            "",
            "response_payload_too_large",
            gateways("ResponsePayloadTooLarge"),
        ),
        (
            503,
            "UAEX",
            "ext_authz_error",
            gateways("ExternalAuthorizationFailure"),
        ),
        (
            500,
            "RLSE",
            "rate_limiter_error",
            gateways("RateLimitServiceError"),
        ),
        (
            503,
            "DF",
            "dns_resolution_failure",
            gateways("DnsResolutionFailed"),
        ),
        (503, "", "wasm_fail_stream", gateways("WasmFailure")),
        // A filter that nobody knows here.
        (500, "", "some_filter_failed", gateways("HTTP 500")),
        (503, "bit40", "via_something", gateways("HTTP 503")),
        // The gateway was told to.
        (503, "UO", "maintenance_mode", others("MaintenanceMode")),
        (503, "", "direct_response", others("DirectResponse")),
        (503, "FI", "fault_filter_abort", others("FaultInjected")),
        (
            503,
            "UAEX",
            "ext_authz_denied",
            others("UnauthorizedExternalService"),
        ),
        (
            503,
            "LH",
            "health_check_failed",
            others("FailedLocalHealthCheck"),
        ),
        // A service answered.
        (503, "", "via_upstream", others("HTTP 503")),
        (500, "URX", "via_upstream", others("HTTP 500")),
        (500, "DC", "via_upstream", others("HTTP 500")),
        // Nobody says who did.
        (503, "", "", others("HTTP 503")),
        // No failure by its code.
        (200, "", "via_upstream", nobodys),
        (404, "NR", "route_not_found", nobodys),
        (429, "RL", "local_rate_limited", nobodys),
        (408, "SI", "stream_idle_timeout", nobodys),
        (
            200,
            "UR",
            "upstream_reset_after_response_started{remote_reset}",
            nobodys,
        ),
        (0, "DC", "downstream_remote_disconnect", nobodys),
        (499, "DC", "", nobodys),
        (503, "", "internal_redirect", nobodys),
    ];
    for (code, names, details, (gateway, any)) in rows {
        let found = captured(&end(code, names, details), HTTP);
        let expected = [gateway, any].map(|name| name.map(str::to_owned));
        assert_eq!(found, expected, "{code} {names} {details}");
    }
}

/// With their codes among those that are listed.
#[test]
fn other_codes_are_failures_where_they_are_listed() {
    let all = FailureOptions {
        status_codes: vec![100..=599],
        ..options(Origin::Gateway)
    };
    let rows = [
        (404, "NR", "route_not_found", true),
        (
            200,
            "UR",
            "upstream_reset_after_response_started{remote_reset}",
            true,
        ),
        (429, "RL", "local_rate_limited", false),
        (403, "", "rbac_access_denied_matched_policy[none]", false),
        (400, "DPE", "http1.codec_error", false),
        (200, "DC", "downstream_remote_disconnect", false),
        (200, "", "via_upstream", false),
    ];
    for (code, names, details, is_captured) in rows {
        let kind = all.kind(&end(code, names, details), HTTP);
        assert_eq!(kind.is_some(), is_captured, "{code} {names} {details}");
    }
}

/// Its code is 200 whatever becomes of it, also in responses of Envoy's own.
#[test]
fn a_grpc_call_goes_by_its_status() {
    let call = |status: Option<u64>, names: &str, details: &str| StreamInfo {
        grpc_status: status,
        ..end(200, names, details)
    };
    let refused = call(Some(14), "UF", "upstream_reset_before_response_started{…}");
    let name = Some("UpstreamConnectionFailure".to_owned());
    assert_eq!(captured(&refused, GRPC), [name.clone(), name]);
    assert_eq!(captured(&refused, HTTP), [None, None], "no call of gRPC");
    let internal = call(Some(13), "", "via_upstream");
    assert_eq!(
        captured(&internal, GRPC),
        [None, Some("gRPC INTERNAL".to_owned())]
    );
    let unknown = call(Some(99), "", "via_upstream");
    assert_eq!(
        captured(&unknown, GRPC),
        [None, Some("gRPC UNKNOWN".to_owned())]
    );
    for status in [None, Some(0), Some(5), Some(7), Some(16)] {
        assert_eq!(
            captured(&call(status, "", "via_upstream"), GRPC),
            [None, None],
            "{status:?}"
        );
    }
    let plain = end(502, "", "via_upstream");
    assert_eq!(captured(&plain, GRPC), [None, Some("HTTP 502".to_owned())]);
    assert_eq!(SpanStatus::http_of_grpc(4), 504);
    assert_eq!(SpanStatus::http_of_grpc(8), 429);
}
