//! URLs of a database, as libpq takes them.

use std::borrow::Cow;

/// Writes a URL that names no host, but a user or a port, in the form that the driver reads: `postgres://u@/d?host=/run`
/// becomes `postgres:///d?user=u&host=/run`. Whoever connects through a Unix socket writes it so.
pub(super) fn without_host(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port = match host.strip_prefix(':') {
        Some(port) => port,
        None if host.is_empty() => "",
        None => return url.into(),
    };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // What stands later counts, with libpq too.
    let parameters = [("user", name), ("password", password), ("port", port)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", value.replace('+', "%2B").replace('&', "%26")))
        .chain((!query.is_empty()).then(|| query.to_owned()));
    format!("{scheme}://{path}?{}", parameters.collect::<Vec<_>>().join("&")).into()
}

/// Reasons of the driver that quote nothing of the URL.
const REASONS: &[&str] = &[
    "empty host",
    "invalid international domain name",
    "invalid port number",
    "invalid IPv4 address",
    "invalid IPv6 address",
    "invalid domain character",
    "relative URL without a base",
    "relative URL with a cannot-be-a-base base",
    "invalid digit found in string",
    "number too large to fit in target type",
    "invalid IP address syntax",
];

/// Why the driver does not read a URL, without a word of the URL.
pub(super) fn reason(driver: &str) -> &'static str {
    REASONS.iter().find(|reason| **reason == driver).copied().unwrap_or("a part or a parameter of it cannot be read")
}

/// The parameters that the driver reads, beside `options[NAME]`.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Whether the driver ignores a parameter of a URL, as one that is misspelt.
pub(super) fn has_unknown_parameters(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let names = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    names.into_iter().any(|name| !PARAMETERS.contains(&name) && !name.starts_with("options[") && !name.contains('%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parameters_are_found_and_never_quoted() {
        for (url, unknown) in [
            ("postgres://h/d", false),
            ("postgres://h/d?sslmode=require&options[search_path]=x", false),
            ("postgres://h/d?sslmod=require", true),
            ("postgres://h/d?host=a&passwrd=x", true),
        ] {
            assert_eq!(has_unknown_parameters(url), unknown, "{url}");
        }
        for url in ["postgres://h/d?sslmode=hunter2", "postgres://h:hunter2/d", "postgres://h/d?port=hunter2"] {
            let error = super::super::connect::parse(url).expect_err("a URL that cannot be read");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_url_without_a_host_says_it_in_parameters() {
        for (url, read) in [
            ("postgres://u@/d?host=/run/pg", "postgres:///d?user=u&host=/run/pg"),
            ("postgres://u:p%40+&1@/d?host=/run", "postgres:///d?user=u&password=p%40%2B%261&host=/run"),
            ("postgresql://u@:5433/d", "postgresql:///d?user=u&port=5433"),
            ("postgres://:5433/d?host=/run", "postgres:///d?port=5433&host=/run"),
            ("postgres://u@?host=/run", "postgres://?user=u&host=/run"),
        ] {
            assert_eq!(without_host(url), read);
        }
        for whole in [
            "postgres://u:p@h:5432/d?sslmode=require",
            "postgres://h/d",
            "postgres://%2Frun%2Fpg/d",
            "postgres://u@[::1]/d",
            "sqlite:larder.db",
        ] {
            assert_eq!(without_host(whole), whole);
        }
    }

    #[test]
    fn the_driver_reads_them() {
        let parse = |url| super::super::connect::parse(url).expect("a URL that libpq takes");
        let options = parse("postgres://some%20one@/shop?host=/run/pg&port=5433");
        assert_eq!(options.get_socket().map(|path| path.to_str()), Some(Some("/run/pg")));
        assert_eq!((options.get_username(), options.get_port()), ("some one", 5433));
        assert_eq!(options.get_database(), Some("shop"));
        let options = parse("postgres://u@:5434/shop?host=%2Ftmp%2Fa%20b");
        assert_eq!(options.get_socket().map(|path| path.to_str()), Some(Some("/tmp/a b")));
        assert_eq!(options.get_port(), 5434);
        assert_eq!(parse("postgres:///shop?user=u&host=db").get_host(), "db");
    }
}
