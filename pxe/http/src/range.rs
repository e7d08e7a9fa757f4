//! Ranges: one span of bytes of a file (RFC 9110, 14.2).

/// What a `Range` header asks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything, also where we do not understand the header.
    All,
    /// From the first to before the second.
    Part(u64, u64),
    /// Nothing that exists.
    Impossible,
}

/// One range of bytes; several, or other units, mean everything, as the RFC allows.
pub(crate) fn wanted(range: Option<&str>, total: u64) -> Wanted {
    let Some((start, end)) = range.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Wanted::All;
    };
    match (number(start), number(end)) {
        (Number::Is(start), Number::Is(end)) if end < start => Wanted::All,
        (Number::Is(start), Number::Is(_) | Number::Nothing) if start >= total => Wanted::Impossible,
        (Number::Is(start), Number::Is(end)) => Wanted::Part(start, end.saturating_add(1).min(total)),
        (Number::Is(start), Number::Nothing) => Wanted::Part(start, total),
        (Number::Nothing, Number::Is(0)) => Wanted::Impossible,
        (Number::Nothing, Number::Is(_)) if total == 0 => Wanted::Impossible,
        (Number::Nothing, Number::Is(last)) => Wanted::Part(total.saturating_sub(last), total),
        (Number::Nothing, Number::Nothing) | (Number::Odd, _) | (_, Number::Odd) => Wanted::All,
    }
}

enum Number {
    Is(u64),
    Nothing,
    Odd,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        return Number::Nothing;
    }
    // `parse` alone would take a sign.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Number::Odd;
    }
    text.parse().map_or(Number::Odd, Number::Is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_ranges() {
        let rows = [
            (None, Wanted::All),
            (Some("bytes=0-9"), Wanted::Part(0, 10)),
            (Some("bytes=0-0"), Wanted::Part(0, 1)),
            (Some("bytes=90-"), Wanted::Part(90, 100)),
            (Some("bytes=90-200"), Wanted::Part(90, 100)),
            (Some("bytes=90-18446744073709551615"), Wanted::Part(90, 100)),
            (Some("bytes=-10"), Wanted::Part(90, 100)),
            (Some("bytes=-1000"), Wanted::Part(0, 100)),
            (Some("bytes=100-"), Wanted::Impossible),
            (Some("bytes=100-200"), Wanted::Impossible),
            (Some("bytes=-0"), Wanted::Impossible),
            (Some("bytes=9-3"), Wanted::All),
            (Some("bytes=-"), Wanted::All),
            (Some("bytes=+1-5"), Wanted::All),
            (Some("bytes=1-+5"), Wanted::All),
            (Some("bytes=--5"), Wanted::All),
            (Some("bytes=0-1,5-6"), Wanted::All),
            (Some("bytes=99999999999999999999-"), Wanted::All),
            (Some("items=0-9"), Wanted::All),
            (Some(""), Wanted::All),
        ];
        for (range, expected) in rows {
            assert_eq!(wanted(range, 100), expected, "{range:?}");
        }
        assert_eq!(wanted(Some("bytes=-1"), 0), Wanted::Impossible);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Impossible);
    }
}
