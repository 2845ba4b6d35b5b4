//! Methods as OpenTelemetry's conventions for HTTP have them: those of RFC 9110 and `PATCH`,
//! compared with case. A caller may invent any other, so that none of them becomes a name.

/// How much of an unknown method is kept, in bytes.
pub const MAX_ORIGINAL: usize = 64;

/// The method of a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are called as they are written")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    #[default]
    Other,
}

impl Method {
    const KNOWN: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Patch,
    ];

    /// The method that a request line names.
    pub fn new(text: &str) -> Self {
        let mut known = Self::KNOWN.into_iter();
        known
            .find(|method| method.as_str() == text)
            .unwrap_or_default()
    }

    /// The text of `http.request.method`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => "_OTHER",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_somebody_made_up_are_one() {
        for method in Method::KNOWN {
            assert_eq!(Method::new(method.as_str()), method);
        }
        for text in [
            "", "get", "Get", "PROPFIND", "QUERY", "_OTHER", "GET ", "GETGET",
        ] {
            assert_eq!(Method::new(text), Method::Other, "{text:?}");
        }
    }
}
