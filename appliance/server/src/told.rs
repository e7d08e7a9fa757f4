//! What others tell, as it is kept and shown.

/// A text as others told it, without control characters (they would write on a person's terminal) and no longer than this
/// many characters.
pub(crate) fn told(text: &str, chars_max: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn it_is_printable_and_ends() {
        assert_eq!(told("a\u{1b}[31m\nb\u{9b}c", 9), "a[31mbc");
        assert_eq!(told("\u{e4}\u{e4}\u{e4}", 2), "\u{e4}\u{e4}");
        assert_eq!(told("", 2), "");
    }
}
