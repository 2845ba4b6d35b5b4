//! The host itself, on modules of a few lines: a test double that is wrong proves nothing.

use wasm_host::{status, Answer, Cluster, HeaderMap, Host, Trap, Twist, When, CONTINUE};

/// A module with 1 MiB of memory and an allocator that only goes up.
fn module(imports: &str, body: &str) -> Host {
    let text = format!(
        r#"(module
            {imports}
            (memory (export "memory") 16)
            (global $top (mut i32) (i32.const 65536))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param $len i32) (result i32)
                global.get $top
                (global.set $top (i32.add (global.get $top) (local.get $len))))
            (data (i32.const 16) "x-name")
            (data (i32.const 32) "value")
            (data (i32.const 48) "sentry")
            (data (i32.const 64) "\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00POST\00:path\00/\00:authority\00a\00")
            {body})"#
    );
    let host = Host::builder().module(text).start();
    host.unwrap_or_else(|error| panic!("{error}"))
}

const REPLACE: &str = r#"(import "env" "proxy_replace_header_map_value"
    (func $replace (param i32 i32 i32 i32 i32) (result i32)))"#;

#[test]
fn a_header_map_changes_only_in_its_own_phase() -> Result<(), Trap> {
    let write = |export: &str, params: &str, map: u32| {
        format!(
            r#"(func (export "{export}") (param {params}) (result i32)
                (call $replace (i32.const {map}) (i32.const 16) (i32.const 6) (i32.const 32) (i32.const 5)))"#
        )
    };
    let mut host = module(
        REPLACE,
        &[
            write("proxy_on_request_headers", "i32 i32 i32", 0),
            write("proxy_on_request_body", "i32 i32 i32", 0),
            write("proxy_on_response_headers", "i32 i32 i32", 2),
            write("proxy_on_response_body", "i32 i32 i32", 0),
            write("proxy_on_done", "i32", 2),
        ]
        .concat(),
    );
    let (root, _) = host.plugin("{}")?;
    let stream = host.create_stream(root)?;
    let headers = HeaderMap::new()
        .with("X-Name", "1")
        .with("x-name", "2")
        .with("y", "3");
    assert_eq!(host.request_headers(stream, &headers, false)?, status::OK);
    let written = HeaderMap::new().with("y", "3").with("x-name", "value");
    assert_eq!(host.request_headers_of(stream), written);
    assert_eq!(host.last().writes.len(), 1);
    assert_eq!(host.request_body(stream, b"", true)?, status::BAD_ARGUMENT);
    assert_eq!(host.response_headers(stream, &headers, false)?, status::OK);
    assert_eq!(host.response_body(stream, b"", true)?, status::BAD_ARGUMENT);
    host.done(stream)?;
    assert!(host.last().writes.is_empty());
    Ok(())
}

#[test]
fn a_trap_is_told_with_the_last_words_and_the_vm_is_dead() {
    let mut host = module(
        r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#,
        r#"(func (export "proxy_on_tick") (param i32)
            (drop (call $log (i32.const 5) (i32.const 32) (i32.const 5)))
            unreachable)"#,
    );
    let trap = host.tick(1).expect_err("unreachable").to_string();
    assert!(
        trap.contains("proxy_on_tick") && trap.contains("it said: value"),
        "{trap}"
    );
    assert_eq!(host.create_root().expect_err("a dead VM").to_string(), trap);
}

#[test]
fn a_loop_ends_as_a_trap() {
    let mut host = module(
        "",
        r#"(func (export "proxy_on_tick") (param i32) (loop (br 0)))"#,
    );
    let trap = host.tick(1).expect_err("no fuel left").to_string();
    assert!(trap.contains("fuel"), "{trap}");
}

#[test]
fn refusals_follow_the_plan() -> Result<(), Trap> {
    let answer = |when: When| -> Result<Vec<u32>, Trap> {
        let write = "(call $replace (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 32) (i32.const 5))";
        let mut host = module(
            REPLACE,
            &format!(
                r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {write})
                   (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) {write})"#
            ),
        );
        host.refuse("proxy_replace_header_map_value", 99, when);
        let root = host.create_root()?;
        let stream = host.create_stream(root)?;
        let headers = HeaderMap::new();
        let mut answers = vec![
            host.request_headers(stream, &headers, true)?,
            host.request_trailers(stream, &headers)?,
        ];
        host.configure(root, "{}")?;
        answers.push(host.request_headers(stream, &headers, true)?);
        host.behave();
        answers.push(host.request_headers(stream, &headers, true)?);
        Ok(answers)
    };
    let own = status::BAD_ARGUMENT;
    assert_eq!(answer(When::Always)?, [99, 99, 99, 0]);
    assert_eq!(answer(When::FromConfiguration)?, [0, own, 99, 0]);
    assert_eq!(answer(When::AfterConfiguration)?, [0, own, 99, 0]);
    assert_eq!(answer(When::FromCall(2))?, [0, 99, 99, 0]);
    assert_eq!(
        answer(When::During("proxy_on_request_trailers"))?,
        [0, 99, 0, 0]
    );
    Ok(())
}

#[test]
fn bytes_come_back_through_the_modules_memory_and_can_be_twisted() -> Result<(), Trap> {
    // Answers the status, or the size and the address that came back.
    let mut host = module(
        r#"(import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))"#,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (local $status i32)
            (local.set $status (call $get (i32.const 32) (i32.const 5) (i32.const 8) (i32.const 12)))
            (if (result i32) (local.get $status)
                (then (i32.sub (i32.const 0) (local.get $status)))
                (else (i32.add (i32.mul (i32.load (i32.const 12)) (i32.const 1000000)) (i32.load (i32.const 8))))))"#,
    );
    let (root, _) = host.plugin("{}")?;
    let stream = host.create_stream(root)?;
    let headers = HeaderMap::new();
    assert_eq!(
        host.request_headers(stream, &headers, true)?.cast_signed(),
        -1,
        "not found"
    );
    host.set_property(stream, &["value"], "abc");
    assert_eq!(host.request_headers(stream, &headers, true)?, 3_065_536);
    host.twist("proxy_get_property", When::Always, Twist::Null);
    assert_eq!(host.request_headers(stream, &headers, true)?, 0);
    host.behave();
    host.twist("proxy_get_property", When::Always, Twist::Bytes(vec![0; 7]));
    assert_eq!(host.request_headers(stream, &headers, true)?, 7_065_539);
    Ok(())
}

const HTTP_CALL: &str = r#"(import "env" "proxy_http_call"
    (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_done" (func $done (result i32)))"#;

const CALL_AND_DONE: &str = r#"
    (global $status (mut i32) (i32.const -1))
    (func (export "proxy_on_tick") (param i32)
        (global.set $status (call $call (i32.const 48) (i32.const 6) (i32.const 64) (i32.const 62)
            (i32.const 32) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 8))))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (global.get $status))
    (func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))
    (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
        (drop (call $done)))"#;

#[test]
fn a_callout_is_recorded_and_answered_once() -> Result<(), Trap> {
    let mut host = module(HTTP_CALL, CALL_AND_DONE);
    let (root, _) = host.plugin("{}")?;
    host.tick(root)?;
    let callout = host.callouts()[0].clone();
    assert_eq!((callout.token, callout.root), (1, root));
    assert_eq!(
        (callout.cluster.as_str(), callout.timeout_ms),
        ("sentry", 1500)
    );
    assert_eq!(callout.headers.only(":method"), "POST");
    assert_eq!(callout.body, b"value");
    assert!(!host.shut_down(root)?, "the module waits for its answer");
    assert!(host.has_context(root));
    host.answer(1, &Answer::status(200))?;
    assert_eq!(host.done_calls(), [root]);
    assert!(!host.has_context(root), "deleted after `proxy_done`");
    assert!(host.outstanding().is_empty());
    Ok(())
}

#[test]
fn a_callout_that_cannot_start_is_refused_as_in_envoy() -> Result<(), Trap> {
    let mut host = module(HTTP_CALL, CALL_AND_DONE);
    let (root, _) = host.plugin("{}")?;
    host.set_cluster("sentry", Cluster::NoHealthyHost);
    host.tick(root)?;
    assert!(host.callouts().is_empty());
    assert_eq!(
        host.raw(root, "proxy_on_vm_start", &[root, 0])?,
        Some(status::INTERNAL_FAILURE)
    );
    host.remove_cluster("sentry");
    host.tick(root)?;
    assert_eq!(
        host.raw(root, "proxy_on_vm_start", &[root, 0])?,
        Some(status::BAD_ARGUMENT)
    );
    assert!(host.callouts().is_empty());
    Ok(())
}

#[test]
fn an_export_that_is_not_there_lets_the_stream_go_on() -> Result<(), Trap> {
    let mut host = module("", "");
    let (root, accepted) = host.plugin("{}")?;
    assert!(accepted);
    let stream = host.create_stream(root)?;
    assert_eq!(host.response_trailers(stream, &HeaderMap::new())?, CONTINUE);
    assert!(host.done(stream)?);
    host.delete(stream)
}
