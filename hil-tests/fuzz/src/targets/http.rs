//! Requests for boot images: whatever is accepted names a plain path and no more bytes than there were.

use pxe_http::{Parsed, parse_request};

/// One input.
pub fn run(input: &[u8]) {
    if let Parsed::Complete(request, used) = parse_request(input) {
        assert!(used <= input.len());
        let rest = request.path.strip_prefix('/').unwrap();
        // No segment climbs, and none but a last one is empty.
        assert!(rest.split('/').all(|segment| segment != "." && segment != "..") && !rest.contains("//"));
        assert_eq!(parse_request(&input[..used]), Parsed::Complete(request, used));
    }
}
