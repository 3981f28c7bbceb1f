//! W3C Baggage: what a caller tells everybody who works on its request.

use http::HeaderMap;

use crate::config::decoded;

/// The largest baggage that is read, in bytes, and the most members: the limits of the specification.
const MOST_BYTES: usize = 8_192;
const MOST_MEMBERS: usize = 64;
/// The longest value that becomes an attribute, in bytes.
const LONGEST_VALUE: usize = 256;

/// The members of the names given. Baggage that breaks the specification or its limits counts as none.
pub(super) fn members<'a>(headers: &HeaderMap, names: &'a [String]) -> Vec<(&'a str, String)> {
    if names.is_empty() {
        return Vec::new();
    }
    let values = headers.get_all("baggage").iter();
    let Some(lists) = values.map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>() else { return Vec::new() };
    let members = || lists.iter().flat_map(|list| list.split(','));
    if lists.iter().map(|list| list.len()).sum::<usize>() > MOST_BYTES || members().count() > MOST_MEMBERS {
        return Vec::new();
    }
    let read = members().filter_map(|member| {
        let (name, value) = member.split(';').next()?.split_once('=')?;
        let name = names.iter().find(|known| *known == name.trim())?;
        let value = decoded(value.trim()).filter(|value| value.len() <= LONGEST_VALUE)?;
        Some((name.as_str(), value))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lists: &[&str], names: &[&str]) -> Vec<(String, String)> {
        let headers = lists.iter().map(|list| ("baggage".parse().unwrap(), HeaderValue::from_str(list).unwrap()));
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let members = members(&headers.collect(), &names);
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn members_that_are_asked_for_are_read() {
        let list = "tenant=a%20b;ttl=3, session = 7 ,other=x,broken,=y";
        let told = [("tenant".to_owned(), "a b".to_owned()), ("session".to_owned(), "7".to_owned())];
        assert_eq!(read(&[list], &["tenant", "session", "broken", "absent"]), told);
        assert_eq!(read(&["other=x", list], &["session", "tenant"]).len(), 2);
        assert!(read(&[list], &[]).is_empty());
    }

    #[test]
    fn baggage_beyond_the_limits_counts_as_none() {
        let many = format!("a=1{}", ",b=2".repeat(64));
        let large = format!("a=1,b={}", "x".repeat(MOST_BYTES));
        let long = format!("a={}", "x".repeat(LONGEST_VALUE + 1));
        for list in [many, large, long, "a=%ff".to_owned()] {
            assert!(read(&[&list], &["a"]).is_empty());
        }
    }
}
