//! The configuration as a whole.

use std::{ffi::OsString, io::Write as _, path::PathBuf, time::Duration};

use super::{dropped::DROPPED, *};

mod security;

/// More settings than these, beside the policies, are too many to choose from.
const MOST: usize = 45;

fn machine() -> Machine {
    Machine { data_dir: Some(PathBuf::from("/home/me/.local/share")), terminal: false, cores: 3, memory: Some(1 << 30) }
}

fn sources(environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Sources {
    Sources {
        flags: flags.iter().map(|(key, text)| (*key, (*text).to_owned())).collect(),
        environment: environment.iter().map(|(key, text)| (key.into(), text.into())).collect(),
        machine: machine(),
    }
}

fn errors(sources: &Sources) -> Vec<ConfigError> {
    resolve(sources, Purpose::Serve).expect_err("there should be errors").0
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

fn origin<'a>(resolved: &'a Resolved, key: &str) -> &'a Origin {
    &resolved.effective.iter().find(|one| one.setting.key == key).unwrap().origin
}

#[test]
fn the_documented_defaults_are_those_of_the_crates() {
    let resolved = resolve(&sources(&[], &[]), Purpose::Serve).unwrap();
    assert!(resolved.warnings.is_empty());
    assert_eq!(resolved.effective.len(), settings().count());
    assert!(resolved.effective.iter().all(|one| one.origin == Origin::Default));

    let config = resolved.config;
    assert_eq!(config.cache, CacheConfig::default());
    assert_eq!(config.client, ClientConfig::default());
    assert_eq!(config.storage.url, "sqlite:///home/me/.local/share/larder/larder.db");
    assert_eq!(
        config.server,
        ServerConfig {
            data_dir: Some(PathBuf::from("/home/me/.local/share/larder")),
            sample_catalogue: SampleCatalogue::BuiltIn,
            workers: 3,
            ..ServerConfig::default()
        }
    );
    assert_eq!(config.storage, StorageConfig::new(&config.storage.url));
}

#[test]
fn names_follow_one_rule_and_are_unique() {
    let mut keys = Vec::new();
    for setting in settings() {
        let variable = setting.key.replace('.', "__").replace('-', "_").to_ascii_uppercase();
        if setting.key == "compat.contracts" {
            // Named as other programs name it.
            assert_eq!(setting.env, "LARDER_COMPAT");
        } else if setting.key == "database-url" || setting.key.starts_with("redis-") {
            assert_eq!(setting.env, variable);
        } else {
            assert_eq!(setting.env, format!("LARDER_{variable}"));
        }
        assert!(setting.help.ends_with('.') || setting.help.ends_with(')'), "{}", setting.key);
        assert!(!keys.contains(&setting.key), "{} twice", setting.key);
        keys.push(setting.key);
    }
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_defaults() {
    let file = file("listen = \"127.0.0.1:1\"\nworkers = 5\n[l1]\nentries = 7\n");
    let mut environment = vec![("LARDER_CONFIG", path(&file))];
    let resolved = resolve(&sources(&environment, &[]), Purpose::Serve).unwrap();
    assert_eq!(resolved.config.server.listen.port(), 1);
    assert_eq!(resolved.config.cache.l1_entries, 7);
    let at = |line| Origin::File { path: file.path().to_owned(), line };
    assert_eq!(origin(&resolved, "listen"), &at(1));
    assert_eq!(origin(&resolved, "l1-entries"), &at(4));
    assert_eq!(origin(&resolved, "l1-bytes"), &Origin::Default);

    environment.push(("LARDER_LISTEN", "127.0.0.1:2"));
    let resolved = resolve(&sources(&environment, &[]), Purpose::Serve).unwrap();
    assert_eq!(resolved.config.server.listen.port(), 2);
    assert_eq!(origin(&resolved, "listen"), &Origin::Environment("LARDER_LISTEN".to_owned()));

    let resolved = resolve(&sources(&environment, &[("listen", "127.0.0.1:3")]), Purpose::Serve).unwrap();
    assert_eq!(resolved.config.server.listen.port(), 3);
    assert_eq!(origin(&resolved, "listen"), &Origin::Flag("listen"));
    assert_eq!(resolved.config.server.workers, 5);
}

#[test]
fn an_empty_variable_is_none() {
    let resolved = resolve(&sources(&[("LARDER_LISTEN", ""), ("REDIS_URL", "")], &[]), Purpose::Serve).unwrap();
    assert_eq!(origin(&resolved, "listen"), &Origin::Default);
}

#[test]
fn every_error_is_reported_at_once() {
    let file = file("l1-byte = 5\nworkers = 0\nttl.jitter = [1]\nnumber-of-cats = 2\n");
    let environment = [
        ("LARDER_CONFIG", path(&file)),
        ("LARDER_STALENESS_BOUND", "soon"),
        ("DATABASE_URL", "mysql://root:hunter2@db/x"),
        ("REDIS_URL", "http://:hunter2@r"),
        ("REDIS_PORT", "many"),
    ];
    let errors = errors(&sources(&environment, &[("listen", "localhost:1")]));
    let names: Vec<&str> = errors.iter().map(|error| error.name.as_str()).collect();
    for name in [
        "l1-byte",
        "workers",
        "ttl.jitter",
        "number-of-cats",
        "staleness-bound",
        "database-url",
        "redis-url",
        "redis-port",
        "listen",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    assert_eq!(errors.len(), 9);
    for error in &errors {
        assert!(!error.hint.is_empty() && !error.reason.is_empty(), "{error:?}");
        assert_ne!(error.origin, Origin::Default);
    }
    let text = ConfigErrors(errors).to_string();
    assert!(text.starts_with("9 errors in the configuration\n"), "{text}");
    assert!(text.contains("did you mean l1-bytes?"), "{text}");
    assert!(text.contains("(flag --listen)"), "{text}");
    assert!(text.contains("(environment LARDER_STALENESS_BOUND)"), "{text}");
    assert!(text.contains(&format!("(file {}:2)", path(&file))), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_or_is_not_toml_is_an_error_beside_others() {
    let absent = sources(&[("LARDER_WORKERS", "x")], &[("config", "/nonexistent/larder.toml")]);
    let found = errors(&absent);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].name, "config");
    assert_eq!(found[0].origin, Origin::Flag("config"));

    let file = file("listen = \"127.0.0.1:1\"\nworkers =\nmax-stale = = 3\n");
    let found = errors(&sources(&[], &[("config", path(&file))]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(matches!(found[0].origin, Origin::File { line: 2, .. }), "{found:?}");

    // A command that calls a server needs the file, not what is in it for the server.
    assert!(resolve(&absent, Purpose::Call).is_err());
    let other = self::file("workers = \"x\"\nnonsense = 1\naddress = \"http://h:1\"\n");
    let resolved = resolve(&sources(&[], &[("config", path(&other))]), Purpose::Call).unwrap();
    assert_eq!(resolved.config.client.address, "http://h:1");
    assert!(resolve(&sources(&[], &[("config", path(&other))]), Purpose::Direct).is_ok());
}

#[test]
fn the_same_setting_twice_in_a_file_is_an_error() {
    let file = file("l1-entries = 5\n[l1]\nentries = 6\n");
    let found = errors(&sources(&[], &[("config", path(&file))]));
    assert_eq!(found.len(), 1);
    assert!(found[0].reason.contains("line"), "{found:?}");
}

#[test]
fn a_variable_that_is_not_text_is_an_error() {
    use std::os::unix::ffi::OsStringExt as _;

    let mut sources = sources(&[], &[]);
    sources.environment.push(("LARDER_LISTEN".into(), OsString::from_vec(vec![0xFF])));
    let found = errors(&sources);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, "listen");
}

#[test]
fn unknown_variables_are_warned_of() {
    let environment = [
        ("LARDER_L1_ENTRYS", "1"),
        ("LARDER_SERVICE_HOST", "10.0.0.1"),
        ("LARDER_PORT", "tcp://10.0.0.1:50051"),
        ("LARDER_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("LARDERS", "x"),
    ];
    let warnings = resolve(&sources(&environment, &[]), Purpose::Serve).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("did you mean LARDER_L1_ENTRIES?"), "{warnings:?}");
}

#[test]
fn secrets_of_webhooks_are_read_and_not_shown() {
    let one = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let set = |text: &str| resolve(&sources(&[("LARDER_WEBHOOK_SECRETS", text)], &[]), Purpose::Serve);
    let resolved = set(&format!("{one}, {one}")).unwrap();
    assert_eq!(resolved.config.events.webhook.secrets.len(), 2);
    let shown =
        [effective_text(&resolved.effective), effective_json(&resolved.effective), format!("{:?}", resolved.config)];
    assert!(shown.iter().all(|shown| shown.contains("***") && !shown.contains("MfKQ9")), "{shown:?}");
    assert!(set("none").unwrap().config.events.webhook.secrets.is_empty());
    for (text, reason) in [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a secret without whsec_"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,", "a secret without whsec_"),
        ("whsec_?", "a secret that is not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaQ", "a secret of 23 bytes"),
        (&format!("whsec_{}", "AAAA".repeat(22)), "a secret of 66 bytes"),
        (&[one; 9].join(","), "too many secrets"),
    ] {
        let found = set(text).unwrap_err().0;
        assert!(found.len() == 1 && found[0].reason.starts_with(reason), "{text}: {found:?}");
        assert_eq!(found[0].value.as_deref(), Some("***"));
    }
}

#[test]
fn a_queue_needs_redis() {
    let found = errors(&sources(&[("LARDER_QUEUE_STREAM", "events")], &[]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].name.as_str(), found[0].reason.as_str()), ("queue-stream", "a queue without Redis"));
    let environment = [("LARDER_QUEUE_STREAM", "events"), ("REDIS_URL", "redis://127.0.0.1/0")];
    let resolved = resolve(&sources(&environment, &[]), Purpose::Serve).unwrap();
    assert_eq!(resolved.config.events.queue.stream.as_deref(), Some("events"));
    for url in ["redis-sentinel://127.0.0.1/main", "rediss-cluster://127.0.0.1"] {
        let found = errors(&sources(&[("LARDER_QUEUE_STREAM", "events"), ("REDIS_URL", url)], &[]));
        assert_eq!(found[0].reason, "a queue in a Redis of several servers", "{found:?}");
    }
    assert_eq!(errors(&sources(&[("LARDER_QUEUE_STREAM", "a b")], &[])).len(), 1);
    let prefixed = [environment[0], environment[1], ("LARDER_L2_PREFIX", "shop")];
    let resolved = resolve(&sources(&prefixed, &[]), Purpose::Serve).unwrap();
    assert_eq!(resolved.config.events.queue.group, "shop", "the group is named like the keys");
}

#[test]
fn rules_between_settings_are_checked() {
    let environment =
        [("LARDER_STALENESS_BOUND", "10s"), ("LARDER_MAX_STALE", "1s"), ("LARDER_CHANGE_RETENTION", "30s")];
    let found = errors(&sources(&environment, &[]));
    let names: Vec<&str> = found.iter().map(|error| error.name.as_str()).collect();
    assert_eq!(names, ["max-stale", "policy.item.ttl", "policy.list.ttl", "policy.search.ttl"]);
    assert!(found[1].hint.contains("LARDER_CHANGE_RETENTION"), "{found:?}");

    // A setting that is wrong by itself breaks no rule besides.
    let found = errors(&sources(&[("LARDER_MAX_STALE", "x"), ("LARDER_STALENESS_BOUND", "9m")], &[]));
    assert_eq!(found.len(), 1);
}

#[test]
fn the_sample_catalogue_is_for_the_default_database() {
    let catalogue = |environment: &[(&str, &str)]| {
        let resolved = resolve(&sources(environment, &[]), Purpose::Serve).unwrap();
        resolved.config.server.sample_catalogue
    };
    let sample = |environment: &[(&str, &str)]| match catalogue(environment) {
        SampleCatalogue::BuiltIn => true,
        SampleCatalogue::None => false,
        SampleCatalogue::File(path) => panic!("a file: {}", path.display()),
    };
    assert!(sample(&[]));
    assert!(sample(&[("LARDER_DATA_DIR", "/x")]));
    assert!(!sample(&[("DATABASE_URL", "postgres://h/d")]));
    assert!(!sample(&[("DATABASE_URL", "sqlite:///x/y.db")]));
    assert!(sample(&[("DATABASE_URL", "postgres://h/d"), ("LARDER_SAMPLE_CATALOGUE", "true")]));
    for path in ["/catalogue/products.json", "products.json"] {
        assert_eq!(catalogue(&[("LARDER_SAMPLE_CATALOGUE", path)]), SampleCatalogue::File(path.into()));
    }
    let wrong = errors(&sources(&[("LARDER_SAMPLE_CATALOGUE", "ture")], &[]));
    assert!(wrong.len() == 1 && wrong[0].hint.contains("path of a file"), "{wrong:?}");
}

#[test]
fn without_a_home_something_must_be_named() {
    let mut sources = sources(&[], &[]);
    sources.machine.data_dir = None;
    let found = errors(&sources);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].hint.contains("LARDER_DATA_DIR"));

    sources.environment = vec![("DATABASE_URL".into(), "postgres://h/d".into())];
    let resolved = resolve(&sources, Purpose::Serve).unwrap();
    assert_eq!(resolved.config.server.data_dir, None);

    sources.environment = vec![("LARDER_DATA_DIR".into(), "/a b/100%?#".into())];
    let resolved = resolve(&sources, Purpose::Serve).unwrap();
    assert_eq!(resolved.config.storage.url, "sqlite:///a%20b/100%25%3F%23/larder.db");
}

#[test]
fn what_is_in_effect_is_shown_without_secrets() {
    let environment = [("DATABASE_URL", "postgres://u:hunter2@h/d"), ("LARDER_L1_BYTES", "1GiB")];
    let resolved = resolve(&sources(&environment, &[]), Purpose::Serve).unwrap();
    let text = effective_text(&resolved.effective);
    assert!(text.contains("postgres://u:***@h/d"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("l1-bytes") && line.ends_with("environment LARDER_L1_BYTES")));
    let json: serde_json::Value = serde_json::from_str(&effective_json(&resolved.effective)).unwrap();
    assert_eq!(json["database-url"]["value"], "postgres://u:***@h/d");
    assert_eq!(json["l1-bytes"]["origin"], "environment LARDER_L1_BYTES");
    assert_eq!(json["config"]["origin"], "default");
    assert!(!text.contains("hunter2") && !json.to_string().contains("hunter2"));
}

#[test]
fn the_example_file_is_in_sync_and_holds_when_uncommented() {
    let committed = include_str!("../../../../larder.example.toml");
    assert_eq!(committed, example(), "make it again: cargo run -- config --example > larder.example.toml");
    let all: String = committed
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let file = file(&all);
    let resolved = resolve(&sources(&[], &[("config", path(&file))]), Purpose::Serve).unwrap();
    let from_file = resolved.effective.iter().filter(|one| matches!(one.origin, Origin::File { .. }));
    assert_eq!(from_file.count(), settings().filter(|setting| setting.in_file()).count());
    assert_eq!(resolved.config.cache.policies.item.ttl, Duration::from_mins(10));
}

#[test]
fn the_page_of_settings_is_in_sync_and_names_every_setting() {
    let markdown = markdown();
    for setting in settings() {
        assert!(markdown.contains(&format!("| `{}` |", setting.env)), "{}", setting.env);
        assert!(render::SHAPES.iter().any(|(shape, _)| *shape == setting.shape), "{}", setting.key);
    }
    let committed = include_str!("../../../../docs/configuration.md");
    assert!(committed == markdown, "make it again: cargo run -- config --markdown > docs/configuration.md");
}

#[test]
fn there_are_few_settings() {
    // One of the flags names the file.
    assert!(settings().filter(|setting| setting.flag).count() <= MOST + 1);
    let example = example();
    let (settings, policies) = example.split_once("\n[policy.").expect("policies behind the settings");
    let shown = settings.lines().filter(|line| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1);
    assert!(shown.count() <= MOST);
    assert_eq!(policies.lines().filter(|line| line.starts_with("#ttl = ")).count(), 4);
}

#[test]
fn dropped_names_say_what_replaced_them() {
    let dropped: Vec<_> = DROPPED.iter().copied().flatten().collect();
    assert_eq!(dropped.len(), 63);
    let environment: Vec<_> = dropped.iter().map(|dropped| (dropped.env, "1")).collect();
    let text: String = dropped.iter().flat_map(|dropped| [dropped.key, " = 1\n"]).collect();
    let file = file(&text);
    let flags = [("config", path(&file))];
    let (in_environment, in_file) = (errors(&sources(&environment, &[])), errors(&sources(&[], &flags)));
    assert_eq!((in_environment.len(), in_file.len()), (dropped.len(), dropped.len()));
    for Dropped { key, env, instead } in dropped {
        assert!(setting(key).is_none() && !settings().any(|setting| setting.env == *env), "{key} is a setting");
        assert_eq!(Dropped::by_key(key).map(|dropped| dropped.env), Some(*env), "{key} stands twice");
        assert!(in_file.iter().any(|error| error.name == *key && error.hint == *instead), "{key}");
        assert!(in_environment.iter().any(|error| error.name == *env && error.hint == *instead), "{env}");
        // A hint names settings that there are.
        let overrides = instead.split(' ').filter(|word| word.starts_with("LARDER_"));
        for variable in overrides.map(|word| word.trim_end_matches(')')) {
            assert!(settings().any(|setting| setting.env == variable), "{key}: {variable}");
        }
    }
}

#[test]
fn a_variable_overrides_any_key_of_the_file() {
    let file = file("l1-entries = 7\n[policy.not-found]\nl2-ttl = \"2s\"\n[policy.item]\nttl = \"3s\"\n");
    let flags = [("config", path(&file))];
    let resolved = resolve(&sources(&[], &flags), Purpose::Serve).unwrap();
    assert_eq!(resolved.config.cache.policies.not_found.l2_ttl, Duration::from_secs(2));
    assert!(matches!(origin(&resolved, "policy.item.ttl"), Origin::File { line: 5, .. }));
    let environment = [
        ("LARDER_POLICY__NOT_FOUND__L2_TTL", "4s"),
        ("LARDER_L1__ENTRIES", "8"),
        ("LARDER_REDIS_URL", "redis://127.0.0.1/0"),
    ];
    let resolved = resolve(&sources(&environment, &flags), Purpose::Serve).unwrap();
    assert_eq!(resolved.config.cache.policies.not_found.l2_ttl, Duration::from_secs(4));
    assert_eq!(resolved.config.cache.policies.item.ttl, Duration::from_secs(3));
    assert_eq!(resolved.config.cache.l1_entries, 8);
    assert!(resolved.config.redis_url.is_some());

    let twice = errors(&sources(&[("LARDER_REDIS__URL", "redis://a/0"), ("REDIS_URL", "redis://b/0")], &[]));
    assert!(twice.len() == 1 && twice[0].reason.contains("REDIS_URL sets it already"), "{twice:?}");
    let unknown = errors(&sources(&[("LARDER_POLICY__ITEM__TTTL", "1s")], &[]));
    assert!(unknown.len() == 1 && unknown[0].hint.contains("LARDER_POLICY__ITEM__TTL"), "{unknown:?}");
}

#[test]
fn a_later_reading_is_taken_up_as_far_as_it_goes() {
    let read = |environment: &[(&str, &str)]| resolve(&sources(environment, &[]), Purpose::Serve).unwrap();
    let mut running =
        read(&[("LARDER_POLICY__ITEM__TTL", "10m"), ("LARDER_WORKERS", "2"), ("REDIS_URL", "redis://u:secret@h")]);
    let later = read(&[
        ("LARDER_POLICY__ITEM__TTL", "5m"),
        ("LARDER_LOG", "debug"),
        ("LARDER_WORKERS", "4"),
        ("REDIS_URL", "redis://u:other@host"),
    ]);
    let changes = running.apply(&later).unwrap();
    assert_eq!(changes.applied, ["log = debug (was info)", "policy.item.ttl = 5m (was 10m)"]);
    assert_eq!(running.config.server.log.filter, later.config.server.log.filter);
    assert_eq!(running.config.cache.policies.item.ttl, Duration::from_mins(5));
    assert_eq!(running.config.server.workers, 2);
    let waiting = changes.waiting.join(", ");
    assert!(waiting.contains("workers = 4 (was 2)") && waiting.contains("redis-url"), "{waiting}");
    assert!(!waiting.contains("secret") && !waiting.contains("other"), "{waiting}");
    let again = running.apply(&later).unwrap();
    assert_eq!((again.applied.len(), again.waiting.len()), (0, 2), "what waits is told again");

    let longer = read(&[("LARDER_POLICY__ITEM__TTL", "2h"), ("LARDER_CHANGE_RETENTION", "3h")]);
    let refused = running.apply(&longer).unwrap_err();
    assert!(
        refused.starts_with("policy.item.ttl: "),
        "the change log is kept for an hour until the restart: {refused}"
    );
    assert_eq!(running.config.cache.policies.item.ttl, Duration::from_mins(5));
}

/// Texts that are nearly URLs, each with the secret `hunter2` where a password may be.
fn malformed_urls() -> Vec<String> {
    let before =
        ["", "u:", "postgres:", "postgres:/", "postgres://", "postgres:///", "redis://", "redis:", "sqlite:", "ht"];
    let middle = ["u:hunter2", ":hunter2", "u:hunter2@h:x", "u:hunter2@[h", "u:hunter2@h hunter2"];
    let behind = ["", "@h", "@h:port/d", "/d?password", "?p=hunter2", "#hunter2", "@@h", "@h/d?sslmode=hunter2"];
    let starts = before.iter().flat_map(|before| middle.map(|middle| format!("{before}{middle}")));
    starts
        .enumerate()
        .flat_map(|(number, start)| (0..4).map(move |step| format!("{start}{}", behind[(number + step * 2) % 8])))
        .collect()
}

#[test]
fn no_secret_of_a_malformed_url_is_printed() {
    let (urls, mut refused) = (malformed_urls(), 0);
    assert!(urls.len() >= 200, "{}", urls.len());
    for url in urls {
        for variable in ["DATABASE_URL", "REDIS_URL"] {
            let printed = match resolve(&sources(&[(variable, &url)], &[]), Purpose::Serve) {
                Ok(resolved) => effective_text(&resolved.effective) + &effective_json(&resolved.effective),
                Err(errors) => {
                    refused += 1;
                    errors.to_string()
                }
            };
            assert!(!printed.contains("hunter2"), "{url}: {printed}");
        }
    }
    assert!(refused > 200, "{refused} were refused");
}
