//! The operator's pages, embedded: the rack, a host's burn-in, its acceptance report, the fleet by model,
//! the stake.
//!
//! They are files of `appliance/ui` and ask the API as anybody would; nothing is filled in here.  What hardware says is
//! text in them, and were it taken for markup, the browser is told to run scripts of this server's own files only.

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// The pages say the first part themselves; that no other site may frame them can only be said here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Where, what kind, which file.
const FILES: [(&str, &str, &str); 15] = [
    ("/", HTML, include_str!("../../ui/index.html")),
    ("/models", HTML, include_str!("../../ui/models.html")),
    ("/stake", HTML, include_str!("../../ui/stake.html")),
    ("/hosts/{id}/burn-in", HTML, include_str!("../../ui/burn-in.html")),
    ("/hosts/{id}/burn-in/report", HTML, include_str!("../../ui/report.html")),
    ("/ui/page.css", CSS, include_str!("../../ui/page.css")),
    ("/ui/draw.js", SCRIPT, include_str!("../../ui/draw.js")),
    ("/ui/plot.js", SCRIPT, include_str!("../../ui/plot.js")),
    ("/ui/parts.js", SCRIPT, include_str!("../../ui/parts.js")),
    ("/ui/index.js", SCRIPT, include_str!("../../ui/index.js")),
    ("/ui/burn-in.js", SCRIPT, include_str!("../../ui/burn-in.js")),
    ("/ui/models.js", SCRIPT, include_str!("../../ui/models.js")),
    ("/ui/stake.js", SCRIPT, include_str!("../../ui/stake.js")),
    ("/ui/what-if.js", SCRIPT, include_str!("../../ui/what-if.js")),
    ("/ui/report.js", SCRIPT, include_str!("../../ui/report.js")),
];

/// The page of the first run, with what it shares with the others.
const FIRST_RUN: [(&str, &str, &str); 4] = [
    ("/", HTML, include_str!("../../ui/first-run.html")),
    ("/ui/first-run.js", SCRIPT, include_str!("../../ui/first-run.js")),
    ("/ui/page.css", CSS, include_str!("../../ui/page.css")),
    ("/ui/draw.js", SCRIPT, include_str!("../../ui/draw.js")),
];

/// The page of a machine that has no site yet.
pub(crate) fn first_run<S: Clone + Send + Sync + 'static>() -> Router<S> {
    routes(&FIRST_RUN)
}

pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    routes(&FILES)
}

fn routes<S: Clone + Send + Sync + 'static>(
    files: &[(&'static str, &'static str, &'static str)],
) -> Router<S> {
    files.iter().fold(Router::new(), |router, &(path, kind, text)| {
        router.route(path, get(async move || page(kind, text)))
    })
}

fn page(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new appliance has new pages.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each file of the pages is served, names only files that are, and has nothing that the policy would refuse.
    #[test]
    fn pages_are_whole() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui");
        let mut there = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path).unwrap();
                let served = FILES.iter().chain(&FIRST_RUN).any(|file| file.2 == text);
                assert!(served, "{} is not served", path.display());
                there += 1;
            }
        }
        // The first run shares two of its files with the others.
        assert_eq!(there, FILES.len() + FIRST_RUN.len() - 2);
        for (path, kind, text) in FILES.into_iter().chain(FIRST_RUN) {
            let named =
                text.split(['"', '(']).filter(|word| word.starts_with("/ui/") || word.starts_with("./"));
            for file in named {
                let name = file.rsplit('/').next().unwrap_or_default();
                assert!(
                    FILES.iter().chain(&FIRST_RUN).any(|file| file.0 == format!("/ui/{name}")),
                    "{path} asks for {file}"
                );
            }
            for refused in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                " style=",
                " onclick=",
            ] {
                assert!(!text.contains(refused), "{path} has {refused}");
            }
            assert!(kind != HTML || !text.contains("<script>"), "{path} has a script of its own");
        }
        let _: Router = router();
    }
}
