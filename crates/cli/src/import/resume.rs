//! The command with which an import goes on.

use std::ffi::OsString;

use larder_server::config::setting;

/// The command of `arguments`, but from another line. Passwords in it are hidden.
pub(super) fn command(arguments: impl IntoIterator<Item = OsString>, from_line: u64) -> String {
    let mut words = Vec::new();
    let mut arguments = arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument.as_str(), None),
        };
        if name == "--from-line" {
            if value.is_none() {
                let _ = arguments.next();
            }
            continue;
        }
        let secret = name.strip_prefix("--").and_then(setting).map(|setting| setting.secret);
        match (secret, value) {
            (Some(secret), Some(value)) => words.push(quoted(&format!("{name}={}", secret.show(value)))),
            (Some(secret), None) => {
                words.push(quoted(name));
                words.extend(arguments.next().map(|value| quoted(&secret.show(&value))));
            }
            (None, _) => words.push(quoted(&argument)),
        }
    }
    words.push(format!("--from-line {from_line}"));
    words.join(" ")
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_command_goes_on_where_it_ended() {
        let words = |text: &str| text.split('|').map(Into::into).collect::<Vec<std::ffi::OsString>>();
        assert_eq!(command(words("larder|import|my file.csv"), 7), "larder import 'my file.csv' --from-line 7");
        assert_eq!(
            command(words("larder|import|-|--from-line|3|--from-line=4|--address|http://h:1"), 9),
            "larder import - --address http://h:1 --from-line 9"
        );
        assert_eq!(
            command(words("larder|import|it's|--direct|--database-url|postgres://u:p@h/d"), 2),
            "larder import 'it'\\''s' --direct --database-url 'postgres://u:***@h/d' --from-line 2"
        );
    }
}
