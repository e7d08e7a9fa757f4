//! The text of server-sent events (WHATWG HTML, 9.2), bounded: bytes go in as they come, messages come out whole.
//!
//! Pure.  A message that is too long is dropped and counted, and the next one is read again from its start.

/// Longest line, and longest message: the largest real event (a bundle of alerts) has a few KiB; metric reports have more.
const LINE_BYTES_MAX: usize = 256 << 10;
const DATA_BYTES_MAX: usize = 512 << 10;
/// Longest id that is taken over; it is sent back as a header.
const ID_BYTES_MAX: usize = 256;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The last id that was told, with this message or before.
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// What was read and is not yet a message.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_return: bool,
    begun: bool,
    data: String,
    has_data: bool,
    /// This message is too long; nothing of it is kept.
    skipping: bool,
    pub(crate) id: Option<String>,
    /// How long to wait before connecting again, in milliseconds, as the controller wishes.
    pub(crate) retry_ms: Option<u64>,
    /// Messages that were too long.
    pub(crate) dropped: u32,
}

impl Parser {
    /// One that goes on after the message with this id.
    pub(crate) fn after(id: Option<String>) -> Self {
        Self { id, ..Self::default() }
    }

    /// For a new connection: what was half read belongs to the old one.
    pub(crate) fn begin_again(&mut self) {
        let (id, retry_ms, dropped) = (self.id.take(), self.retry_ms, self.dropped);
        *self = Self { id, retry_ms, dropped, ..Self::default() };
    }

    /// Takes some bytes; gives the messages that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => messages.extend(self.end_of_line()),
                _ if self.line.len() < LINE_BYTES_MAX => self.line.push(*byte),
                _ => self.skipping = true,
            }
        }
        messages
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let mut text = String::from_utf8_lossy(&line).into_owned();
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = text.strip_prefix('\u{feff}')
        {
            text = rest.to_owned();
        }
        if text.is_empty() {
            return self.end_of_message();
        }
        let (name, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" if self.data.len().saturating_add(value.len()) > DATA_BYTES_MAX => self.skipping = true,
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if value.is_empty() => self.id = None,
            // It becomes a header: nothing that a header cannot hold.
            "id" if value.len() <= ID_BYTES_MAX
                && value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) =>
            {
                self.id = Some(value.to_owned());
            }
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => self.retry_ms = value.parse().ok(),
            // Comments have no name; what we do not know is left out.
            _ => {}
        }
        None
    }

    fn end_of_message(&mut self) -> Option<Message> {
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        if std::mem::take(&mut self.skipping) {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        has_data.then(|| Message { id: self.id.clone(), data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream, and the messages in it: last id and data.
    type Row = (&'static str, &'static [(Option<&'static str>, &'static str)]);

    fn read(text: &[u8], step: usize) -> Vec<(Option<String>, String)> {
        let mut parser = Parser::default();
        let messages = text.chunks(step).flat_map(|chunk| parser.feed(chunk)).collect::<Vec<_>>();
        messages.into_iter().map(|message| (message.id, message.data)).collect()
    }

    #[test]
    fn table_of_streams() {
        let rows: [Row; 12] = [
            ("data: a\n\n", &[(None, "a")]),
            (": keep-alive\n\nid:1\ndata:{\ndata: }\n\n", &[(Some("1"), "{\n}")]),
            ("id: 1\r\ndata: a\r\n\r\ndata: b\r\n\r\n", &[(Some("1"), "a"), (Some("1"), "b")]),
            ("data: a\r\rdata: b\r\r", &[(None, "a"), (None, "b")]),
            ("\u{feff}data: a\n\n", &[(None, "a")]),
            ("id: 1\n\ndata: a\n\n", &[(Some("1"), "a")]),
            ("id: 1\ndata: a\n\nid\ndata: b\n\n", &[(Some("1"), "a"), (None, "b")]),
            ("data: unfinished\n", &[]),
            ("data\n\n", &[(None, "")]),
            ("event: x\nnoise: y\ndata:  a\n\n", &[(None, " a")]),
            ("id: a\u{7}b\ndata: a\n\n", &[(None, "a")]),
            ("retry: 5x\ndata: a\n\n", &[(None, "a")]),
        ];
        for (text, wanted) in rows {
            let wanted: Vec<_> =
                wanted.iter().map(|(id, data)| (id.map(str::to_owned), (*data).to_owned())).collect();
            for step in [1, 2, 3, 1000] {
                assert_eq!(read(text.as_bytes(), step), wanted, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn noise_is_bounded_and_the_next_message_is_read() {
        let mut parser = Parser::default();
        let mut state = 7_u32;
        let alphabet = b"data: id:retry:\r\n\n\r\0\xff\xfe{}0123";
        for _ in 0..200_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = usize::try_from(state >> 16).unwrap() % alphabet.len();
            parser.feed(&alphabet[at..=at]);
            assert!(parser.line.len() <= LINE_BYTES_MAX && parser.data.len() <= DATA_BYTES_MAX);
            assert!(parser.id.as_ref().is_none_or(|id| id.len() <= ID_BYTES_MAX));
        }
        parser.feed(b"\n\n");
        assert_eq!(parser.feed(b"data: a\n\n").len(), 1);
    }

    #[test]
    fn what_is_too_long_is_dropped_and_the_next_is_read() {
        let mut parser = Parser::default();
        let long = vec![b'x'; LINE_BYTES_MAX];
        for part in [&b"data: "[..], &long, &long, &b"\n\n"[..]] {
            assert!(parser.feed(part).is_empty());
            assert!(parser.line.len() <= LINE_BYTES_MAX);
        }
        for _ in 0..100 {
            parser.feed(b"data: ");
            parser.feed(&long[..LINE_BYTES_MAX / 2]);
            parser.feed(b"\n");
            assert!(parser.data.len() <= DATA_BYTES_MAX + 100);
        }
        assert!(parser.feed(b"\n").is_empty());
        assert_eq!(parser.dropped, 2);
        assert_eq!(parser.feed(b"retry: 5000\ndata: a\n\n")[0].data, "a");
        assert_eq!(parser.retry_ms, Some(5000));
    }
}
