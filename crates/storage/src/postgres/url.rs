//! URLs of a database, as libpq takes them.

use std::borrow::Cow;

use super::servers::Choice;
use crate::StorageError;

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

/// The parameter by which libpq chooses among servers.
const TARGET: &str = "target_session_attrs";

/// The URLs of the servers of one that may name several, as `postgres://u@a:5432,b:5433/d` names two, and which of them takes
/// connections. The driver knows one server in each URL.
pub(super) fn of_each_server(url: &str) -> Result<(Vec<String>, Choice), StorageError> {
    let (head, query) = url.split_once('?').map_or((url, None), |(head, query)| (head, Some(query)));
    let parameters = query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty());
    let (targets, others): (Vec<&str>, Vec<&str>) =
        parameters.partition(|parameter| parameter.split_once('=').is_some_and(|(name, _)| name == TARGET));
    if !targets.iter().all(|target| target.ends_with("=read-write") || target.ends_with("=primary")) {
        let why = "target_session_attrs must be read-write or primary: Larder writes";
        return Err(StorageError::Url(why.to_owned()));
    }
    let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    let Some((scheme, rest)) = head.split_once("://") else {
        return Ok((vec![format!("{head}{query}")], Choice::Only));
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let hosts: Vec<&str> = hosts.split(',').collect();
    if hosts.len() > MOST_SERVERS {
        return Err(StorageError::Url(format!("more than {MOST_SERVERS} servers")));
    }
    if hosts.len() > 1 && hosts.iter().any(|host| host.is_empty() || host.starts_with(':')) {
        return Err(StorageError::Url("empty host".to_owned()));
    }
    let choice = if hosts.len() > 1 || !targets.is_empty() { Choice::Primary } else { Choice::Only };
    Ok((hosts.into_iter().map(|host| format!("{scheme}://{user}{host}{path}{query}")).collect(), choice))
}

/// Each is tried in its turn, and has its share of the time.
const MOST_SERVERS: usize = 8;

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
    TARGET,
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
    fn a_url_may_name_several_servers() {
        let of_each = |url| {
            let (servers, choice) = of_each_server(url).expect("servers");
            (servers.join(" "), choice)
        };
        for (url, each, choice) in [
            ("postgres://h/d?sslmode=require", "postgres://h/d?sslmode=require", Choice::Only),
            ("postgres://u@/d?host=/run/pg", "postgres://u@/d?host=/run/pg", Choice::Only),
            ("postgres://h/d?target_session_attrs=read-write", "postgres://h/d", Choice::Primary),
            (
                "postgres://u:p,@a:1,[::1]:2,c/d?target_session_attrs=read-write&sslmode=disable",
                "postgres://u:p,@a:1/d?sslmode=disable postgres://u:p,@[::1]:2/d?sslmode=disable \
                 postgres://u:p,@c/d?sslmode=disable",
                Choice::Primary,
            ),
            ("postgres://a,b", "postgres://a postgres://b", Choice::Primary),
        ] {
            assert_eq!(of_each(url), (each.to_owned(), choice));
        }
        for (url, why) in [
            ("postgres://a,b/d?target_session_attrs=any", "target_session_attrs"),
            ("postgres://a/d?target_session_attrs=standby", "target_session_attrs"),
            ("postgres://a,,b/d", "empty host"),
            ("postgres://a,:5433/d", "empty host"),
            ("postgres://a,b,c,d,e,f,g,h,i/d", "more than 8 servers"),
        ] {
            let error = of_each_server(url).expect_err("a URL that is refused");
            assert!(error.to_string().contains(why), "{url}: {error}");
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
        let parse = |url| super::super::connect::parse(url).expect("a URL that libpq takes").0.remove(0);
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
