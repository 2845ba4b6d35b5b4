//! The kinds of failures: one table of Envoy's response flags and of the explanations that have
//! none (Envoy's documentation of `%RESPONSE_FLAGS%` and of response code details; seen on 1.40).
//!
//! ```text
//! UF UpstreamConnectionFailure gateway    nobody behind can report it
//! RL RateLimited policy                   the gateway was told to answer so
//! DC DownstreamConnection… client         a client's doing
//! URX UpstreamRetryLimit… service         a service answered, once more than was tried
//! ```

use crate::data::{cut, has_word};
use crate::span::StreamInfo;

/// What Envoy says of a response that came from the upstream.
const VIA_UPSTREAM: &str = "via_upstream";

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name; `None` if it is told by the code alone.
    pub name: Option<&'static str>,
    /// Whether no service behind the gateway can report it.
    pub is_gateways: bool,
}

/// Every kind, in the order in which they are looked for: an explanation before a flag, since it is
/// closer, and a cause before what follows from it (`UF` before `URX`). A line has the beginning of
/// an explanation, or a flag; the name; and whose failure it is.
pub const TABLE: &str = "\
maintenance_mode MaintenanceMode policy
direct_response DirectResponse policy
lua_response LuaResponse policy
ext_authz_denied UnauthorizedExternalService policy
ext_authz_ ExternalAuthorizationFailure gateway
ext_proc_error ExternalProcessingFailure gateway
max_duration_timeout StreamDurationTimeout gateway
response_payload_too_large ResponsePayloadTooLarge gateway
reached_concurrency_limit ConcurrencyLimitReached gateway
denied_by_admission_control AdmissionDenied gateway
wasm_fail_stream WasmFailure gateway
NC NoClusterFound gateway
NR NoRouteFound gateway
UH NoHealthyUpstream gateway
DF DnsResolutionFailed gateway
UF UpstreamConnectionFailure gateway
UO UpstreamOverflow gateway
UT UpstreamRequestTimeout gateway
UMSDR UpstreamMaxStreamDurationReached gateway
UPE UpstreamProtocolError gateway
UC UpstreamReset gateway
UR UpstreamReset gateway
LR UpstreamReset gateway
OM OverloadManager gateway
DO DropOverload gateway
UDO DropOverload gateway
RLSE RateLimitServiceError gateway
NFCF NoFilterConfigFound gateway
SI StreamIdleTimeout gateway
DT DurationTimeout gateway
LH FailedLocalHealthCheck policy
FI FaultInjected policy
DI DelayInjected policy
RL RateLimited policy
UAEX UnauthorizedExternalService policy
IH InvalidEnvoyRequestHeaders client
DPE DownstreamProtocolError client
DC DownstreamConnectionTermination client
DR DownstreamConnectionTermination client
RFCF ResponseFromCacheFilter service
URX UpstreamRetryLimitExceeded service
";

/// Calls back with every row: how an explanation begins or a flag, the name, and whose failure it
/// is.
pub fn each_row(row: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
    let mut rest = TABLE;
    while !rest.is_empty() {
        let [mark, name, whose] = [" ", " ", "\n"].map(|end| {
            let (word, behind) = cut(rest, end.as_bytes());
            rest = behind.get(1..).unwrap_or_default();
            word
        });
        row(mark, name, whose);
    }
}

/// What kind of failure a stream's end is. `code` is that of the response, or of the gRPC call.
///
/// A service's response is the service's, whatever else is noted. A response of Envoy's own that is
/// in no row was given by a filter: a code of 500 and more is the gateway's failure, any other a
/// refusal that it was told to give. Where no explanation is to be had, or a filter has put another
/// response in the place of the first, nobody knows: then it is none of the gateway's.
pub fn of(end: &StreamInfo, code: u16) -> Kind {
    const UNNAMED: Kind = Kind {
        name: None,
        is_gateways: false,
    };
    let explanation = end.response_code_details.as_deref();
    if explanation == Some(VIA_UPSTREAM) {
        return UNNAMED;
    }
    let flags = end.response_flags.names();
    let mut kind = None;
    each_row(&mut |mark, name, whose| {
        let is_flag = mark.as_bytes().first().is_some_and(u8::is_ascii_uppercase);
        let fits = match is_flag {
            true => has_word(&flags, mark),
            false => explanation.is_some_and(|text| text.starts_with(mark)),
        };
        if fits && kind.is_none() {
            kind = Some(match whose {
                "service" => UNNAMED,
                whose => Kind {
                    name: Some(name),
                    is_gateways: whose == "gateway",
                },
            });
        }
    });
    kind.unwrap_or(Kind {
        name: None,
        is_gateways: explanation.is_some() && code >= 500,
    })
}
