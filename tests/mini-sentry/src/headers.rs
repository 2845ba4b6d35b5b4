//! Header lines as they came over the wire.

/// Header lines in the order of the wire, values as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// Every line as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The values of all lines of that name, in order.
    pub fn lines(&self, name: &str) -> Vec<&[u8]> {
        self.iter()
            .filter(|(line, _)| line.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of the only line of that name, as text.
    ///
    /// # Panics
    /// If there are several lines of that name, or the value is not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.lines(name)[..] {
            [] => None,
            [value] => Some(
                std::str::from_utf8(value)
                    .unwrap_or_else(|_| panic!("{name} is not UTF-8: {value:?}")),
            ),
            ref lines => panic!("{} lines of {name}", lines.len()),
        }
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_owned(), value.to_vec()));
    }
}
