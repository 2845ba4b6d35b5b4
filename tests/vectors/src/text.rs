//! The notation of long lines and of bytes that are no text.

/// Writes out `\xff`, `{8190 of v}` and `{64 x k#=v}`.
pub fn expand(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((bytes, tail)) = escape(rest).or_else(|| repeat(rest)) {
            out.extend(bytes);
            rest = tail;
        } else {
            let (one, tail) = rest.split_at(first.len_utf8());
            out.extend_from_slice(one.as_bytes());
            rest = tail;
        }
    }
    out
}

fn escape(text: &str) -> Option<(Vec<u8>, &str)> {
    let digits = text.strip_prefix("\\x")?;
    let (digits, tail) = digits.split_at_checked(2)?;
    Some((vec![u8::from_str_radix(digits, 16).ok()?], tail))
}

fn repeat(text: &str) -> Option<(Vec<u8>, &str)> {
    let (inside, tail) = text.strip_prefix('{')?.split_once('}')?;
    let (count, how) = inside.split_once(' ')?;
    let count: usize = count.parse().ok()?;
    let text = if let Some(text) = how.strip_prefix("of ") {
        text.repeat(count)
    } else {
        let member = how.strip_prefix("x ")?;
        let members = (0..count).map(|number| member.replace('#', &number.to_string()));
        members.collect::<Vec<_>>().join(",")
    };
    Some((text.into_bytes(), tail))
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn the_notation_is_written_out_and_the_rest_stays() {
        assert_eq!(expand(r"a=\xff,b={c}\n"), b"a=\xff,b={c}\\n");
        assert_eq!(expand("{3 of ab}!"), b"ababab!");
        assert_eq!(expand("{3 x k#=v},z"), b"k0=v,k1=v,k2=v,z");
    }
}
