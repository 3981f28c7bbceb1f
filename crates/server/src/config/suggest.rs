//! "Did you mean …?"

/// Finds the name that was most likely meant by `given`, if one is near enough.
pub(super) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = normal(given);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &normal(name)), name))
        .filter(|(distance, name)| *distance <= name.len().max(given.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.', ' '], "-")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["listen", "l1-bytes", "database-url"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("L1_BYTE", names), Some("l1-bytes"));
        assert_eq!(nearest("datbase_url", names), Some("database-url"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("", names), None);
    }
}
