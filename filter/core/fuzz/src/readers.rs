//! How Sentry's SDKs read `baggage`, each written after its source (versions of July 2026). Those
//! for Python and JavaScript themselves are asked by tests/e2e/tests/vectors.rs.
//!
//! ```text
//! JavaScript  packages/core/src/utils/baggage.ts
//! Python      sentry_sdk/tracing_utils.py
//! Ruby        sentry-ruby/lib/sentry/baggage.rb
//! PHP         src/Tracing/DynamicSamplingContext.php
//! Java        sentry/src/main/java/io/sentry/Baggage.java
//! .NET        src/Sentry/BaggageHeader.cs
//! Go          dynamic_sampling_context.go, internal/otel/baggage/baggage.go
//! ```

use std::collections::BTreeMap;

/// Keys without their prefix, and values, decoded.
pub type Dsc = BTreeMap<Vec<u8>, Vec<u8>>;

const PREFIX: &[u8] = b"sentry-";

/// The context that all SDKs read in these lines, or what two of them make of it. A plus sign is
/// taken for one: Ruby and Java read a space, and only who sent it knows which it is. An empty
/// value is taken for none.
///
/// # Errors
/// The names of the SDKs that differ, and what they read.
pub fn agreed(lines: &[&[u8]]) -> Result<Dsc, String> {
    let literal: Vec<Vec<u8>> = lines.iter().map(|line| without_plus(line)).collect();
    let literal: Vec<&[u8]> = literal.iter().map(Vec::as_slice).collect();
    let expected = javascript(&lines.join(&b", "[..]));
    let mut others = vec![
        ("Python", python(&lines.join(&b","[..]))),
        ("Ruby", ruby(&literal.join(&b", "[..]))),
        ("PHP", php(&lines.join(&b", "[..]))),
        ("Java", java(&literal.join(&b","[..]))),
        (".NET", dotnet(&lines.join(&b","[..]))),
    ];
    // Values of others are theirs, also where Go takes offence at them.
    let first = lines.first().copied().unwrap_or_default();
    let offends =
        |member: &[u8]| go_member(member).is_none() && !trimmed(member).starts_with(PREFIX);
    match go(first) {
        Some(read) => others.push(("Go", read)),
        None if split(first).any(offends) => {}
        None => return Err("Go reads nothing".to_owned()),
    }
    // An empty text says as much as none.
    let mut expected = expected;
    expected.retain(|_, value| !value.is_empty());
    for (sdk, mut read) in others {
        read.retain(|_, value| !value.is_empty());
        if read != expected {
            let show = |dsc: &Dsc| {
                let pairs = dsc
                    .iter()
                    .map(|(key, value)| format!("{}={}", key.escape_ascii(), value.escape_ascii()));
                pairs.collect::<Vec<_>>().join(", ")
            };
            return Err(format!(
                "{sdk} reads [{}], JavaScript [{}]",
                show(&read),
                show(&expected)
            ));
        }
    }
    Ok(expected)
}

fn without_plus(line: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b'+').collect();
    parts.join(&b"%2B"[..])
}

fn javascript(header: &[u8]) -> Dsc {
    let mut read = Dsc::new();
    for member in split(header) {
        let Some((key, value)) = cut(member, b'=') else {
            continue;
        };
        let (Some(key), Some(value)) = (decode_uri(key), decode_uri(value)) else {
            continue;
        };
        if !key.is_empty() && !value.is_empty() {
            read.insert(key, value);
        }
    }
    let ours = read.into_iter().filter_map(|(key, value)| {
        let key = key.strip_prefix(PREFIX)?.to_vec();
        (key != b"__proto__").then_some((key, value))
    });
    ours.collect()
}

/// `decodeURIComponent` of what is left without white space.
fn decode_uri(text: &[u8]) -> Option<Vec<u8>> {
    let decoded = decode(trimmed(text), true)?;
    std::str::from_utf8(&decoded).is_ok().then_some(decoded)
}

fn python(header: &[u8]) -> Dsc {
    let mut read = Dsc::new();
    for member in split(header) {
        if let Some((key, value)) = cut(trimmed(member), b'=') {
            if key.starts_with(PREFIX) {
                let key = key.split(|byte| *byte == b'-').nth(1).unwrap_or_default();
                read.insert(unquote(key), unquote(value));
            }
        }
    }
    read
}

fn ruby(header: &[u8]) -> Dsc {
    let mut read = Dsc::new();
    for member in split(header) {
        let mut parts = trimmed(member).split(|byte| *byte == b'=');
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        // Empty parts at the end are none.
        if key.starts_with(PREFIX) && !(value.is_empty() && parts.all(<[u8]>::is_empty)) {
            let key = key.split(|byte| *byte == b'-').nth(1).unwrap_or_default();
            if !key.is_empty() {
                read.insert(unquote(key), unquote(value));
            }
        }
    }
    read
}

fn php(header: &[u8]) -> Dsc {
    let mut read = Dsc::new();
    for member in split(header) {
        let pair = member
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        if let Some((key, value)) = cut(trimmed(pair), b'=') {
            if let Some(key) = key.strip_prefix(PREFIX) {
                read.insert(unquote_bytes(key), unquote_bytes(value));
            }
        }
    }
    read
}

fn java(header: &[u8]) -> Dsc {
    let mut read = Dsc::new();
    for member in split(header) {
        if !trimmed(member).starts_with(PREFIX) {
            continue;
        }
        let Some((key, value)) = cut(member, b'=') else {
            continue;
        };
        let decode = |text| Some(lossy(&decode(trimmed(text), true)?));
        if let (Some(key), Some(value)) = (decode(key), decode(value)) {
            let key = key.strip_prefix(PREFIX).unwrap_or(&key).to_vec();
            read.insert(key, value);
        }
    }
    read
}

fn dotnet(header: &[u8]) -> Dsc {
    let mut read = Dsc::new();
    for member in split(header) {
        let Some((key, value)) = cut(member, b'=') else {
            continue;
        };
        let (key, value) = (trimmed(key), trimmed(value));
        if let (Some(key), false) = (key.strip_prefix(PREFIX), value.is_empty()) {
            // Of a repeated key the first counts. Escapes that are no UTF-8 stay.
            let decoded = unquote_bytes(value);
            let value = match std::str::from_utf8(&decoded) {
                Ok(_) => decoded,
                Err(_) => value.to_vec(),
            };
            read.entry(key.to_vec()).or_insert(value);
        }
    }
    read
}

/// `None` is an error, with which the SDK reads nothing at all.
fn go(header: &[u8]) -> Option<Dsc> {
    let mut read = Dsc::new();
    if header.is_empty() {
        return Some(read);
    }
    if header.len() > 8_192 {
        return None;
    }
    let mut keys = std::collections::BTreeSet::new();
    for member in split(header) {
        let (key, value) = go_member(member)?;
        keys.insert(key.clone());
        if let Some(key) = key.strip_prefix(PREFIX) {
            read.insert(key.to_vec(), value);
        }
    }
    (keys.len() <= 180).then_some(read)
}

fn go_member(member: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if member.len() > 4_096 {
        return None;
    }
    let mut parts = member.split(|byte| *byte == b';');
    let (key, value) = cut(parts.next()?, b'=')?;
    let (key, value) = (trimmed(key), trimmed(value));
    let is_property = |text: &[u8]| match cut(text, b'=') {
        _ if text.is_empty() => true,
        None => is_go_key(trimmed(text)),
        Some((key, value)) => is_go_key(trimmed(key)) && is_go_value(trimmed(value)),
    };
    let fits = is_go_key(key) && is_go_value(value) && parts.all(is_property);
    fits.then_some(())?;
    Some((key.to_vec(), decode(value, true)?))
}

fn is_go_key(text: &[u8]) -> bool {
    let is_token =
        |byte: &u8| matches!(byte, b'!'..=b'~') && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    !text.is_empty() && text.iter().all(is_token)
}

fn is_go_value(text: &[u8]) -> bool {
    let is_octet = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"\",;\\".contains(byte);
    text.iter().all(is_octet)
}

/// Python's `unquote` and Ruby's `CGI.unescape`.
fn unquote(text: &[u8]) -> Vec<u8> {
    lossy(&unquote_bytes(text))
}

/// PHP's `rawurldecode`: what is no escape stays.
fn unquote_bytes(text: &[u8]) -> Vec<u8> {
    decode(text, false).unwrap_or_default()
}

fn lossy(bytes: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(bytes).into_owned().into_bytes()
}

/// Percent-decoded; with `strict`, `None` for an escape that is none.
fn decode(text: &[u8], strict: bool) -> Option<Vec<u8>> {
    let (mut decoded, mut rest) = (Vec::new(), text);
    while let [byte, tail @ ..] = rest {
        let escape = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                decoded.push(high * 16 + low);
                rest = &tail[2..];
            }
            None if *byte == b'%' && strict => return None,
            None => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    let digit = char::from(digit).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn split(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|byte| *byte == b',')
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|byte| *byte == at)?;
    Some((&text[..place], &text[place + 1..]))
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}
