//! Settings of gRPC-Web. Only the file has them, and the variables that override its keys.

use super::super::{Invalid, WebOrigins, setting::Setting};

pub(super) const WEB: &[Setting] = &[Setting {
    key: "grpc-web.origins",
    env: "LARDER_GRPC_WEB__ORIGINS",
    flag: false,
    shape: "ORIGINS",
    help: "The origins of web pages that may call ProductCatalog by gRPC-Web (CORS). With any, the catalogue's listener also speaks \
           HTTP/1.1 and gRPC-Web.",
    set: |config, text| {
        config.server.web_origins = origins(text)?;
        Ok(())
    },
    ..Setting::BASE
}];

/// Bounds the work of comparing each call's origin.
const MOST: usize = 64;

fn origins(text: &str) -> Result<WebOrigins, Invalid> {
    const HINT: &str = "write origins such as https://shop.example separated by commas, *, or none";
    match text.trim() {
        "none" => return Ok(WebOrigins::None),
        "*" => return Ok(WebOrigins::Any),
        _ => {}
    }
    let origins: Option<Vec<String>> = text.split(',').map(|origin| parse(origin.trim())).collect();
    match origins {
        Some(origins) if origins.len() <= MOST => Ok(WebOrigins::Listed(origins)),
        Some(_) => Err(Invalid::new(format!("more than {MOST} origins"), HINT)),
        None => Err(Invalid::new("not origins of web pages", HINT)),
    }
}

/// An origin as browsers write it: a scheme, a host, and a port that is not the scheme's own.
fn parse(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority: http::uri::Authority = rest.parse().ok()?;
    let known = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let plain = authority.as_str() == rest && !rest.contains('@') && !authority.host().is_empty();
    (known && plain).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_of_pages() {
        let listed = WebOrigins::Listed(vec!["https://shop.example".into(), "http://127.0.0.1:5173".into()]);
        assert_eq!(origins("https://Shop.example , http://127.0.0.1:5173").ok(), Some(listed));
        assert_eq!(origins("*").ok(), Some(WebOrigins::Any));
        assert_eq!(origins("none").ok(), Some(WebOrigins::None));
        let many = vec!["http://a"; MOST + 1].join(",");
        for wrong in
            ["", "shop.example", "https://", "https://a/", "https://a/b", "ftp://a", "https://u@a", "*,http://a", &many]
        {
            assert!(origins(wrong).is_err(), "{wrong}");
        }
    }
}
