//! The tables of `tests/vectors`: what upstream and client get is the same as in Envoy.

use std::collections::BTreeMap;

use second_host::{Gateway, Lines};
use vectors::{Answered, Request, Response, Seen};

/// A filter for each configuration; starting one is what takes time.
#[derive(Default)]
struct Gateways(BTreeMap<String, Gateway>);

impl Gateways {
    fn of(&mut self, config: &serde_json::Value) -> &mut Gateway {
        let start =
            |config: &String| Gateway::start(config).unwrap_or_else(|log| panic!("{log:#?}"));
        self.0.entry(config.to_string()).or_insert_with_key(start)
    }
}

#[test]
fn the_upstream_sees_what_the_tables_say() {
    let mut gateways = Gateways::default();
    vectors::check_requests(|row| serve(gateways.of(&row.config()), row));
}

#[test]
fn the_client_gets_what_the_tables_say() {
    let mut gateways = Gateways::default();
    vectors::check_responses(|row| answer(gateways.of(&row.config()), row));
}

fn request(method: Option<&str>, host: Option<&str>, more: Vec<(String, Vec<u8>)>) -> Lines {
    let pseudo = [
        (":method", method.unwrap_or("GET")),
        (":scheme", "https"),
        (":authority", host.unwrap_or("shop.example")),
        (":path", "/orders"),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    pseudo.into_iter().chain(lower(more)).collect()
}

fn lower(lines: Vec<(String, Vec<u8>)>) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    lines
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value))
}

fn serve(gateway: &mut Gateway, row: &Request) -> Seen {
    let before = gateway.metrics();
    let served = gateway.serve(
        request(row.method.as_deref(), None, row.lines()),
        vec![(b":status".to_vec(), b"200".to_vec())],
    );
    gateway.flush_all();
    let mut counted = gateway.metrics();
    for (name, count) in &mut counted {
        *count -= before.get(name).copied().unwrap_or_default();
    }
    // Gauges, which go down as well, are of no interest here.
    counted.retain(|name, count| {
        *count > 0 && !matches!(name.as_str(), "spans_queued" | "spans_in_flight")
    });
    Seen {
        recorded: Some(counted.contains_key("spans_recorded")),
        counted: Some(counted),
        ..seen(&served.forwarded)
    }
}

fn answer(gateway: &mut Gateway, row: &Response) -> Answered {
    let status = row.status.unwrap_or(200).to_string();
    let response = std::iter::once((b":status".to_vec(), status.into_bytes()))
        .chain(lower(row.answer_lines()))
        .collect();
    let served = gateway.serve(
        request(row.method.as_deref(), row.host.as_deref(), row.lines()),
        response,
    );
    let recorded = gateway.flush_all();
    let span_id = recorded.last().map(|callout| {
        let text = String::from_utf8_lossy(&callout.body);
        let event = text.lines().nth(2).expect("an envelope's third line");
        let event: serde_json::Value = serde_json::from_str(event).expect("an event");
        let span_id = &event["contexts"]["trace"]["span_id"];
        span_id.as_str().expect("a span's id").to_owned()
    });
    Answered {
        forwarded: seen(&served.forwarded),
        returned: seen(&served.returned),
        span_id,
    }
}

fn seen(lines: &Lines) -> Seen {
    let lines = lines.iter();
    Seen {
        lines: lines
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone()))
            .collect(),
        ..Seen::default()
    }
}
