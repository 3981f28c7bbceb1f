//! TLS, tokens and roles.

use base64::Engine as _;
use larder_cache::FrameKey;

use super::{super::BASE64, *};

const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn token(name: &str, role: &str) -> String {
    let hash = TokenHash::of(name.as_bytes()).hex();
    format!("[[auth.token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nrole = \"{role}\"\n")
}

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Resolved, Vec<ConfigError>> {
    let file = file(text);
    resolve(&sources(environment, &[("config", path(&file))]), Purpose::Serve).map_err(|errors| errors.0)
}

#[test]
fn lists_are_read_from_the_file() {
    let text = [
        token("shop", "reader"),
        token("import", "writer"),
        "[tls]\ncertificate = \"c\"\nkey = \"k\"\nclient-ca = \"ca\"\nclient-crl = \"crl\"\nclient-certificates = \"optional\"\n".to_owned(),
        "[audit]\nfile = \"/var/log/larder/audit.jsonl\"\n".to_owned(),
        "[[auth.certificate]]\nspiffe = \"spiffe://shop.example/*\"\nrole = \"writer\"\n".to_owned(),
        "[[auth.certificate]]\nsubject = \"operator\"\nrole = \"admin\"\n".to_owned(),
        "[auth.jwt]\njwks = \"https://i.example/jwks\"\nissuer = \"https://i.example\"\naudience = \"larder\"\n"
            .to_owned(),
        "[auth.jwt.roles]\n\"catalogue:read\" = \"reader\"\n".to_owned(),
        "[auth.rules]\n\"/metrics\" = \"open\"\n\"larder.admin.v1.CacheAdmin/GetStats\" = \"reader\"\n".to_owned(),
    ];
    let config = read(&text.concat(), &[("LARDER_AUTH__JWT__LEEWAY", "5s")]).unwrap().config.security;
    let names: Vec<_> = config.auth.tokens.iter().map(|token| (token.name.as_str(), token.role)).collect();
    assert_eq!(names, [("shop", Role::Reader), ("import", Role::Writer)]);
    assert_eq!(config.auth.certificates.len(), 2);
    assert_eq!(config.auth.certificates[1].matches, CertificateMatch::Subject("operator".to_owned()));
    assert_eq!(config.auth.jwt.leeway, Duration::from_secs(5));
    assert_eq!(config.auth.jwt.roles["catalogue:read"], Role::Reader);
    assert_eq!(config.auth.rules["/metrics"], Access::Open);
    assert_eq!(config.tls.client_certificates, ClientCertificates::Optional);
    assert!(config.auth.has_credentials());
    assert_eq!(config.tls.client_crl, Some("crl".into()));
    assert_eq!(config.audit, Some("/var/log/larder/audit.jsonl".into()));
}

#[test]
fn errors_in_lists_are_reported_together_and_show_no_hash() {
    let text = format!(
        "{}{}\
         [[auth.token]]\nname = \"short\"\nsha256 = \"the-token-itself\"\nrole = \"king\"\nextra = 1\n\
         [[auth.token]]\n\
         [[auth.certificate]]\nspiffe = \"shop\"\nrole = \"reader\"\n\
         [[auth.certificate]]\nrole = \"reader\"\n\
         [auth.rules]\n\"larder.catalog.v1.ProductCatalog/GetProducts\" = \"reader\"\n\"/metrics\" = \"closed\"\n",
        token("a", "reader"),
        token("a", "writer"),
    );
    let found = read(&text, &[]).unwrap_err();
    let told: Vec<_> = found.iter().map(|error| (error.name.as_str(), error.reason.as_str())).collect();
    for expected in [
        ("auth.token.name", "another token has this name"),
        ("auth.token.sha256", "not 64 hexadecimal digits"),
        ("auth.token.role", "not a role"),
        ("auth.token.extra", "the table has no key of this name"),
        ("auth.token", "the key name is missing"),
        ("auth.token", "the key sha256 is missing"),
        ("auth.token", "the key role is missing"),
        ("auth.certificate.spiffe", "not a SPIFFE ID"),
        ("auth.certificate", "neither spiffe nor subject, or both"),
        ("auth.rules.larder.catalog.v1.ProductCatalog/GetProducts", "no method or path has this name"),
        ("auth.rules./metrics", "not a role"),
    ] {
        assert!(told.contains(&expected), "{expected:?} is missing in {told:?}");
    }
    assert!(found.iter().all(|error| matches!(error.origin, Origin::File { line: 1.., .. })));
    assert!(found.iter().all(|error| !error.to_string().contains("the-token-itself")), "{found:?}");
    assert!(found.iter().any(|error| error.hint.contains("did you mean larder.catalog.v1.ProductCatalog/GetProduct?")));
}

#[test]
fn rules_between_tls_and_credentials_are_checked() {
    for (text, name, reason) in [
        ("[tls]\ncertificate = \"c\"\n", "tls.certificate", "a certificate without its key"),
        ("[tls]\nkey = \"k\"\n", "tls.key", "a key without its certificate"),
        ("[tls]\ncertificate = \"c\"\nkey = \"k\"\nclient-ca = \"ca\"\n", "tls.client-ca", "no certificate has a role"),
        (
            "[[auth.certificate]]\nsubject = \"s\"\nrole = \"reader\"\n",
            "tls.client-ca",
            "[[auth.certificate]] without the authorities of the certificates",
        ),
        (
            "[tls]\ncertificate = \"c\"\nkey = \"k\"\nclient-crl = \"r\"\n",
            "tls.client-crl",
            "revoked certificates without the authorities of the certificates",
        ),
        (
            "[auth.jwt]\njwks = \"j\"\nissuer = \"i\"\n",
            "auth.jwt.audience",
            "tokens whose issuer or audience is not checked",
        ),
        ("[auth.jwt]\nissuer = \"i\"\n", "auth.jwt.jwks", "no key set for the tokens"),
        (
            "[auth.jwt]\njwks = \"http://i.example\"\n",
            "auth.jwt.jwks",
            "a URL that is not https://, or that has a user",
        ),
        ("[auth]\ntoken = \"secret\"\n", "auth.token", "no setting has this name"),
    ] {
        let found = read(text, &[]).unwrap_err();
        assert!(found.len() == 1 && found[0].name == name && found[0].reason == reason, "{text}: {found:?}");
        assert!(!found[0].to_string().contains("secret"), "{found:?}");
    }
}

#[test]
fn nobody_reaches_cache_admin_from_elsewhere_without_credentials() {
    let elsewhere = [("LARDER_ADMIN_LISTEN", "0.0.0.0:0"), ("LARDER_LISTEN", "[::]:0")];
    let found = read("", &elsewhere).unwrap_err();
    assert!(found.len() == 1 && found[0].name == "admin-listen", "{found:?}");
    let warnings = read("", &elsewhere[1..]).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("nobody is asked for credentials"), "{warnings:?}");
    let warnings = read(&token("a", "admin"), &elsewhere).unwrap().warnings;
    assert!(warnings.len() == 2 && warnings.iter().all(|warning| warning.contains("in the clear")), "{warnings:?}");
    let tls = format!("{}[tls]\ncertificate = \"c\"\nkey = \"k\"\n", token("a", "admin"));
    assert!(read(&tls, &elsewhere).unwrap().warnings.is_empty());
}

#[test]
fn credentials_are_taken_up_from_a_later_reading() {
    let mut running = read(&token("a", "reader"), &[("LARDER_ADMIN_LISTEN", "0.0.0.0:0")]).unwrap();
    let changes = running.apply(&read(&token("b", "writer"), &[]).unwrap()).unwrap();
    assert_eq!(changes.applied, ["auth.token (1), auth.certificate (0), auth.rules"]);
    assert_eq!(running.config.security.auth.tokens[0].name, "b");
    assert!(running.apply(&read(&token("b", "writer"), &[]).unwrap()).unwrap().applied.is_empty());
    let refused = running.apply(&read("", &[]).unwrap()).unwrap_err();
    assert!(refused.starts_with("admin-listen: "), "the listener stays open to all until a restart: {refused}");
    assert_eq!(running.config.security.auth.tokens[0].name, "b");
}

#[test]
fn keys_of_frames_are_read_and_shown_nowhere() {
    let key = |byte: u8| BASE64.encode([byte; 32]);
    let (one, two) = (key(1), key(2));
    let resolved = read(&format!("[l2]\nframe-keys = \"{one}, {two}\"\n"), &[]).unwrap();
    assert_eq!(resolved.config.shared.frame_keys, [1, 2].map(|byte| FrameKey::new(vec![byte; 32]).unwrap()));
    let shown =
        [effective_text(&resolved.effective), effective_json(&resolved.effective), format!("{:?}", resolved.config)];
    assert!(shown.iter().all(|shown| !shown.contains(&one) && !shown.contains(&two)), "{shown:?}");
    assert_eq!(read("", &[]).unwrap().config.shared.frame_keys, []);
    let many = [one.as_str(); 5].join(",");
    for (text, reason) in [
        ("c2hvcnQ=", "a key of 5 bytes, not 32 to 64"),
        ("not base64!", "a key that is not base64"),
        ("", "a key of 0 bytes, not 32 to 64"),
        (many.as_str(), "too many keys"),
    ] {
        let errors = read(&format!("[l2]\nframe-keys = \"{text}\"\n"), &[]).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.reason.as_str()).collect::<Vec<_>>(), [reason]);
        assert_eq!(errors[0].value.as_deref(), Some("***"));
    }
}

#[test]
fn hashes_are_shown_nowhere() {
    let resolved =
        read(&format!("[[auth.token]]\nname = \"a\"\nsha256 = \"{HASH}\"\nrole = \"reader\"\n"), &[]).unwrap();
    let shown =
        [effective_text(&resolved.effective), effective_json(&resolved.effective), format!("{:?}", resolved.config)];
    assert!(shown.iter().all(|shown| !shown.contains(HASH)), "{shown:?}");
}
