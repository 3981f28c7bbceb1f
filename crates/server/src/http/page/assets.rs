//! The files of the page.

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use super::Page;

/// A file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const INDEX: Asset = Asset { path: "/", content_type: HTML, content: include_str!("assets/index.html") };
const PARTS: [Asset; 8] = [
    Asset { path: "/page/icon.svg", content_type: SVG, content: include_str!("assets/icon.svg") },
    Asset { path: "/page/page.css", content_type: CSS, content: include_str!("assets/page.css") },
    Asset { path: "/page/page.js", content_type: SCRIPT, content: include_str!("assets/page.js") },
    Asset { path: "/page/chart.js", content_type: SCRIPT, content: include_str!("assets/chart.js") },
    Asset { path: "/page/dom.js", content_type: SCRIPT, content: include_str!("assets/dom.js") },
    Asset { path: "/page/figures.js", content_type: SCRIPT, content: include_str!("assets/figures.js") },
    Asset { path: "/page/format.js", content_type: SCRIPT, content: include_str!("assets/format.js") },
    Asset { path: "/page/forms.js", content_type: SCRIPT, content: include_str!("assets/forms.js") },
];

/// Nothing but the page's own files is loaded, and no text becomes markup or code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// What every response of the page says to the browser.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The files that the page itself loads.
pub(super) fn routes() -> Router<Arc<Page>> {
    PARTS.into_iter().fold(Router::new(), |routes, asset| {
        let path = asset.path;
        let asset = Arc::new(asset);
        routes.route(path, get(async move |headers: HeaderMap| asset.respond(&headers)))
    })
}

pub(super) async fn index(headers: HeaderMap) -> Response {
    INDEX.respond(&headers)
}

/// Adds what every response of the page says to the browser.
pub(super) fn harden(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Figures are never kept; files set a header of their own.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

impl Asset {
    /// The file, unless the browser has it. Browsers ask each time, so that an update of the server updates the page.
    fn respond(&self, headers: &HeaderMap) -> Response {
        let etag = format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(self.content.as_bytes()));
        let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
        let head = [(ETAG, etag), (CACHE_CONTROL, "no-cache".to_owned())];
        if known {
            return (StatusCode::NOT_MODIFIED, head).into_response();
        }
        (head, [(CONTENT_TYPE, self.content_type)], self.content).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_loads_only_its_own_files() {
        let all = || PARTS.iter().chain([&INDEX]);
        let size: usize = all().map(|asset| asset.content.len()).sum();
        assert!(size <= 100 << 10, "{size} bytes");
        for asset in all() {
            let content = asset.content.replace("http://www.w3.org/2000/svg", "");
            assert!(!content.contains("http"), "{} names another host", asset.path);
            for import in content.lines().filter_map(|line| line.strip_prefix("import ")?.split('\'').nth(1)) {
                let path = import.replacen("./", "/page/", 1);
                assert!(PARTS.iter().any(|part| part.path == path), "{} imports {import}", asset.path);
            }
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = INDEX.respond(&HeaderMap::new());
        let mut known = HeaderMap::new();
        known.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!((first.status(), INDEX.respond(&known).status()), (StatusCode::OK, StatusCode::NOT_MODIFIED));
        assert_eq!(PARTS[0].respond(&known).status(), StatusCode::OK);
    }
}
