//! Links in answers.  A controller may be hostile: it must not send us, with its token or not, to another host.

use reqwest::Url;

/// Longest path we follow: the longest real ones have 130 characters.
const PATH_BYTES_MAX: usize = 1024;

/// Where a link leads on the same host, without its fragment; `None` for anywhere else.
///
/// The path keeps its case and its trailing slash: some answer only to the spelling they gave.
pub(crate) fn local(base: &Url, link: &str) -> Option<String> {
    let link = link.trim();
    if link.is_empty() || link.len() > PATH_BYTES_MAX || !link.is_ascii() || link.contains(char::is_control) {
        return None;
    }
    // `join` resolves relative links against the root; a network-path link (`//host/`) changes the host.
    let resolved = base.join(link).ok()?;
    let same = resolved.scheme() == base.scheme()
        && resolved.host() == base.host()
        && resolved.port_or_known_default() == base.port_or_known_default()
        && resolved.username().is_empty()
        && resolved.password().is_none();
    let inside = resolved.path() == "/redfish" || resolved.path().starts_with("/redfish/");
    if !same || !inside {
        return None;
    }
    let query = resolved.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}{query}", resolved.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_links() {
        let base = Url::parse("https://10.78.0.11/").unwrap();
        let rows = [
            ("/redfish/v1/Systems/1", Some("/redfish/v1/Systems/1")),
            ("/redfish/v1/systems/1/bios/", Some("/redfish/v1/systems/1/bios/")),
            ("/redfish/v1/Storage/1#/Controllers/0", Some("/redfish/v1/Storage/1")),
            ("/redfish/v1/Systems?$skip=50", Some("/redfish/v1/Systems?$skip=50")),
            ("redfish/v1/Chassis", Some("/redfish/v1/Chassis")),
            ("https://10.78.0.11/redfish/v1", Some("/redfish/v1")),
            ("https://10.78.0.11:443/redfish/v1", Some("/redfish/v1")),
            ("https://10.78.0.11:444/redfish/v1", None),
            ("http://10.78.0.11/redfish/v1", None),
            ("https://10.78.0.12/redfish/v1", None),
            ("//10.78.0.12/redfish/v1", None),
            ("https://a:b@10.78.0.11/redfish/v1", None),
            ("/redfish/../cgi/login", None),
            ("/etc/passwd", None),
            ("file:///redfish/v1", None),
            ("", None),
            ("/redfish/v1\n/x", None),
        ];
        for (link, expected) in rows {
            assert_eq!(local(&base, link).as_deref(), expected, "{link:?}");
        }
    }
}
