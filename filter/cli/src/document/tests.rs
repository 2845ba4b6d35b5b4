use super::*;

fn one(text: &str) -> Node {
    Node::parse(text)
        .expect("YAML")
        .into_iter()
        .next()
        .expect("one")
}

#[test]
fn every_value_knows_its_line() {
    let node = one("a:\n  b: 1\n  c:\n  - x\n  - {d: true}\n");
    assert_eq!(node.line_of("a.b"), 2);
    assert_eq!(node.line_of("a.c[1].d"), 5);
    assert_eq!(node.line_of("a.c[1].e"), 5, "of the object that lacks it");
    assert_eq!(node["a"]["c"].items()[0].line, 4);
    assert!(node["a"]["x"]["y"].is_null());
    let json = one("{\n  \"typedConfig\": {\n    \"@type\": \"x\"\n  }\n}");
    assert_eq!(json["typed_config"]["@type"].line, 3);
}

#[test]
fn a_block_has_lines_of_the_file_around_it() {
    let node = one("data:\n  envoy.yaml: |\n    admin: {}\n    node:\n      id: x\n");
    let inner = node["data"]["envoy.yaml"]
        .embedded()
        .into_iter()
        .next()
        .expect("one");
    assert_eq!(inner["node"]["id"].line, 5);
    let quoted = one("a:\n  b: '{\"c\": 1}'");
    assert_eq!(quoted["a"]["b"].embedded()[0]["c"].line, 2);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for (text, line) in [
        ("a: 1\nb: 2\na: 3\n", 3),
        ("{\"a\": {\"b\": 1,\n \"b\": 2}}", 2),
        ("- x: 1\n  x: 1\n", 2),
    ] {
        let error = Node::parse(text).expect_err(text);
        assert_eq!(error.line, line, "{error}");
        assert!(error.message.contains("twice"), "{error}");
    }
}

#[test]
fn scalars_are_those_of_the_core_schema() {
    let node = one("[~, true, 1, -2, 0x1f, 1.5, 1e3, yes, 1.2.3, '1', \"true\", !!str 7, .5]");
    assert_eq!(
        node.to_json(),
        serde_json::json!([
            null, true, 1, -2, 31, 1.5, 1000.0, "yes", "1.2.3", "1", "true", "7", 0.5
        ])
    );
}

#[test]
fn json_is_read_as_json_where_yaml_differs() {
    let node = one("{\n\t\"a\": \"\\ud83d\\ude00\"\n}");
    assert_eq!(node["a"].text(), Some("\u{1f600}"));
}

#[test]
fn aliases_are_followed_and_bounded() {
    let node = one("a: &x {b: 1}\nc: *x\n");
    assert_eq!(node["c"]["b"].number(), Some(1));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(Node::parse(&bomb).is_err());
    assert!(Node::parse(&"[".repeat(10_000)).is_err());
}
