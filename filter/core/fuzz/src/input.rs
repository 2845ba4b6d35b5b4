//! How bytes become header lines: in the form in which one would write them down, so that a corpus
//! can be read and a dictionary helps.
//!
//! ```text
//! sentry-trace: 771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1
//! baggage: 70*key=value,          the value seventy times in one line
//! ```

/// How long a line may become by being repeated. More than the 8,192 bytes of a `baggage`.
const MAX_LINE: usize = 20_000;

/// The lines of an input, each repeated as often as it says.
pub fn lines(data: &[u8]) -> Vec<Vec<u8>> {
    if data.is_empty() {
        return Vec::new();
    }
    data.split(|byte| *byte == b'\n').map(repeated).collect()
}

/// The lines of an input as names and values; a line without a colon is a name.
pub fn headers(data: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    if data.is_empty() {
        return Vec::new();
    }
    data.split(|byte| *byte == b'\n')
        .map(|line| {
            // A pseudo header begins with a colon.
            let colon = line.iter().skip(1).position(|byte| *byte == b':');
            let (name, value) = match colon {
                Some(at) => (&line[..=at], &line[at + 2..]),
                None => (line, &[][..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            (name.to_ascii_lowercase(), repeated(value))
        })
        .collect()
}

/// `3*ab` is `ababab`.
fn repeated(line: &[u8]) -> Vec<u8> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = line.split_at(digits);
    let times = std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse::<usize>().ok());
    match (times, rest) {
        (Some(times), [b'*', pattern @ ..]) if digits <= 4 => {
            pattern.repeat(times.min(MAX_LINE / pattern.len().max(1)))
        }
        _ => line.to_vec(),
    }
}

/// Takes an input apart from the left. What is missing is zero.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// One byte; `None` at the end.
    pub fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// One byte, zero at the end.
    pub fn byte(&mut self) -> u8 {
        self.take().unwrap_or(0)
    }

    /// As many bytes as the next byte says, or what is left.
    pub fn text(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }
}
