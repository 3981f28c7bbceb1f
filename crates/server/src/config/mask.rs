//! Hides secrets in URLs.

/// Stands for a secret.
const MASK: &str = "***";

/// Hides the password of a URL, and every parameter with the name of a secret. When in doubt it hides too much.
pub(super) fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once(':') else {
        return MASK.to_owned();
    };
    if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
        return MASK.to_owned();
    }
    let slashes = rest.len() - rest.trim_start_matches('/').len();
    let (slashes, rest) = rest.split_at(slashes);
    let shown = match rest.rsplit_once('@') {
        None => parameters(rest),
        Some((user, host)) => match user.find([':', '?']) {
            None => format!("{user}@{}", parameters(host)),
            Some(at) => format!("{}{MASK}@{}", &user[..=at], parameters(host)),
        },
    };
    format!("{scheme}:{slashes}{shown}")
}

fn parameters(text: &str) -> String {
    let Some((before, query)) = text.split_once('?') else {
        return text.to_owned();
    };
    let shown: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if secret(name) => format!("{name}={MASK}"),
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{before}?{}", shown.join("&"))
}

fn secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('%') || ["pass", "pwd", "secret", "token", "key"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn passwords_are_hidden() {
        for (text, shown) in [
            ("postgres://u:secret@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:s@cr:e/t@h/d?sslmode=require", "postgres://u:***@h/d?sslmode=require"),
            ("postgres://:secret@h", "postgres://:***@h"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://h/d?user=u&password=x%40", "postgres://h/d?user=u&password=***"),
            ("postgres://h/d?p%61ssword=x", "postgres://h/d?p%61ssword=***"),
            ("postgres://h/d?password=a@b", "postgres://h/d?***@b"),
            ("postgres://u:se?cret@h/d", "postgres://u:***@h/d"),
            ("redis-sentinel://u:se/cret@a,b/main", "redis-sentinel://u:***@a,b/main"),
            ("rediss-cluster://:secret@a:1,b:2", "rediss-cluster://:***@a:1,b:2"),
            ("sqlite:///var/lib/larder/larder.db", "sqlite:///var/lib/larder/larder.db"),
            ("sqlite:larder.db", "sqlite:larder.db"),
            ("hunter2", "***"),
            ("u secret@h:5432", "***"),
        ] {
            assert_eq!(url(text), shown, "{text}");
        }
    }
}
