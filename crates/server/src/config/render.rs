//! The settings as people read them: the example file, `docs/configuration.md`, the effective values.

use std::fmt::Write as _;

use super::{
    Effective, SECTIONS, Section,
    dropped::CONSTANTS,
    setting::{Default, Setting},
};

/// Characters of a comment's line in the example file.
const WIDTH: usize = 118;

/// What values look like.
pub(super) const SHAPES: &[(&str, &str)] = &[
    ("ADDRESS", "an IP address with a port, such as `127.0.0.1:50051` or `[::]:50051`"),
    ("BOOLEAN", "`true` or `false`; the flag alone means `true`"),
    ("DURATION", "numbers with units (`ms`, `s`, `m`, `h`, `d`), the largest first, such as `250ms` or `1h30m`"),
    ("ENCODINGS", "`gzip`, `zstd`, both separated by a comma, or `none`"),
    ("FILTER", "a level, and exceptions by module, such as `warn,larder_server=debug`"),
    ("FORMAT", "`human` or `json`"),
    ("HOST", "a name or an IP address"),
    ("JWKS", "the path of a JSON Web Key Set, or its `https://` URL"),
    ("MEMORY", "a size such as `256MiB`, or a share of the memory limit, from `1%` to `80%`"),
    ("NAME", "a text without spaces"),
    ("NAMES", "names separated by commas, or `none`"),
    ("NUMBER", "a number, such as `20000` or `20_000`"),
    ("ORIGINS", "origins of web pages separated by commas, such as `https://shop.example`; `*`, or `none`"),
    ("PASSWORD", "any text; it is never shown"),
    ("PATH", "the path of a file or directory"),
    ("POLICY", "one of the words that the setting names"),
    ("PORT", "a number from 1 to 65535"),
    ("SECRETS", "secrets separated by commas; they are never shown"),
    ("SHARE", "a percentage such as `10%`, or a fraction such as `0.1`"),
    ("SIZE", "bytes, or a number with a unit (`KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB`), such as `256MiB`"),
    ("TEXT", "any text"),
    ("TIERS", "`l1`, `l2`, both separated by a comma, or `none`"),
    ("URL", "a URL; its password is never shown"),
];

/// The head of the example file.
const EXAMPLE: &str = "\
# Settings of Larder. Name this file with --config or LARDER_CONFIG.
#
# Flags override environment variables, which override this file, which overrides the defaults shown here. An unknown
# name and a wrong value are errors. `larder config` prints the settings in effect.
#
# `larder config --example` prints this file.
";

/// What stands above the policies of the example file.
const EXAMPLE_POLICIES: &str = "
# --- Policies: how copies are kept, by what they are ---
#
# On SIGHUP a running server reads the policies again. They have no flags; a variable overrides each key: LARDER_POLICY__ITEM__TTL
# overrides ttl in [policy.item].
";

/// The section of the file whose keys explain those of every policy.
const FIRST_POLICY: &str = "policy.item";

/// What stands above TLS and tokens in the example file.
const EXAMPLE_SECURITY: &str = "
# --- Security: TLS, tokens and roles; docs/security.md explains them ---
#
# These have no flags; a variable overrides each key: LARDER_TLS__KEY overrides key in [tls].
";

/// What stands below everything in the example file. The lines are comments: an entry needs values of its own.
const EXAMPLE_LISTS: &str = "
# Static tokens: `larder hash-token` makes one and prints its hash. Repeat the table for each token.
#
#     [[auth.token]]
#     name = \"shop\"
#     sha256 = \"a7c330e2f5028b0549077d00dd8a719ce906e755f5aeeac31b3129e4b0709c46\"
#     role = \"reader\"
#
# Client certificates, by SPIFFE ID or by the common name of their subject; [tls] names their authorities in client-ca.
#
#     [[auth.certificate]]
#     spiffe = \"spiffe://shop.example/till/*\"
#     role = \"writer\"
#
#     [[auth.certificate]]
#     subject = \"operator\"
#     role = \"admin\"
#
# Roles of JSON Web Tokens, where the role claim has other values than reader, writer and admin.
#
#     [auth.jwt.roles]
#     \"catalogue:read\" = \"reader\"
#
# What single methods and paths ask for, where it differs: open, reader, writer or admin.
#
#     [auth.rules]
#     \"larder.catalog.v1.ProductCatalog/WatchProducts\" = \"writer\"
#     \"/metrics\" = \"open\"
";

/// The head of `docs/configuration.md`.
const MARKDOWN: &str = "\
# Configuration

`larder config --markdown` prints this page from the table of settings; do not edit it by hand. `larder config` prints the
settings in effect and where each value comes from; `larder config --example` prints
[larder.example.toml](../larder.example.toml).

Flags override environment variables, which override the file (`--config`), which overrides defaults. An empty variable
counts as unset. All errors are reported together, before any port is bound, and end the program with exit code 78. On
SIGHUP a running server reads its configuration again and applies the policies, the log filter and who may do what; every other change
waits for a restart.

## The file

The file is TOML. `ttl` in `[policy.item]` may also be written as `policy.item.ttl`.

A variable overrides any key of the file. Its name is `LARDER_`, the section and the key in upper case, `__` behind each
section, and `_` for a dash: `LARDER_POLICY__NOT_FOUND__L2_TTL` overrides `l2-ttl` in `[policy.not-found]`. Settings in
sections have no other variable, and no flags.

The file alone has the lists `[[auth.token]]` and `[[auth.certificate]]`, and the tables `[auth.jwt.roles]` and `[auth.rules]`;
[security.md](security.md) explains them.
";

/// What stands above the dropped names in `docs/configuration.md`.
const MARKDOWN_DROPPED: &str = "
## Names of earlier releases

Some settings had names of their own once, which are errors now. The error says what replaced the name.

The keys of policies ended in the kind: `ttl-item` in the file, `--ttl-item` and `LARDER_TTL_ITEM` are now `ttl` in
`[policy.item]` and `LARDER_POLICY__ITEM__TTL`; likewise for each key of each policy.

These settings are constants now. The flag and the key in the file had the same name.

| name | variable | instead |
| --- | --- | --- |
";

/// The example file: every setting with its default, commented out.
pub fn example() -> String {
    let mut text = EXAMPLE.to_owned();
    for section in SECTIONS.iter().filter(|section| has_flags(section)) {
        let mut settings = section.settings.iter().filter(|setting| setting.in_file()).peekable();
        if settings.peek().is_none() {
            continue;
        }
        let _ = writeln!(text, "\n# --- {} ---", section.title);
        for setting in settings {
            text.push('\n');
            let mut names = format!("Flag --{}, environment {}.", setting.key, setting.env);
            if let Default::Computed { words, .. } = setting.default {
                let _ = write!(names, " Default: {words}.");
            }
            commented(&mut text, &[setting.help, &names]);
            key(&mut text, setting);
        }
    }
    for section in SECTIONS.iter().filter(|section| !has_flags(section)) {
        let (place, _) = section.settings[0].place();
        match place {
            FIRST_POLICY => text.push_str(EXAMPLE_POLICIES),
            "tls" => text.push_str(EXAMPLE_SECURITY),
            _ => {}
        }
        let _ = writeln!(text, "\n# {}.\n[{place}]", section.title);
        for setting in section.settings {
            // The keys of all policies are the same: the first section explains them.
            if place == FIRST_POLICY || !place.starts_with("policy.") {
                commented(&mut text, &[setting.help]);
            }
            key(&mut text, setting);
        }
    }
    text.push_str(EXAMPLE_LISTS);
    text
}

/// The sections whose keys have no flag and no variable of their own stand behind the others.
fn has_flags(section: &Section) -> bool {
    section.settings.iter().any(|setting| setting.flag)
}

fn commented(text: &mut String, sentences: &[&str]) {
    for line in sentences.iter().flat_map(|sentence| wrap(sentence, WIDTH)) {
        let _ = writeln!(text, "# {line}");
    }
}

fn key(text: &mut String, setting: &Setting) {
    let value = match setting.default {
        Default::Text(text) => text,
        Default::Computed { example, .. } => example,
    };
    let _ = writeln!(text, "#{} = {}", setting.place().1, toml(value));
}

/// The page `docs/configuration.md`: every setting, what values look like, and the names of earlier releases.
pub fn markdown() -> String {
    let mut text = MARKDOWN.to_owned();
    text.push_str("\n## Values\n\n| shape | what to write |\n| --- | --- |\n");
    for (shape, words) in SHAPES {
        let _ = writeln!(text, "| {shape} | {words} |");
    }
    text.push_str("\n`none` turns an optional setting off.\n");
    for section in SECTIONS {
        let _ = writeln!(text, "\n## {}\n", section.title);
        text.push_str("| name | flag | variable | key in the file | default | shape | meaning |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        for setting in section.settings {
            row(&mut text, setting);
        }
    }
    text.push_str(MARKDOWN_DROPPED);
    for dropped in CONSTANTS {
        let _ = writeln!(text, "| `{}` | `{}` | {} |", dropped.key, dropped.env, dropped.instead);
    }
    text
}

fn row(text: &mut String, setting: &Setting) {
    let flag = if setting.flag { format!("`--{}`", setting.key) } else { "none".to_owned() };
    let key = match setting.place() {
        _ if !setting.in_file() => "none".to_owned(),
        ("", key) => format!("`{key}`"),
        (section, key) => format!("`{key}` in `[{section}]`"),
    };
    let default = match setting.default {
        Default::Text(text) => format!("`{text}`"),
        Default::Computed { words, .. } => words.to_owned(),
    };
    let help = setting.help.replace('|', "\\|");
    let _ = writeln!(
        text,
        "| {} | {flag} | `{}` | {key} | {default} | {} | {help} |",
        setting.key, setting.env, setting.shape
    );
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
