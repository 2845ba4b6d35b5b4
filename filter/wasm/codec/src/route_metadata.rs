//! The settings of a route's own metadata, `metadata.filter_metadata.sentry`, as Envoy gives them
//! to a module: a map in the form of header maps, whose values are a text, a double of 8 bytes or a
//! boolean of one (seen on Envoy 1.40). A `null` among them makes Envoy refuse the whole attribute.

use sentry_filter_core::headers::Headers;
use sentry_filter_core::route_metadata::{MetadataValue, RouteMetadata};

use crate::header_map;

/// Reads the attribute. What is something else is as if it were absent.
pub fn read(attribute: Vec<u8>) -> RouteMetadata {
    let values = header_map::read(attribute).unwrap_or_default();
    RouteMetadata::read(|key| value(&values, key).or_else(|| nested(&values, key)))
}

/// `transport: {cluster: …}` for `transport.cluster`.
fn nested(values: &Headers, key: &str) -> Option<MetadataValue> {
    let (outer, inner) = key.split_once('.')?;
    let values = header_map::read(values.value(outer)?.to_vec()).ok()?;
    value(&values, inner)
}

/// Nothing says of which type a value is. One byte of 0 or 1 is a boolean; a text has no control
/// characters, which doubles, lists and objects have; and eight bytes that are no text are a
/// double.
fn value(values: &Headers, key: &str) -> Option<MetadataValue> {
    match values.value(key)? {
        [flag @ (0 | 1)] => Some(MetadataValue::Flag(*flag == 1)),
        bytes => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(char::is_control) => {
                Some(MetadataValue::Text(text.to_owned()))
            }
            _ => Some(MetadataValue::Number(f64::from_le_bytes(
                bytes.try_into().ok()?,
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use sentry_filter_core::project::ProjectName;
    use sentry_filter_core::route::{Source, TransactionName};
    use sentry_filter_core::sampling::SampleRate;

    use super::*;

    /// What `metadata.filter_metadata.sentry` of a route comes back as from Envoy 1.40.
    #[test]
    fn the_metadata_of_a_route_is_read_as_envoy_writes_it() {
        let empty = RouteMetadata::default();
        let named = |name: &str| {
            Some(TransactionName {
                name: name.to_owned(),
                source: Source::Route,
            })
        };
        let project = |cluster: &str| ProjectName::new(None, Some(cluster.to_owned()));
        let rows: [(&str, &[u8], RouteMetadata); 7] = [
            (
                "{transport.cluster: eu}",
                b"\x01\0\0\0\x11\0\0\0\x02\0\0\0transport.cluster\0eu\0",
                RouteMetadata {
                    project: project("eu"),
                    ..empty.clone()
                },
            ),
            (
                "{transport: {cluster: eu}}",
                b"\x01\0\0\0\x09\0\0\0\x17\0\0\0\
                  transport\0\x01\0\0\0\x07\0\0\0\x02\0\0\0cluster\0eu\0\0",
                RouteMetadata {
                    project: project("eu"),
                    ..empty.clone()
                },
            ),
            (
                "{ignore: true, traces_sample_rate: 0.5, transaction: /x/{y}}",
                b"\x03\0\0\0\x06\0\0\0\x01\0\0\0\x12\0\0\0\x03\0\0\0\x0b\0\0\0\x06\0\0\0\
                  ignore\0\x01\0traces_sample_rate\x000.5\0transaction\0/x/{y}\0",
                RouteMetadata {
                    traces_sample_rate: SampleRate::new(0.5),
                    transaction: named("/x/{y}"),
                    ignore: Some(true),
                    project: None,
                },
            ),
            (
                "{ignore: false, traces_sample_rate: 1, transaction: name}",
                b"\x03\0\0\0\x0b\0\0\0\x04\0\0\0\x12\0\0\0\x08\0\0\0\x06\0\0\0\x01\0\0\0\
                  transaction\0name\0traces_sample_rate\0\0\0\0\0\0\0\xf0?\0ignore\0\0\0",
                RouteMetadata {
                    traces_sample_rate: SampleRate::new(1.0),
                    transaction: named("name"),
                    ignore: Some(false),
                    project: None,
                },
            ),
            (
                "{ignore: \"true\", transaction: 7, traces_sample_rate: \"0.25\"}",
                b"\x03\0\0\0\x06\0\0\0\x04\0\0\0\x0b\0\0\0\x08\0\0\0\x12\0\0\0\x04\0\0\0\
                  ignore\0true\0transaction\0\0\0\0\0\0\0\x1c@\0traces_sample_rate\x000.25\0",
                RouteMetadata {
                    traces_sample_rate: SampleRate::new(0.25),
                    transaction: None,
                    ignore: Some(true),
                    project: None,
                },
            ),
            (
                "{transaction: x, o: {k: true}}",
                b"\x02\0\0\0\x01\0\0\0\x10\0\0\0\x0b\0\0\0\x01\0\0\0\
                  o\0\x01\0\0\0\x01\0\0\0\x01\0\0\0k\0\x01\0\0transaction\0x\0",
                RouteMetadata {
                    transaction: named("x"),
                    ..empty.clone()
                },
            ),
            ("{}", b"\0\0\0\0", empty.clone()),
        ];
        for (yaml, bytes, expected) in rows {
            assert_eq!(read(bytes.to_vec()), expected, "{yaml}");
        }
    }

    #[test]
    fn what_is_none_of_the_settings_leaves_them_to_the_rules() {
        // Eight bytes are a text where they can be one: as a double these are 0, or nearly.
        for rate in [&b"often"[..], b"sampled0", b"one in 10", b"\0\0\0\0"] {
            let pairs = [(&b"traces_sample_rate"[..], rate)];
            let bytes = header_map::write(pairs.into_iter());
            let found = read(bytes);
            assert_eq!(found, RouteMetadata::default(), "{rate:?}");
        }
        for flag in [&b"True"[..], b"yes", b"1", b" true", b"\x02"] {
            let pairs = [(&b"ignore"[..], flag)];
            let bytes = header_map::write(pairs.into_iter());
            let found = read(bytes);
            assert_eq!(found, RouteMetadata::default(), "{flag:?}");
        }
        let pairs: [(&[u8], &[u8]); 3] = [
            (b"traces_sample_rate", b"often"),
            (b"transaction", b""),
            (b"ignore", b"\0\0\0\0\0\0\xf0?"),
        ];
        let bytes = header_map::write(pairs.into_iter());
        assert_eq!(read(bytes), RouteMetadata::default());
        let whole = b"\x01\0\0\0\x06\0\0\0\x01\0\0\0ignore\0\x01\0";
        assert_eq!(read(whole.to_vec()).ignore, Some(true));
        let torn = whole.get(..18).unwrap_or_default().to_vec();
        assert_eq!(read(torn), RouteMetadata::default());
    }
}
