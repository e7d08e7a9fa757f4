//! Rust read without a compiler: comments and literals blanked out, functions found by counting braces.

/// A function and how long its body is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Line of its `fn`, from 1.
    pub(super) line: usize,
    /// Lines between its braces that are neither blank nor comment.
    pub(super) lines: usize,
}

/// The text with comments as spaces and the insides of literals as `x`; lines stay where they are.
pub(super) fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        let rest = chars.get(at..).unwrap_or_default();
        let (length, fill) = match (c, rest.get(1)) {
            ('/', Some('/')) => (line_comment(rest), ' '),
            ('/', Some('*')) => (block_comment(rest), ' '),
            ('"', _) => (string(rest), 'x'),
            ('\'', _) => (character(rest), 'x'),
            ('r' | 'b' | 'c', _) if !follows_name(&chars, at) => (prefixed(rest), 'x'),
            _ => (0, ' '),
        };
        if length == 0 {
            masked.push(*c);
            at += 1;
        } else {
            masked.extend(rest.iter().take(length).map(|c| if *c == '\n' { '\n' } else { fill }));
            at += length;
        }
    }
    masked
}

fn follows_name(chars: &[char], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| chars.get(before)).is_some_and(|c| c.is_alphanumeric() || *c == '_')
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match (rest.get(at), rest.get(at + 1)) {
            (Some('/'), Some('*')) => (depth, at) = (depth + 1, at + 2),
            (Some('*'), Some('/')) => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a string that begins here, quotes included.
fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while let Some(c) = rest.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a character literal, 0 for a lifetime.
fn character(rest: &[char]) -> usize {
    match (rest.get(1), rest.get(2)) {
        (Some('\\'), _) => {
            // The escaped character may itself be a quote.
            let end = rest.iter().skip(3).position(|c| *c == '\'');
            end.map_or(0, |end| end + 4)
        }
        (Some(_), Some('\'')) => 3,
        _ => 0,
    }
}

/// Length of a raw, byte or C string, 0 for a name that only begins with those letters.
fn prefixed(rest: &[char]) -> usize {
    let letters = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = rest.iter().take(letters).any(|c| *c == 'r');
    let after = rest.get(letters..).unwrap_or_default();
    let hashes = if raw { after.iter().take_while(|c| **c == '#').count() } else { 0 };
    let body = after.get(hashes..).unwrap_or_default();
    match body.first() {
        Some('"') if letters <= 2 && !raw => letters + string(body),
        Some('\'') if letters == 1 && !raw => match character(body) {
            0 => 0,
            length => letters + length,
        },
        Some('"') if letters <= 2 => {
            let closes = |window: &[char]| {
                window.first() == Some(&'"') && window.iter().skip(1).filter(|c| **c == '#').count() == hashes
            };
            let inside = body.get(1..).unwrap_or_default();
            let end = inside.windows(hashes + 1).position(closes);
            end.map_or(rest.len(), |end| letters + hashes + 1 + end + 1 + hashes)
        }
        _ => 0,
    }
}

/// Every function with a body in masked text, inner ones too.
pub(super) fn functions(masked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in masked.match_indices("fn ") {
        let starts_word = masked.get(..at).and_then(|before| before.chars().next_back());
        if starts_word.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = masked.get(at + 3..).unwrap_or_default();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        if let Some(body) = body(rest) {
            let line = masked.get(..at).unwrap_or_default().matches('\n').count() + 1;
            let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// What stands between a function's braces; `None` for a declaration.
fn body(rest: &str) -> Option<&str> {
    // A `;` within brackets is an array's length, `{` there a const expression.
    let (mut brackets, mut depth, mut start) = (0usize, 0usize, None);
    for (at, c) in rest.char_indices() {
        match (c, start) {
            ('(' | '[', None) => brackets += 1,
            (')' | ']', None) => brackets = brackets.saturating_sub(1),
            (';', None) if brackets == 0 => return None,
            ('{', None) if brackets == 0 => (start, depth) = (Some(at + 1), 1),
            ('{', Some(_)) => depth += 1,
            ('}', Some(start)) => {
                depth -= 1;
                if depth == 0 {
                    return rest.get(start..at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_vanish_and_code_stays() {
        for (text, masked) in [
            ("a // { \"\nb", "a       \nb"),
            ("/* /* { */ } */ x", "                x"),
            (r#"f("}\"{") + 1"#, "f(xxxxxx) + 1"),
            ("'{' '\\'' '\\u{7d}' &'a T", "xxx xxxx xxxxxxxx &'a T"),
            ("r#\"{\"\"#; b\"}\"; br\"{\"; c\"{\"; b'{'", "xxxxxxx; xxxx; xxxxx; xxxx; xxxx"),
            ("r#type + bar + crab", "r#type + bar + crab"),
        ] {
            assert_eq!(mask(text), masked, "{text}");
        }
    }

    #[test]
    fn functions_are_measured_by_their_code() {
        let text = "trait T { fn declared(&self, a: [u8; 3]) -> u8; }\n\
            fn outer() -> Vec<fn (u8)> {\n    // words {\n\n    let s = \"}\";\n    fn inner() { 1 }\n    s\n}\n";
        let found = functions(&mask(text));
        let short: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(short, [("outer", 2, 3), ("inner", 6, 1)]);
    }
}
