//! Reading one request: a pure function over bytes of strangers.
//!
//! `httparse` finds the pieces; what is refused beyond its rules is everything with two readings (a body, both ways to
//! say where it ends, two hosts, bare line feeds) and every path that a file system could understand in its own way.

use crate::Why;

/// Request line and headers together; firmware and boot loaders send well below 1 KiB.
pub(crate) const HEADER_BYTES_MAX: usize = 16 << 10;
/// Browsers send about twenty.
const HEADERS_MAX: usize = 64;
/// The longest we hand out has 81 (`/images/sha256/…`).
const PATH_BYTES_MAX: usize = 512;

/// GET, HEAD, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// Any other; answered by 405.
    Other,
}

/// One request, as far as anything of it matters to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Starts with `/`; letters, digits, `-._~+:=@,` and single slashes; no dot segments; at most 512 bytes.
    pub path: String,
    /// Whether the connection may be used again.
    pub keep_alive: bool,
    /// `Range`, where there is exactly one.
    pub range: Option<String>,
    /// `If-Range`: the range counts only if this is our entity tag.
    pub if_range: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
}

/// What bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// More must come.
    Partial,
    /// A request, and how many bytes it took.
    Complete(Request, usize),
    /// Refused: answer 400 (or 431) and close.
    Bad(Why),
}

/// Reads the first request of `bytes`.
#[must_use]
pub fn parse_request(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut raw = httparse::Request::new(&mut headers);
    let used = match raw.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used <= HEADER_BYTES_MAX => used,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Bad(Why::HeaderTooLarge);
        }
        Ok(httparse::Status::Partial) if bytes.len() >= HEADER_BYTES_MAX => {
            return Parsed::Bad(Why::HeaderTooLarge);
        }
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version,
        ) => return Parsed::Bad(Why::NotHttp),
    };
    match bytes.get(..used).map_or(Err(Why::NotHttp), |head| understood(&raw, head)) {
        Ok(request) => Parsed::Complete(request, used),
        Err(why) => Parsed::Bad(why),
    }
}

fn understood(raw: &httparse::Request<'_, '_>, head: &[u8]) -> Result<Request, Why> {
    if bare_line_feed(head) {
        return Err(Why::NotHttp);
    }
    let (Some(method), Some(path), Some(version)) = (raw.method, raw.path, raw.version) else {
        return Err(Why::NotHttp);
    };
    let headers = read_headers(raw.headers)?;
    if headers.hosts > 1 || (version == 1 && headers.hosts == 0) {
        return Err(Why::Host);
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    Ok(Request {
        method,
        path: plain(path).ok_or(Why::Path)?,
        keep_alive: !headers.close && (version == 1 || headers.keep_alive),
        range: headers.range.one(),
        if_range: headers.if_range.one(),
        if_none_match: headers.if_none_match.one(),
    })
}

/// `httparse` takes a line feed alone as the end of a line; other readers do not, which is how requests are smuggled.
fn bare_line_feed(head: &[u8]) -> bool {
    let before = std::iter::once(&0).chain(head);
    // Empty lines before the request line are skipped by it too; these are as strict.
    before.zip(head).any(|(before, byte)| *byte == b'\n' && *before != b'\r')
}

#[derive(Default)]
struct Headers {
    hosts: usize,
    close: bool,
    keep_alive: bool,
    range: Once,
    if_range: Once,
    if_none_match: Once,
}

/// A header that counts only if it came once.
#[derive(Default)]
enum Once {
    #[default]
    Never,
    One(String),
    Several,
}

impl Once {
    fn add(&mut self, value: &[u8]) {
        *self = match (&*self, str::from_utf8(value)) {
            (Once::Never, Ok(text)) => Once::One(text.trim().to_owned()),
            (Once::Never | Once::One(_) | Once::Several, Ok(_) | Err(_)) => Once::Several,
        };
    }

    fn one(self) -> Option<String> {
        match self {
            Once::One(value) => Some(value),
            Once::Never | Once::Several => None,
        }
    }
}

fn read_headers(raw: &[httparse::Header<'_>]) -> Result<Headers, Why> {
    let mut headers = Headers::default();
    let mut lengths = 0_usize;
    for header in raw {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            headers.hosts = headers.hosts.saturating_add(1);
        } else if is("transfer-encoding") {
            return Err(Why::Body);
        } else if is("content-length") {
            lengths = lengths.saturating_add(1);
            // Nothing that we serve takes a body; `0` is harmless and some clients send it.
            if lengths > 1 || header.value != b"0" {
                return Err(Why::Body);
            }
        } else if is("connection") {
            for token in header.value.split(|b| *b == b',') {
                let token = token.trim_ascii();
                headers.close |= token.eq_ignore_ascii_case(b"close");
                headers.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("range") {
            headers.range.add(header.value);
        } else if is("if-range") {
            headers.if_range.add(header.value);
        } else if is("if-none-match") {
            headers.if_none_match.add(header.value);
        }
    }
    Ok(headers)
}

/// The path, if nobody could read it in another way than we do.  Slashes that follow each other are one: shim asks for
/// its second stage by `/boot/TICKET//grubx64.efi`.
pub(crate) fn plain(path: &str) -> Option<String> {
    if path.len() > PATH_BYTES_MAX || !path.starts_with('/') {
        return None;
    }
    let bytes_fine = path.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~' | b'+' | b':' | b'=' | b'@' | b',')
    });
    if !bytes_fine || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return None;
    }
    let mut single = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    Some(single)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_read_byte_by_byte_as_at_once() {
        let text = b"GET /boot/a.efi HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\nConnection: Close\r\n\r\nrest";
        let Parsed::Complete(request, used) = parse_request(text) else {
            panic!("{:?}", parse_request(text))
        };
        assert_eq!(text.get(used..), Some(&b"rest"[..]));
        assert_eq!((request.path.as_str(), request.keep_alive), ("/boot/a.efi", false));
        assert_eq!(request.range.as_deref(), Some("bytes=0-"));
        for end in 0..used {
            assert_eq!(parse_request(&text[..end]), Parsed::Partial, "{end}");
        }
    }

    #[test]
    fn table_of_paths() {
        for good in ["/", "/a", "/a/", "/a.b/c-d_e~f+g:h=i@j,k", "/...", "/.a", "/a..b"] {
            assert_eq!(plain(good).as_deref(), Some(good));
        }
        for (sent, read) in [("//", "/"), ("/a//b", "/a/b"), ("///a//", "/a/")] {
            assert_eq!(plain(sent).as_deref(), Some(read));
        }
        for bad in [
            "", "a", "/.", "/..", "/a/.", "/a/../b", "//..//a", "/%41", "/a?b", "/a#b", "/a b", "/a\\b",
            "/é", "/a;b", "/*",
        ] {
            assert!(plain(bad).is_none(), "{bad}");
        }
    }

    /// Pieces of requests, so that random play gets beyond the first line.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let words: &[&[u8]] = &[
            b"GET ",
            b"HEAD ",
            b"/a",
            b"/",
            b"..",
            b"%2e",
            b" HTTP/1.1",
            b" HTTP/1.0",
            b"\r\n",
            b"\n",
            b"\r",
            b"Host: x",
            b"Host:",
            b"Content-Length: ",
            b"0",
            b"18446744073709551616",
            b"Transfer-Encoding: chunked",
            b"Range: bytes=",
            b"-",
            b"\0",
            b" ",
            b"\t",
            b"Connection: keep-alive, close",
            b"\r\n\r\n",
            b"If-None-Match: *",
            b"http://",
        ];
        prop_oneof![
            4 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn whatever_comes_is_understood_in_one_way_or_refused(pieces in prop::collection::vec(piece(), 0..24)) {
            let bytes = pieces.concat();
            if let Parsed::Complete(request, used) = parse_request(&bytes) {
                prop_assert!(used <= bytes.len() && plain(&request.path).as_ref() == Some(&request.path));
                let head = bytes[..used].to_ascii_lowercase();
                let has = |name: &[u8]| head.windows(name.len()).any(|part| part == name);
                prop_assert!(!has(b"\r\ntransfer-encoding:"));
                prop_assert!(head.ends_with(b"\r\n\r\n"));
                // The same bytes alone are the same request.
                prop_assert_eq!(parse_request(&bytes[..used]), Parsed::Complete(request, used));
            }
        }
    }
}
