//! What the commands show to a server, and `larder hash-token`.

use std::{
    error::Error,
    io::{IsTerminal as _, Read as _},
    net::IpAddr,
    path::Path,
};

use clap::Args;
use tonic::{
    metadata::AsciiMetadataValue,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    CliError,
    error::Exit,
    output::{Output, note},
};
use larder_server::config::{ClientConfig, TokenHash, new_token};

/// The longest token that is read; a server accepts no longer one.
const LONGEST_TOKEN: usize = 8 << 10;
/// A shorter token can be guessed from its hash.
const SHORTEST_TOKEN: usize = 16;

/// Prints the hash of a token for [[auth.token]] of the configuration. The token comes from standard input, or is made at random.
#[derive(Debug, Args)]
pub(crate) struct HashToken {
    /// Make a token, and print it above its hash.
    #[arg(long)]
    generate: bool,
}

impl HashToken {
    /// Runs the command.
    pub(crate) fn run(&self) -> Result<(), CliError> {
        let mut out = Output::new();
        if self.generate {
            let token = new_token().ok_or_else(|| CliError::new(Exit::System, "the system gives no random numbers"))?;
            out.line(&format!("token   {}", *token))?;
            out.line(&format!("sha256  {}", TokenHash::of(token.as_bytes()).hex()))?;
            return out.flush();
        }
        if std::io::stdin().is_terminal() {
            return Err(CliError::usage("no token on standard input")
                .hint("write `larder hash-token < FILE`, or make a token with --generate"));
        }
        let mut text = String::new();
        let read = std::io::stdin().take(LONGEST_TOKEN as u64 + 2).read_to_string(&mut text);
        read.map_err(|error| CliError::io("cannot read standard input", &error))?;
        let token = text.trim_end_matches(['\r', '\n']);
        if token.len() < SHORTEST_TOKEN || !is_token(token) {
            let hint = "make one with `larder hash-token --generate`";
            let message = format!("a token has {SHORTEST_TOKEN} to {LONGEST_TOKEN} visible ASCII characters");
            return Err(CliError::new(Exit::Data, message).hint(hint));
        }
        out.line(&TokenHash::of(token.as_bytes()).hex())?;
        out.flush()
    }
}

fn is_token(text: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What to do about an error of TLS, if this is one that the configuration mends.
pub(crate) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let tls = match inner {
        Some(inner) => inner.downcast_ref::<rustls::Error>(),
        None => error.downcast_ref::<rustls::Error>(),
    };
    match tls? {
        rustls::Error::InvalidCertificate(_) => {
            Some("name the authority that vouches for the server: ca in [client] of the settings, or LARDER_CLIENT__CA")
        }
        rustls::Error::InvalidMessage(_) => Some("the server may not speak TLS: try an http:// address"),
        _ => None,
    }
}

/// Reads a token from a file, as `authorization` has it.
pub(crate) fn token(path: &Path) -> Result<AsciiMetadataValue, CliError> {
    let text = String::from_utf8(read(path)?).unwrap_or_default();
    let token = text.trim();
    let value = AsciiMetadataValue::try_from(format!("Bearer {token}"));
    match value {
        Ok(mut value) if is_token(token) => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(CliError::new(Exit::Config, format!("{} does not hold a token", path.display()))),
    }
}

/// Adds TLS to an endpoint at an https:// address.
pub(crate) fn secure(endpoint: Endpoint, address: &http::Uri, client: &ClientConfig) -> Result<Endpoint, CliError> {
    if address.scheme_str() != Some("https") {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new();
    tls = match &client.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
        None => tls.with_enabled_roots(),
    };
    tls = match (&client.certificate, &client.key) {
        (Some(certificate), Some(key)) => tls.identity(Identity::from_pem(read(certificate)?, read(key)?)),
        (None, None) => tls,
        _ => {
            let error = CliError::new(
                Exit::Config,
                "[client] has a certificate without its key, or a key without its certificate",
            );
            return Err(error.hint("name both files, or none of them"));
        }
    };
    let secured = endpoint.tls_config(tls);
    secured.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        CliError::new(Exit::Config, format!("the files in [client] cannot be used: {cause}"))
    })
}

/// Warns when a token is about to cross a network that may listen.
pub(crate) fn warn_in_the_clear(address: &http::Uri) {
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if address.scheme_str() != Some("https") && !here {
        note(&format!(
            "larder: warning: the token crosses the network to {host} in the clear; use an https:// address"
        ));
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|error| CliError::io(format!("cannot read {}", path.display()), &error))
}
