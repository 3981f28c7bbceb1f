//! Hides secrets in URLs.

/// Stands for a secret.
pub(super) const MASK: &str = "***";

/// The schemes whose URLs have an authority.
const SCHEMES: &[&str] = &[
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "redis-sentinel",
    "rediss-sentinel",
    "redis-cluster",
    "rediss-cluster",
    "http",
    "https",
];

/// Hides the password of a URL, and every parameter with the name of a secret. A text that does not look like a URL is hidden whole.
pub(super) fn url(text: &str) -> String {
    let masked = match text.trim().split_once(':') {
        Some((scheme @ "sqlite", path)) => file(path).map(|shown| format!("{scheme}:{shown}")),
        Some((scheme, rest)) if SCHEMES.contains(&scheme) => {
            rest.strip_prefix("//").and_then(with_authority).map(|shown| format!("{scheme}://{shown}"))
        }
        _ => None,
    };
    masked.unwrap_or_else(|| MASK.to_owned())
}

/// The path of a file, unless it might be something else.
fn file(path: &str) -> Option<&str> {
    (!path.is_empty() && !path.contains(['@', '?', '#', ':'])).then_some(path)
}

/// Hides what stands behind the slashes: user, hosts, path and parameters.
fn with_authority(rest: &str) -> Option<String> {
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let user = match user {
        None => String::new(),
        // The authority ends here: behind the @ may be a part of a parameter's secret.
        Some(user) if user.contains(['/', '?', '#']) => return None,
        Some(user) => match user.find([':', '@']) {
            None => format!("{user}@"),
            Some(at) if user[at..].starts_with(':') => format!("{}{MASK}@", &user[..=at]),
            Some(_) => return None,
        },
    };
    let (place, query) = place.split_once('?').map_or((place, None), |(place, query)| (place, Some(query)));
    let hosts = place.split_once('/').map_or(place, |(hosts, _)| hosts);
    let readable = hosts.split(',').all(is_host) && all_of(&place[hosts.len()..], "/-._~%+");
    let query = query.map(parameters).unwrap_or_default();
    readable.then(|| format!("{user}{place}{query}"))
}

/// Whether a text is a host, with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']').unwrap_or(("", "?")),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let allowed = if text.starts_with('[') { ":." } else { "-._%" };
    let is_port = |text: &str| text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    all_of(host, allowed) && (port.is_empty() || is_port(port))
}

fn all_of(text: &str, others: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// Parameters whose values are shown.
const HARMLESS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "target_session_attrs",
    "protocol",
];

fn parameters(query: &str) -> String {
    let shown: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, value)) if HARMLESS.contains(&name) && all_of(value, "/-._~%+:,[]") => parameter.to_owned(),
            Some((name, _)) if all_of(name, "-_%[]") => format!("{name}={MASK}"),
            _ => MASK.to_owned(),
        })
        .collect();
    format!("?{}", shown.join("&"))
}

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn passwords_are_hidden() {
        for (text, shown) in [
            ("postgres://u:secret@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:s@cr:et@h/d?sslmode=require", "postgres://u:***@h/d?sslmode=require"),
            ("postgres://u:secret@a:5432,[::1]:5433/d", "postgres://u:***@a:5432,[::1]:5433/d"),
            ("postgres://:secret@h", "postgres://:***@h"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://u@/d?host=/run/postgresql", "postgres://u@/d?host=/run/postgresql"),
            ("postgres://h/d?user=u&password=x%40", "postgres://h/d?user=u&password=***"),
            ("postgres://h/d?p%61ssword=x", "postgres://h/d?p%61ssword=***"),
            ("postgres://h/d?passwrd=x&y", "postgres://h/d?passwrd=***&***"),
            ("redis-sentinel://u:secret@a,b/main", "redis-sentinel://u:***@a,b/main"),
            ("rediss-cluster://:secret@a:1,b:2", "rediss-cluster://:***@a:1,b:2"),
            ("sqlite:///var/lib/larder/larder.db", "sqlite:///var/lib/larder/larder.db"),
            ("sqlite:larder.db", "sqlite:larder.db"),
        ] {
            assert_eq!(url(text), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_hidden_whole() {
        for text in [
            "hunter2",
            "u:secret@h",
            "u secret@h:5432",
            "postgres:u:secret@h",
            "postgres:/u:secret@h",
            "postgres://u:secret",
            "postgres://u:secret/d",
            "postgres://h/d?password=a@b",
            "postgres://h:5432/d?password=a@b",
            "postgres://u:x@h:5432/d?password=a@b",
            "postgres://u:se?cret@h/d",
            "postgres://u:s@cr:e/t@h/d",
            "redis-sentinel://u:se/cret@a,b/main",
            "postgres://h/d#secret",
            "postgres://[secret/d",
            "redis://[::1]\u{e9}2",
            "sqlite:u:secret@h",
            "redis://:secret",
            "",
        ] {
            assert_eq!(url(text), "***", "{text}");
        }
    }
}
