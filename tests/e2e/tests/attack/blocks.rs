//! Requests that are as long, or as many-lined, as Envoy takes them: 60 KiB and 100 lines by
//! default.

use e2e::attacker::Block;

use super::loads::SAMPLED;

/// The longest value that leaves room for the rest of a request.
pub const LONGEST: usize = 57_000;

fn filled(with: &str) -> String {
    with.repeat(LONGEST / with.len())
}

/// Recorded requests, each with something else that is long.
pub fn long() -> Vec<Block> {
    let sampled = |block: Block| block.line("sentry-trace", SAMPLED);
    let with = |name: &str| sampled(Block::get("/held")).line(name, &filled("w"));
    let mut blocks = vec![
        sampled(Block::get(&format!("/held/{}", filled("p")))),
        sampled(Block::get(&format!("/held?{}", filled("q=1&")))),
        sampled(Block::request("GET", "/held", &filled("h"))),
    ];
    let names = [
        "origin",
        "user-agent",
        "referer",
        "x-forwarded-for",
        "x-captured",
        "x-request-id",
        "cookie",
        "content-type",
        "accept",
        "x-request-start",
        "access-control-request-method",
    ];
    blocks.extend(names.map(with));
    blocks.push(with("baggage").line("tracestate", "a=b"));
    blocks.push(sampled(Block::get("/held")).line("tracestate", &filled("a=b,")));
    blocks
}

/// Requests that are long where the filter reads.
pub fn floods() -> Vec<(&'static str, Block)> {
    let get = || Block::get("/local");
    let sampled = || get().line("sentry-trace", SAMPLED);
    let lines = |block: Block, name: &str, value: &str, count: usize| {
        (0..count).fold(block, |block, _| block.line(name, value))
    };
    let trace_id = &SAMPLED[..32];
    let parent = format!("00-{trace_id}-6e0c63257de34c92-01");
    let own = format!("sentry-trace_id={trace_id},");
    vec![
        ("90 lines", lines(sampled(), "x-line", &"v".repeat(600), 90)),
        (
            "90 `sentry-trace`, equal",
            lines(get(), "sentry-trace", SAMPLED, 90),
        ),
        (
            "`sentry-trace` of 57 kB",
            get().line("sentry-trace", &filled(&format!("{SAMPLED},"))),
        ),
        (
            "`sentry-trace` of commas",
            get().line("sentry-trace", &filled(",")),
        ),
        ("90 `traceparent`", lines(get(), "traceparent", &parent, 90)),
        (
            "`traceparent` of 57 kB",
            get().line("traceparent", &filled("00-")),
        ),
        (
            "`tracestate` of 57 kB",
            get()
                .line("traceparent", &parent)
                .line("tracestate", &filled("a=b,")),
        ),
        (
            "`baggage` of commas",
            sampled().line("baggage", &filled(",")),
        ),
        (
            "`baggage` of white space",
            sampled().line("baggage", &filled(" \t")),
        ),
        (
            "`baggage` of others' members",
            sampled().line("baggage", &filled("a=b,")),
        ),
        (
            "`baggage` of own members",
            sampled().line("baggage", &filled("sentry-x=y,")),
        ),
        (
            "`baggage` of one own member",
            sampled().line("baggage", &filled(&own)),
        ),
        (
            "`baggage` of percent-encoded keys",
            sampled().line("baggage", &filled("%73entry-x=y,")),
        ),
        (
            "`baggage` of percent signs",
            sampled().line("baggage", &filled("%")),
        ),
        (
            "`baggage` of properties",
            sampled().line("baggage", &format!("a=b{}", filled(";p=q"))),
        ),
        (
            "`baggage` of one key",
            sampled().line("baggage", &filled("k")),
        ),
        (
            "`baggage` of one value",
            sampled().line("baggage", &format!("sentry-release={}", filled("v"))),
        ),
        (
            "90 `baggage`",
            lines(sampled(), "baggage", &filled("a=b,")[..600], 90),
        ),
        (
            "90 `cookie`",
            lines(sampled(), "cookie", &filled("a=b; ")[..600], 90),
        ),
        (
            "a query of names",
            Block::get(&format!("/local?{}", filled("token=1&"))),
        ),
        (
            "a query of semicolons",
            Block::get(&format!("/local?{}", filled(";"))),
        ),
        (
            "a query of percent signs",
            Block::get(&format!("/local?{}", filled("%2"))),
        ),
        (
            "a path of dots",
            Block::get(&format!("/local{}", filled("/.."))),
        ),
        (
            "a path of slashes",
            Block::get(&format!("/local{}", filled("/"))),
        ),
        (
            "a path of percent signs",
            Block::get(&format!("/local/{}", filled("%41"))),
        ),
        (
            "a path of at signs",
            Block::get(&format!("/local/{}", filled("://u:p@"))),
        ),
        ("a name of 57 kB", sampled().line(&filled("x"), "v")),
        (
            "90 `sentry_trace`",
            lines(get(), "sentry_trace", SAMPLED, 90),
        ),
        (
            "`:authority` of 57 kB",
            Block::request("GET", "/local", &filled("h")),
        ),
        (
            "a method of 57 kB",
            Block::request(&filled("M"), "/local", "gateway.test"),
        ),
        ("`Origin` of 57 kB", get().line("origin", &filled("o"))),
    ]
}

/// Preflights that are long where the filter reads, answered so that any origin may.
pub fn preflights() -> Vec<(&'static str, Block)> {
    let asks = |names: &str| {
        Block::request("OPTIONS", "/open", "gateway.test")
            .line("origin", "https://page.test")
            .line("access-control-request-method", "GET")
            .line("access-control-request-headers", names)
    };
    vec![
        (
            "a service's long lists",
            Block::request("OPTIONS", "/lists", "gateway.test")
                .line("origin", "https://page.test")
                .line("access-control-request-method", "GET"),
        ),
        (
            "a service's long lists, no preflight",
            Block::get("/lists").line("origin", "https://page.test"),
        ),
        ("commas", asks(&filled(","))),
        ("white space", asks(&filled(" "))),
        ("short names", asks(&filled("a,"))),
        ("our names", asks(&filled("baggage, sentry-trace,"))),
        ("one name", asks(&filled("n"))),
        (
            "90 lines",
            (0..90).fold(asks("a"), |block, _| {
                block.line("access-control-request-headers", &filled("x-a,")[..400])
            }),
        ),
    ]
}
