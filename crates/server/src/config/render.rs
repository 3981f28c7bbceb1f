//! The settings as people read them: the example file, the README's table, the effective values.

use std::fmt::Write as _;

use super::{
    Effective, SECTIONS,
    setting::{Default, Setting},
};

/// Characters of a comment's line in the example file.
const WIDTH: usize = 118;

/// The example file: every setting with its default, commented out.
pub fn example() -> String {
    let mut text = "\
# Settings of Larder. Name this file with --config or LARDER_CONFIG.
#
# Flags go over the environment, the environment goes over this file, and this file over the defaults, which stand
# below. A name that is unknown or a value that is wrong is an error. `larder config` prints what is in effect.
#
# This file is made by `larder config --example`.
"
    .to_owned();
    for section in SECTIONS {
        let mut settings = section.settings.iter().filter(|setting| setting.in_file()).peekable();
        if settings.peek().is_none() {
            continue;
        }
        let _ = writeln!(text, "\n# --- {} ---", section.title);
        for setting in settings {
            text.push('\n');
            let mut names = format!("Flag --{}, environment {}.", setting.key, setting.env);
            let value = match setting.default {
                Default::Text(text) => text,
                Default::Computed { words, example, .. } => {
                    let _ = write!(names, " Default: {words}.");
                    example
                }
            };
            for line in wrap(setting.help, WIDTH).iter().chain(&wrap(&names, WIDTH)) {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "#{} = {}", setting.key, toml(value));
        }
    }
    text
}

/// The table of settings for the README.
pub fn markdown() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let _ = writeln!(text, "**{}**\n", section.title);
        text.push_str("| variable | flag, key in the file | default | what it decides |\n");
        text.push_str("| --- | --- | --- | --- |\n");
        for setting in section.settings {
            let default = match setting.default {
                Default::Text(text) => format!("`{text}`"),
                Default::Computed { words, .. } => words.to_owned(),
            };
            let key =
                if setting.in_file() { format!("`--{0}`, `{0}`", setting.key) } else { format!("`--{}`", setting.key) };
            let help = setting.help.replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {key} | {default} | {help} |", setting.env);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The values in effect, one a line: name, value and origin in columns.
pub fn effective_text(effective: &[Effective]) -> String {
    let rows: Vec<(&str, String, String)> = effective
        .iter()
        .map(|one| (one.setting.key, shown(one).unwrap_or_else(|| "(none)".to_owned()), one.origin.to_string()))
        .collect();
    let names = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let values = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value, origin) in &rows {
        let _ = writeln!(text, "{name:names$}  {value:values$}  {origin}");
    }
    text
}

/// The values in effect as JSON: an object of objects with `value` and `origin`.
pub fn effective_json(effective: &[Effective]) -> String {
    let object: serde_json::Map<String, serde_json::Value> = effective
        .iter()
        .map(|one| {
            let value = serde_json::json!({ "value": shown(one), "origin": one.origin.to_string() });
            (one.setting.key.to_owned(), value)
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Object(object))
}

fn shown(effective: &Effective) -> Option<String> {
    effective.text.as_deref().map(|text| effective.setting.secret.show(text))
}

fn toml(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_digit()) || text == "true" || text == "false" {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

impl Setting {
    /// Whether it may stand in the file.
    pub fn in_file(&self) -> bool {
        self.scope != super::Scope::File
    }
}
