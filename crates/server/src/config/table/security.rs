//! Settings of TLS, of tokens and of the commands' credentials. Only the file has them, and the variables that override its keys.

use std::time::Duration;

use base64::Engine as _;
use larder_cache::FrameKey;

use super::super::{
    BASE64, ClientCertificates, Invalid, security,
    setting::{Default, Scope, Secret, Setting},
    value,
};

const SECURITY: Setting = Setting { flag: false, ..Setting::BASE };
const CREDENTIAL: Setting = Setting { scope: Scope::Client, ..SECURITY };

/// The largest difference of clocks: more would make short-lived tokens long-lived.
const MOST_LEEWAY: Duration = Duration::from_mins(5);

pub(super) const TLS: &[Setting] = &[
    Setting {
        key: "tls.certificate",
        env: "LARDER_TLS__CERTIFICATE",
        shape: "PATH",
        help: "The server's certificate and its intermediates, in PEM, for every listener. The server reads changed files \
               again without a restart; a broken one keeps the previous certificate. none: connections are plain.",
        set: |config, text| {
            config.security.tls.certificate = value::optional(text, value::path)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "tls.key",
        env: "LARDER_TLS__KEY",
        shape: "PATH",
        help: "The private key of the certificate, in PEM.",
        set: |config, text| {
            config.security.tls.key = value::optional(text, value::path)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "tls.client-ca",
        env: "LARDER_TLS__CLIENT_CA",
        shape: "PATH",
        help: "The authorities of client certificates, in PEM. [[auth.certificate]] gives the certificates their roles.",
        set: |config, text| {
            config.security.tls.client_ca = value::optional(text, value::path)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "tls.client-crl",
        env: "LARDER_TLS__CLIENT_CRL",
        shape: "PATH",
        help: "Lists of revoked client certificates, in PEM: one for every authority in a client's chain. A certificate that a list \
               names is refused, and so is one without a list of its authority, or with a list that has expired. none: no \
               certificate counts as revoked.",
        set: |config, text| {
            config.security.tls.client_crl = value::optional(text, value::path)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "tls.client-certificates",
        env: "LARDER_TLS__CLIENT_CERTIFICATES",
        default: Default::Text("required"),
        shape: "POLICY",
        help: "With client-ca: required refuses a client without a certificate in the handshake; optional lets it bring a token \
               instead.",
        set: |config, text| {
            config.security.tls.client_certificates = match text.trim() {
                "required" => ClientCertificates::Required,
                "optional" => ClientCertificates::Optional,
                _ => return Err(Invalid::new("neither required nor optional", "write required or optional")),
            };
            Ok(())
        },
        ..SECURITY
    },
];

pub(super) const AUDIT: &[Setting] = &[Setting {
    key: "audit.file",
    env: "LARDER_AUDIT__FILE",
    shape: "PATH",
    help: "The file that audit records are appended to, one JSON object a line. The server makes it readable by its owner alone, and \
           makes it again when it was renamed, as by logrotate. none: records go to the log.",
    set: |config, text| {
        config.security.audit = value::optional(text, value::path)?;
        Ok(())
    },
    ..SECURITY
}];

pub(super) const JWT: &[Setting] = &[
    Setting {
        key: "auth.jwt.jwks",
        env: "LARDER_AUTH__JWT__JWKS",
        shape: "JWKS",
        help: "The key set of the issuer of JSON Web Tokens. The server reads a changed file again, and fetches a URL again from time \
               to time and when a token names an unknown key. none: no such tokens.",
        set: |config, text| {
            config.security.auth.jwt.jwks = value::optional(text, security::jwks)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "auth.jwt.jwks-ca",
        env: "LARDER_AUTH__JWT__JWKS_CA",
        shape: "PATH",
        help: "The authorities, in PEM, that vouch for the URL of the key set. none: the public ones.",
        set: |config, text| {
            config.security.auth.jwt.jwks_ca = value::optional(text, value::path)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "auth.jwt.issuer",
        env: "LARDER_AUTH__JWT__ISSUER",
        shape: "TEXT",
        help: "The issuer (iss) that every token must name.",
        set: |config, text| {
            config.security.auth.jwt.issuer = value::optional(text, text_of)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "auth.jwt.audience",
        env: "LARDER_AUTH__JWT__AUDIENCE",
        shape: "TEXT",
        help: "The audience (aud) that every token must name.",
        set: |config, text| {
            config.security.auth.jwt.audience = value::optional(text, text_of)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "auth.jwt.leeway",
        env: "LARDER_AUTH__JWT__LEEWAY",
        default: Default::Text("30s"),
        shape: "DURATION",
        help: "How far the issuer's clock may differ from this one.",
        set: |config, text| {
            config.security.auth.jwt.leeway = value::duration_in(text, Duration::ZERO..=MOST_LEEWAY)?;
            Ok(())
        },
        ..SECURITY
    },
    Setting {
        key: "auth.jwt.role-claim",
        env: "LARDER_AUTH__JWT__ROLE_CLAIM",
        default: Default::Text("larder_role"),
        shape: "TEXT",
        help: "The claim with the caller's role: a text, a text of several words, or a list. Dots lead into objects. Its values are \
               reader, writer and admin, unless [auth.jwt.roles] names others.",
        set: |config, text| {
            config.security.auth.jwt.role_claim = text_of(text)?;
            Ok(())
        },
        ..SECURITY
    },
];

pub(super) const REDIS: &[Setting] = &[Setting {
    key: "redis.ca",
    env: "LARDER_REDIS__CA",
    shape: "PATH",
    help: "The authorities, in PEM, that vouch for the server at a rediss:// URL. none: those of the system.",
    set: |config, text| {
        config.shared.ca = value::optional(text, value::path)?;
        Ok(())
    },
    ..SECURITY
}];

pub(super) const FRAMES: &[Setting] = &[Setting {
    key: "l2.frame-keys",
    env: "LARDER_L2__FRAME_KEYS",
    default: Default::Computed {
        words: "none",
        example: "bGFyZGVyLWV4YW1wbGUta2V5LW9mLTMyLWJ5dGVzISE=",
        compute: |_| Ok(None),
    },
    shape: "SECRETS",
    help: "The keys that close copies in Redis, separated by commas: each is 32 to 64 bytes in base64. A copy that is forged, or moved \
           to another key, is then refused. The first key closes copies, all are accepted. Replicas with and without keys do not use \
           each other's copies. none: a checksum guards against damage alone.",
    secret: Secret::Whole,
    set: |config, text| {
        config.shared.frame_keys = value::optional(text, frame_keys)?.unwrap_or_default();
        Ok(())
    },
    ..SECURITY
}];

/// Keys at once: the one in use, and what a replacement or a mistake in one takes.
const MOST_KEYS: usize = 4;

fn frame_keys(text: &str) -> Result<Vec<FrameKey>, Invalid> {
    const HINT: &str = "write the output of: openssl rand -base64 32";
    let keys = text.split(',').map(|key| {
        let bytes = BASE64.decode(key.trim()).map_err(|_| Invalid::new("a key that is not base64", HINT))?;
        let length = bytes.len();
        FrameKey::new(bytes).ok_or_else(|| Invalid::new(format!("a key of {length} bytes, not 32 to 64"), HINT))
    });
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.len() > MOST_KEYS {
        return Err(Invalid::new("too many keys", format!("write at most {MOST_KEYS}")));
    }
    Ok(keys)
}

pub(super) const CLIENT: &[Setting] = &[
    Setting {
        key: "client.ca",
        env: "LARDER_CLIENT__CA",
        shape: "PATH",
        help: "The authorities, in PEM, that vouch for a server at an https:// address. none: the public ones.",
        set: |config, text| {
            config.client.ca = value::optional(text, value::path)?;
            Ok(())
        },
        ..CREDENTIAL
    },
    Setting {
        key: "client.certificate",
        env: "LARDER_CLIENT__CERTIFICATE",
        shape: "PATH",
        help: "The certificate that the commands show to a server, in PEM.",
        set: |config, text| {
            config.client.certificate = value::optional(text, value::path)?;
            Ok(())
        },
        ..CREDENTIAL
    },
    Setting {
        key: "client.key",
        env: "LARDER_CLIENT__KEY",
        shape: "PATH",
        help: "The private key of that certificate, in PEM.",
        set: |config, text| {
            config.client.key = value::optional(text, value::path)?;
            Ok(())
        },
        ..CREDENTIAL
    },
    Setting {
        key: "client.token-file",
        env: "LARDER_CLIENT__TOKEN_FILE",
        shape: "PATH",
        help: "The file with the token that the commands send. The flag --token-file of a command overrides it.",
        set: |config, text| {
            config.client.token_file = value::optional(text, value::path)?;
            Ok(())
        },
        ..CREDENTIAL
    },
];

fn text_of(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    if text.is_empty() || text.len() > 1_024 || text.chars().any(char::is_control) {
        return Err(Invalid::new("not a text of 1 to 1024 characters", "write the text as the tokens have it"));
    }
    Ok(text.to_owned())
}
