use super::*;

mod modes;

/// Without what may tell of a person, or with it; of headers those that are named.
fn config(is_on: bool) -> DataOptions {
    let without = DataOptions::default();
    match is_on {
        true => DataOptions {
            user_info: true,
            cookies: Collection::On,
            url_query_params: Collection::On,
            ..without
        },
        false => without,
    }
}

fn named(names: &[&str], data: DataOptions) -> DataOptions {
    DataOptions {
        capture_request_headers: names.iter().map(|name| (*name).to_owned()).collect(),
        ..data
    }
}

#[test]
fn the_values_of_a_query_stay_here_unless_asked_for() {
    let rows = [
        ("page=2", "page=[Filtered]", "page=2"),
        ("a=1&b=", "a=[Filtered]&b=", "a=1&b="),
        (
            "token=x&q=y=z",
            "token=[Filtered]&q=[Filtered]",
            "token=[Filtered]&q=y=z",
        ),
        (
            "access%5Ft%6Fken=x",
            "access%5Ft%6Fken=[Filtered]",
            "access%5Ft%6Fken=[Filtered]",
        ),
        ("somebody", "[Filtered]", "somebody"),
        ("API_KEY", "[Filtered]", "[Filtered]"),
        ("", "", ""),
    ];
    for (query, without, with) in rows {
        assert_eq!(config(false).query(query), without, "{query}");
        assert_eq!(config(true).query(query), with, "{query}");
    }
}

#[test]
fn headers_are_recorded_by_the_rules_of_their_names() {
    let pairs: [(&[u8], &[u8]); 8] = [
        (b"Accept", b"text/html"),
        (b"accept", b"*/*"),
        (b"authorization", b"Bearer x"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"referer", b"https://me:pw@page.test/a?mail=x#top"),
        (b"cookie", b"theme=dark; JSESSIONID=1; ; lost"),
        (b"set-cookie", b"cart=7; Path=/; Secure"),
        (b"x-raw", b"\xff"),
    ];
    let headers = Headers::from_pairs(pairs);
    let names = [
        "accept",
        "authorization",
        "x-forwarded-for",
        "referer",
        "cookie",
        "set-cookie",
        "x-raw",
        "x-none",
    ];
    let captured = |pii| named(&names, config(pii)).capture_request(&headers);
    let expected: [(&str, &[&str], &[&str]); 7] = [
        ("accept", &["text/html", "*/*"], &["text/html", "*/*"]),
        ("authorization", &[FILTERED], &[FILTERED]),
        ("x-forwarded-for", &[FILTERED], &["10.0.0.1"]),
        (
            "referer",
            &["https://page.test/a?mail=[Filtered]"],
            &["https://page.test/a?mail=x"],
        ),
        (
            "cookie",
            &[FILTERED],
            &["theme=dark", "JSESSIONID=[Filtered]", FILTERED],
        ),
        ("set-cookie", &[FILTERED], &["cart=7"]),
        ("x-raw", &["\u{fffd}"], &["\u{fffd}"]),
    ];
    for (index, (name, without, with)) in expected.into_iter().enumerate() {
        for (lines, pii) in [(without, false), (with, true)] {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(captured(pii)[index], (name.to_owned(), lines), "pii {pii}");
        }
    }
    assert_eq!(captured(true).len(), expected.len());
}

#[test]
fn cookies_that_say_nothing_are_one_filtered_line() {
    let headers = Headers::from_pairs([(b"cookie".as_slice(), b" ; =; ".as_slice())]);
    let captured = config(true).capture_request(&headers);
    assert_eq!(captured, [("cookie".to_owned(), vec![FILTERED.to_owned()])]);
}

/// What leaves of a query without consent, and with it.
#[test]
fn no_query_hides_a_value_from_the_filter() {
    let rows = [
        // What has no name is a value, whatever it ends in.
        ("SECRET==", "[Filtered]", "[Filtered]"),
        ("YWxhZGRpbjpvcGVuc2V=", "[Filtered]", "YWxhZGRpbjpvcGVuc2V="),
        ("a==", "[Filtered]", "a=="),
        ("=SECRET", "[Filtered]", "[Filtered]"),
        ("=x", "[Filtered]", "=x"),
        ("a=1&&b", "a=[Filtered]&&[Filtered]", "a=1&&b"),
        ("q=&page=", "q=&page=", "q=&page="),
        // Other separators.
        (
            "a=1;token=x",
            "a=[Filtered];token=[Filtered]",
            "a=1;token=[Filtered]",
        ),
        (
            "a=1&amp;token=x",
            "a=[Filtered]&[Filtered];token=[Filtered]",
            "a=1&amp;token=[Filtered]",
        ),
        ("a=1,token=x", "a=[Filtered]", "a=[Filtered]"),
        ("a=1?token=x", "a=[Filtered]", "a=[Filtered]"),
        ("a=1%26token=x", "a=[Filtered]", "a=[Filtered]"),
        ("a=1%26token%3Dx", "a=[Filtered]", "a=[Filtered]"),
        ("a=1%3btoken%3dx", "a=[Filtered]", "a=[Filtered]"),
        ("a=1%2526token%253Dx", "a=[Filtered]", "a=[Filtered]"),
        ("token%3Dx", "[Filtered]", "[Filtered]"),
        ("a%3Dx%26b=1", "[Filtered]", "a%3Dx%26b=1"),
        ("token%3Dx%26b=1", "[Filtered]", "[Filtered]"),
        // Names in other clothes.
        ("TOKEN=x", "TOKEN=[Filtered]", "TOKEN=[Filtered]"),
        (
            "user[password]=x",
            "user[password]=[Filtered]",
            "user[password]=[Filtered]",
        ),
        (
            "user%5Bpassword%5D=x",
            "user%5Bpassword%5D=[Filtered]",
            "user%5Bpassword%5D=[Filtered]",
        ),
        (
            "%2574oken=x",
            "%2574oken=[Filtered]",
            "%2574oken=[Filtered]",
        ),
        (
            "access+token=x",
            "access+token=[Filtered]",
            "access+token=[Filtered]",
        ),
        (
            "X-Amz-Signature=x",
            "X-Amz-Signature=[Filtered]",
            "X-Amz-Signature=[Filtered]",
        ),
        (
            "X-Amz-Credential=x",
            "X-Amz-Credential=[Filtered]",
            "X-Amz-Credential=[Filtered]",
        ),
        (
            "sig=x&design=y",
            "sig=[Filtered]&design=[Filtered]",
            "sig=[Filtered]&design=y",
        ),
        // Values with names, credentials or URLs of their own.
        (
            "next=https://a.test/?b=1",
            "next=[Filtered]",
            "next=https://a.test/?b=1",
        ),
        (
            "next=https%3A%2F%2Fa.test%2F%3Ftoken%3Dx",
            "next=[Filtered]",
            "next=[Filtered]",
        ),
        (
            "next=https://a.test/%23access_token=x",
            "next=[Filtered]",
            "next=[Filtered]",
        ),
        (
            "next=https://me:pw@a.test/",
            "next=[Filtered]",
            "next=[Filtered]",
        ),
        (
            "next=https:%2F%2Fme%40a.test",
            "next=[Filtered]",
            "next=[Filtered]",
        ),
        ("q={\"password\":\"x\"}", "q=[Filtered]", "q=[Filtered]"),
        (
            "q=%7B%22a%22:%7B%22token%22:1%7D%7D",
            "q=[Filtered]",
            "q=[Filtered]",
        ),
        ("q=password:x", "q=[Filtered]", "q=[Filtered]"),
        ("q={\"page\":1}", "q=[Filtered]", "q={\"page\":1}"),
        (
            "q=12:30&to=a/b",
            "q=[Filtered]&to=[Filtered]",
            "q=12:30&to=a/b",
        ),
    ];
    for (query, without, with) in rows {
        assert_eq!(config(false).query(query), without, "{query}");
        assert_eq!(config(true).query(query), with, "{query}");
        for pii in [false, true] {
            let once = config(pii).query(query);
            assert_eq!(config(pii).query(&once), once, "twice: {query}");
        }
    }
    let long = "n".repeat(100);
    assert_eq!(config(false).query(&format!("{long}=1")), FILTERED);
}

#[test]
fn a_path_has_parameters_and_credentials_too() {
    let rows = [
        ("/a/b:list/c@d", "/a/b:list/c@d", "/a/b:list/c@d"),
        (
            "/v1/tokens:exchange",
            "/v1/tokens:exchange",
            "/v1/tokens:exchange",
        ),
        ("/page=2/x", "/page=2/x", "/page=2/x"),
        (
            "/a;jsessionid=1/b",
            "/a;jsessionid=[Filtered]/b",
            "/a;jsessionid=[Filtered]/b",
        ),
        ("/a;x=1;v/b", "/a;x=[Filtered];[Filtered]/b", "/a;x=1;v/b"),
        ("/a%3Bjsessionid=1/b", "/[Filtered]/b", "/[Filtered]/b"),
        ("/a%3bx=1", "/a%3bx=1", "/a%3bx=1"),
        (
            "/reset/token=1/x",
            "/reset/token=[Filtered]/x",
            "/reset/token=[Filtered]/x",
        ),
        ("/p/https://me:pw@h/a", "/p/https://h/a", "/p/https://h/a"),
        ("/p/https://me@h/a", "/p/https://h/a", "/p/https://h/a"),
        ("/p/https:/me:pw@h/a", "/p/https:/h/a", "/p/https:/h/a"),
        (
            "/p/https%3A%2F%2Fme%3Apw%40h/a",
            "/p/[Filtered]/a",
            "/p/[Filtered]/a",
        ),
        ("/p/a%3Fkey%3D1", "/p/[Filtered]", "/p/[Filtered]"),
        ("//me:pw@h/a", "//h/a", "//h/a"),
    ];
    for (path, without, with) in rows {
        assert_eq!(config(false).path(path), without, "{path}");
        assert_eq!(config(true).path(path), with, "{path}");
        let once = config(false).path(path);
        assert_eq!(config(false).path(&once), once, "twice: {path}");
    }
}

/// A captured header with its value: what leaves without consent, and with it.
#[test]
fn captured_headers_tell_no_secrets() {
    // Secrets, in every mode.
    for name in [
        "authorization",
        "proxy-authorization",
        "authentication",
        "www-authenticate",
        "authentication-info",
        "cookie2",
        "set-cookie2",
        "x-cookie",
        "x-api-key",
        "x_api_key",
        "x-amz-security-token",
        "x-csrftoken",
        "x-client-cert",
        "client-cert",
        "client-cert-chain",
        "ssl-client-cert",
        "x-ssl-client-s-dn",
        "ssl-client-subject-dn",
        "x-ssl-cert",
        "x-arr-clientcert",
        "x-forwarded-client-cert",
        "x-hub-signature-256",
        "sec-websocket-key",
    ] {
        for pii in [false, true] {
            assert_eq!(config(pii).header(name, "x"), FILTERED, "{name} {pii}");
        }
    }
    // What tells of a person, without consent.
    for name in [
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "x_real_ip",
        "true-client-ip",
        "cf-connecting-ip",
        "client-ip",
        "x-clientip",
        "x-azure-clientip",
        "x-azure-socketip",
        "remote-addr",
        "x-envoy-external-address",
        "cloudfront-viewer-address",
        "x-ms-client-principal",
        "x-ms-client-principal-name",
        "x-remote-user",
        "x-user-id",
        "via",
        "user-agent",
        "sec-ch-ua-platform",
        "from",
        "x-goog-user-email",
    ] {
        assert_eq!(config(false).header(name, "x"), FILTERED, "{name}");
        assert_eq!(config(true).header(name, "x"), "x", "{name}");
    }
    let rows = [
        ("accept", "text/html", "text/html", "text/html"),
        ("content-type", "multipart/form-data; boundary=x", "multipart/form-data; boundary=x", "multipart/form-data; boundary=x"),
        ("strict-transport-security", "max-age=1; preload", "max-age=1; preload", "max-age=1; preload"),
        ("x-cache", "HIT", "HIT", "HIT"),
        ("location", "/a?b=1#c", "/a?b=[Filtered]", "/a?b=1"),
        ("location", "https://me:pw@h/a;sid=1", "https://h/a;sid=[Filtered]", "https://h/a;sid=[Filtered]"),
        ("content-location", "//me@h/?token=1", "//h/?token=[Filtered]", "//h/?token=[Filtered]"),
        ("referer", "https://me:p?w@h/", "https://[Filtered]", "https://[Filtered]"),
        ("referer", "https://h/a?b=1?token=2", "https://h/a?b=[Filtered]", "https://h/a?b=[Filtered]"),
        ("x-original-url", "/a?token=1&b=2", "/a?token=[Filtered]&b=[Filtered]", "/a?token=[Filtered]&b=2"),
        ("x_original_uri", "/a?b=2", "/a?b=[Filtered]", "/a?b=2"),
        ("x-rewrite-url", "/a?b=2", "/a?b=[Filtered]", "/a?b=2"),
        ("x-envoy-original-path", "/a;x=1?b=2", "/a;x=[Filtered]?b=[Filtered]", "/a;x=1?b=2"),
        ("sourcemap", "/a.map?key=1", "/a.map?key=[Filtered]", "/a.map?key=[Filtered]"),
        ("x-forwarded-uri", "/a?token=1", FILTERED, "/a?token=[Filtered]"),
        (
            "link",
            "<https://me:pw@h/a?token=1&p=2>; rel=\"next\", </b?p=3>; rel=prev",
            "<https://h/a?token=[Filtered]&p=[Filtered]>; rel=\"next\", </b?p=[Filtered]>; rel=prev",
            "<https://h/a?token=[Filtered]&p=2>; rel=\"next\", </b?p=3>; rel=prev",
        ),
        ("link", "/a?token=1", "/a?token=[Filtered]", "/a?token=[Filtered]"),
        ("link", "a>b</c?token=1", "a>b</c?token=[Filtered]", "a>b</c?token=[Filtered]"),
        (
            "link",
            "</a>; anchor=\"/b?p=1\"",
            "</a>; anchor=\"/b?p=[Filtered]\"",
            "</a>; anchor=\"/b?p=1\"",
        ),
        ("refresh", "5; url=https://me:pw@h/a?p=1", "5; url=https://h/a?p=[Filtered]", "5; url=https://h/a?p=1"),
        ("refresh", "5;URL = '/a?token=1'", "5;URL = '/a?token=[Filtered]", "5;URL = '/a?token=[Filtered]"),
        ("refresh", "0, /a?token=1", "0, /a?token=[Filtered]", "0, /a?token=[Filtered]"),
        ("refresh", "5", "5", "5"),
        (
            "report-to",
            "{\"endpoints\":[{\"url\":\"https://h/?p=1\"}]}",
            "{\"endpoints\":[{\"url\":\"https://h/?p=[Filtered]\"}]}",
            "{\"endpoints\":[{\"url\":\"https://h/?p=1\"}]}",
        ),
        ("x-note", "see https://me:pw@h/a?token=1 now", "see https://h/a?token=[Filtered] now", "see https://h/a?token=[Filtered] now"),
        ("x-state", "{\"password\":\"x\"}", FILTERED, FILTERED),
        ("x-state", "a=1; token=x", FILTERED, FILTERED),
    ];
    for (name, value, without, with) in rows {
        assert_eq!(
            config(false).header(name, value),
            without,
            "{name}: {value}"
        );
        assert_eq!(config(true).header(name, value), with, "{name}: {value}");
    }
}

#[test]
fn the_value_of_a_cookie_may_hold_others() {
    let headers = Headers::from_pairs([(
        b"cookie".as_slice(),
        b"a=1, session=2; b={\"token\":1}; c=x%3D1; SymfonySession=3; d=%26key%3D1".as_slice(),
    )]);
    let captured = config(true).capture_request(&headers);
    let expected = ["a", "b", "", "SymfonySession", "d"].map(|name| match name {
        "" => "c=x%3D1".to_owned(),
        name => format!("{name}={FILTERED}"),
    });
    assert_eq!(captured, [("cookie".to_owned(), expected.to_vec())]);
}

/// No caller's text makes the filter slow: it is called with texts of a bounded length, and takes
/// steps in proportion to them.
#[test]
fn any_text_is_filtered() {
    proptest::proptest!(|(text in "[a-c%2356BD&;=?#/:@{}\\\\\"<> ]{0,60}")| {
        for pii in [false, true] {
            let data = config(pii);
            let query = data.query(&text);
            proptest::prop_assert_eq!(data.query(&query), query);
            let _ = data.path(&text);
            for name in ["link", "refresh", "location", "x-any"] {
                let _ = data.header(name, &text);
            }
        }
    });
}
