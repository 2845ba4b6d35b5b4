//! What an operator may have meant by a key that the filter does not know.

use std::sync::OnceLock;

use crate::table::rows;

/// How alike two names have to be, from 0 to 1.
const ALIKE: f64 = 0.7;

/// Options of Sentry's SDKs that have another name here, or another place.
const ELSEWHERE: [(&str, &str); 12] = [
    ("sample_rate", "traces_sample_rate"),
    ("traces_rate", "traces_sample_rate"),
    ("trace_sampling", "traces_sample_rate"),
    ("name", "server_name"),
    ("ignore_transactions", "rules, with ignore: true"),
    ("ignore", "rules, with ignore: true"),
    ("traces_sampler", "rules, with traces_sample_rate"),
    ("continue_trace", "incoming.trace"),
    ("public_key", "dsn"),
    ("tags", "environment or release (there are no tags)"),
    ("pii", "data_collection"),
    ("strict_trace", "strict_trace_continuation"),
];

/// The message of the filter about an option, or a shorter one if what was meant can be told.
pub fn better(path: &str, message: &str, value: Option<&str>) -> String {
    let unexpanded = value
        .is_some_and(|text| text.contains("${") || text.starts_with('$') || text.contains("{{"));
    if unexpanded {
        return format!("{message}; neither Envoy nor the filter expands variables: leave the key out and pass the variable on (host_env_keys, hostKeys, valueFrom: HOST)");
    }
    let Some(known) = message.strip_prefix("unknown key; expected one of ") else {
        return message.to_owned();
    };
    match meant(path, &known.split(", ").collect::<Vec<_>>()) {
        Some(meant) => format!("unknown key; did you mean {meant}?"),
        None => message.to_owned(),
    }
}

/// The option that was meant, if one is near: in the same section, else anywhere.
fn meant(path: &str, known: &[&str]) -> Option<String> {
    let (section, key) = match path.rsplit_once('.') {
        Some((section, key)) => (Some(section), key),
        None => (None, path),
    };
    let key = snake_case(key);
    let alike = |name: &str| {
        let alike = strsim::normalized_damerau_levenshtein(&key, name);
        (alike >= ALIKE).then_some(alike)
    };
    let best = |names: &mut dyn Iterator<Item = String>| {
        let scored = names.filter_map(|name| {
            let leaf = name.rsplit('.').next().unwrap_or(&name);
            Some((alike(leaf)?, name))
        });
        scored
            .max_by(|(left, _), (right, _)| left.total_cmp(right))
            .map(|(_, name)| name)
    };
    let near = best(&mut known.iter().map(|name| (*name).to_owned()));
    if near.is_some() {
        return near;
    }
    let listed = ELSEWHERE.iter().find(|(name, _)| *name == key);
    if let Some((_, option)) = listed.filter(|_| section.is_none()) {
        return Some((*option).to_owned());
    }
    let elsewhere = best(&mut options().iter().cloned());
    let place = |name: &String| match (name.contains('.'), section) {
        (false, Some(_)) => format!("{name}, at the top level"),
        _ => name.clone(),
    };
    elsewhere.as_ref().map(place)
}

/// The path of every option.
fn options() -> &'static [String] {
    static OPTIONS: OnceLock<Vec<String>> = OnceLock::new();
    OPTIONS.get_or_init(|| rows().into_iter().map(|row| row.key).collect())
}

/// `tracesSampleRate` and `traces-sample-rate` as `traces_sample_rate`.
fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len());
    let mut before: Option<char> = None;
    for char in key.chars() {
        let before = before.replace(char);
        if char.is_ascii_uppercase() && before.is_some_and(|before| before.is_ascii_lowercase()) {
            snake.push('_');
        }
        snake.push(if char == '-' {
            '_'
        } else {
            char.to_ascii_lowercase()
        });
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_told() {
        let top =
            "unknown key; expected one of dsn, environment, traces_sample_rate, transport, rules";
        let transport = "unknown key; expected one of cluster, format, path, timeout_ms";
        let rows = [
            ("trace_sample_rate", top, "traces_sample_rate"),
            ("tracesSampleRate", top, "traces_sample_rate"),
            ("sample_rate", top, "traces_sample_rate"),
            ("enviroment", top, "environment"),
            ("DSN", top, "dsn"),
            ("cluster", top, "transport.cluster"),
            ("timeout_ms", top, "transport.timeout_ms"),
            ("allow_headers", top, "cors.allow_headers"),
            ("ignore_transactions", top, "rules, with ignore: true"),
            ("transport.timeoutMs", transport, "timeout_ms"),
            ("transport.clusters", transport, "cluster"),
            ("transport.release", transport, "release, at the top level"),
        ];
        for (path, message, meant) in rows {
            assert_eq!(
                better(path, message, None),
                format!("unknown key; did you mean {meant}?")
            );
        }
        for path in ["retries", "x", "transport.retries"] {
            assert_eq!(better(path, transport, None), transport);
        }
        assert!(better("dsn", "no DSN", Some("${SENTRY_DSN}")).contains("host_env_keys"));
        assert_eq!(better("dsn", "no DSN", Some("x")), "no DSN");
    }
}
