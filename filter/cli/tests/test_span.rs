//! What the receiver answers to the test span, or does not, is explained.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use assert_cmd::Command;

/// Runs `sentry-filter check`; its exit code, and what it printed.
fn check(stdin: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    let output = command
        .arg("check")
        .args(arguments)
        .write_stdin(stdin)
        .output()
        .expect("a run");
    let printed = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(printed).expect("text");
    (output.status.code().expect("an exit code"), text)
}

/// Answers one POST, and returns what it was.
fn receiver(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let posted = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let len = head.lines().find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse::<usize>()
                        .ok()
                });
                if body.len() >= len.expect("a length") {
                    break;
                }
            }
            let read = stream.read(&mut buffer).expect("a request");
            request.extend_from_slice(&buffer[..read]);
        }
        let (status, headers) = answer.split_once('\n').unwrap_or((answer, ""));
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: 4\r\nconnection: close\r\n\r\nwhy?"
        );
        stream.write_all(answer.as_bytes()).expect("an answer");
        String::from_utf8_lossy(&request).into_owned()
    });
    (port, posted)
}

#[test]
fn each_answer_to_the_test_span_is_explained() {
    let rows = [
        ("200 OK", 0, "the receiver took the span"),
        ("302 Found\nlocation: /x\r\n", 3, "a redirect"),
        ("400 Bad Request", 3, "could not read"),
        ("401 Unauthorized", 3, "does not know the key"),
        ("403 Forbidden", 3, "It says: why?"),
        (
            "404 Not Found",
            3,
            "the project id, or transport.path, is wrong",
        ),
        ("413 Payload Too Large", 3, "too large"),
        (
            "429 Too Many Requests\nretry-after: 17\r\n",
            3,
            "asks for a pause of 17 s",
        ),
        (
            "429 Too Many Requests\nx-sentry-rate-limits: 23:transaction:key\r\n",
            3,
            "asks for a pause of 23 s",
        ),
        ("503 Service Unavailable", 3, "is failing"),
    ];
    for (answer, code, expected) in rows {
        let (port, posted) = receiver(answer);
        // What would leave the span out of production does not leave it out here.
        let config = format!(
            r#"{{"dsn": "http://key:hush@127.0.0.1:{port}/1", "traces_sample_rate": 0, "rules": [{{"ignore": true}}], "trace_ignore_status_codes": [200]}}"#
        );
        let (found, printed) = check(&config, &["-", "--send-test"]);
        assert_eq!(found, code, "{answer}: {printed}");
        assert!(printed.contains(expected), "{answer}: {printed}");
        assert!(!printed.contains("hush"), "{printed}");
        let posted = posted.join().expect("a request");
        assert!(posted.starts_with("POST /api/1/envelope/ "), "{posted}");
        assert!(posted.contains("sentry_key=key"), "{posted}");
        assert!(posted.contains(r#""type":"transaction""#), "{posted}");
    }
}

/// Answers a handshake with something else.
fn no_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut hello = [0; 64];
        let _ = stream.read(&mut hello);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // Not closed before all is read, or a reset would overtake the answer.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    port
}

#[test]
fn no_answer_to_the_test_span_is_explained() {
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain = no_tls();
    let silent_port = silent.local_addr().expect("an address").port();
    let rows = [
        (
            format!("http://key@127.0.0.1:{free}/1"),
            "the connection was refused",
        ),
        (
            format!("http://key@127.0.0.1:{silent_port}/1"),
            "no answer within transport.timeout_ms (300)",
        ),
        (format!("https://key@127.0.0.1:{plain}/1"), "TLS"),
        ("http://key@sentry.invalid/1".to_owned(), "has no address"),
        (String::new(), "there is no DSN"),
    ];
    for (dsn, expected) in rows {
        // Only the one that never answers is not waited for.
        let timeout_ms = if expected.contains("300") {
            300
        } else {
            20_000
        };
        let config = format!(r#"{{"dsn": "{dsn}", "transport": {{"timeout_ms": {timeout_ms}}}}}"#);
        let (code, printed) = check(&config, &["-", "--send-test"]);
        assert_eq!(code, 3, "{printed}");
        assert!(printed.contains(expected), "{dsn}: {printed}");
    }
}
