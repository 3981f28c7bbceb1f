//! Who may do what, and how connections are secured.

mod authority;
mod backends;
mod caller;
mod commands;
mod issuer;
mod pages;
mod records;
mod replaced;
mod revoked;

use larder_server::config::{
    AuthConfig, CertificateMatch, CertificateRule, ClientCertificates, Config, Jwks, JwtConfig, Role, TokenHash,
    TokenRule,
};
use serde_json::json;
use tonic_types::StatusExt as _;

use self::{
    authority::{AUDIENCE, Authority, Files, ISSUER, Tokens, now},
    caller::{Caller, METHODS, Needs, OPEN, Outcome},
};
use crate::harness::{Database, Server};

/// A server that asks for credentials of every kind.
struct Secured {
    server: Server,
    /// Gone with the test.
    _database: Database,
    files: Files,
    /// Of the server's certificate.
    authority: Authority,
    /// Of the clients' certificates.
    clients: Authority,
    tokens: Tokens,
}

/// The static tokens of the tests.
const TOKENS: [(&str, Role); 3] = [
    ("token-of-a-reader-0123", Role::Reader),
    ("token-of-a-writer-0123", Role::Writer),
    ("token-of-an-admin-0123", Role::Admin),
];

fn token_rules() -> Vec<TokenRule> {
    TOKENS.iter().map(|&(token, role)| rule(token, role)).collect()
}

fn rule(token: &str, role: Role) -> TokenRule {
    TokenRule { name: format!("the {}", role.name()), sha256: TokenHash::of(token.as_bytes()), role }
}

impl Secured {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with_files(|config, _, _| change(config)).await
    }

    /// Starts a server whose configuration may name files; the authority is that of the clients.
    async fn start_with_files(change: impl FnOnce(&mut Config, &Files, &Authority)) -> Self {
        let (files, authority, clients) = (Files::new(), Authority::new("servers"), Authority::new("clients"));
        let tokens = Tokens::new("first");
        let certified = authority.server();
        let certificate = files.write("server.pem", &certified.certificate);
        let key = files.write("server.key", &certified.key);
        let client_ca = files.write("clients.pem", clients.pem());
        let jwks = files.write("jwks.json", &tokens.jwks());
        let spiffe = |id: &str, role| CertificateRule { matches: CertificateMatch::Spiffe(id.to_owned()), role };
        let auth = AuthConfig {
            tokens: token_rules(),
            certificates: vec![
                spiffe("spiffe://shop.example/shelf/*", Role::Reader),
                spiffe("spiffe://shop.example/till", Role::Writer),
                CertificateRule { matches: CertificateMatch::Subject("operator".to_owned()), role: Role::Admin },
            ],
            jwt: JwtConfig {
                jwks: Some(Jwks::File(jwks)),
                issuer: Some(ISSUER.to_owned()),
                audience: Some(AUDIENCE.to_owned()),
                ..JwtConfig::default()
            },
            ..AuthConfig::default()
        };
        let database = Database::sqlite();
        let server = Server::start_with(&database, |config| {
            let tls = &mut config.security.tls;
            (tls.certificate, tls.key, tls.client_ca) = (Some(certificate), Some(key), Some(client_ca));
            tls.client_certificates = ClientCertificates::Optional;
            config.security.auth = auth;
            change(config, &files, &clients);
        })
        .await;
        Self { server, _database: database, files, authority, clients, tokens }
    }

    fn ports(&self) -> [std::net::SocketAddr; 2] {
        [self.server.address(), self.server.running().admin_address().expect("a port for CacheAdmin")]
    }

    /// A client without credentials.
    fn anonymous(&self) -> Caller {
        Caller::new(self.ports(), &self.authority, None)
    }
}

#[tokio::test]
async fn every_method_admits_exactly_the_roles_that_it_should() {
    let secured = Secured::start().await;
    let anonymous = secured.anonymous();
    let certificate = |certified| Caller::new(secured.ports(), &secured.authority, Some(&certified));
    let clients = &secured.clients;
    let (reader, writer, admin) = (Some(Needs::Reader), Some(Needs::Writer), Some(Needs::Admin));
    let callers = [
        ("token of a reader", anonymous.with(TOKENS[0].0), reader),
        ("token of a writer", anonymous.with(TOKENS[1].0), writer),
        ("token of an admin", anonymous.with(TOKENS[2].0), admin),
        ("JWT of a reader", anonymous.with(&secured.tokens.token("reader")), reader),
        ("JWT of a writer", anonymous.with(&secured.tokens.token("writer")), writer),
        ("JWT of an admin", anonymous.with(&secured.tokens.token("admin")), admin),
        ("JWT without a role", anonymous.with(&secured.tokens.token("cook")), None),
        ("certificate of a reader", certificate(clients.spiffe("spiffe://shop.example/shelf/7")), reader),
        ("certificate of a writer", certificate(clients.spiffe("spiffe://shop.example/till")), writer),
        ("certificate of an admin", certificate(clients.subject("operator")), admin),
        ("certificate without a role", certificate(clients.spiffe("spiffe://shop.example/cook")), None),
        ("token beside a smaller certificate", certificate(clients.subject("cook")).with(TOKENS[1].0), writer),
    ];
    for (method, needs) in METHODS {
        assert_eq!(anonymous.outcome(method).await, Outcome::Unauthenticated, "{method} by nobody");
        for (who, caller, role) in &callers {
            let expected = if *role >= Some(needs) { Outcome::Admitted } else { Outcome::Denied };
            assert_eq!(caller.outcome(method).await, expected, "{method} by {who}");
        }
    }
    for method in OPEN {
        assert_eq!(anonymous.outcome(method).await, Outcome::Admitted, "{method}");
    }
    assert_eq!(anonymous.outcome("larder.catalog.v1.ProductCatalog/MadeUp").await, Outcome::Unauthenticated);
    secured.server.stop().await;
}

const GET: &str = "larder.catalog.v1.ProductCatalog/GetProduct";

#[tokio::test]
async fn what_is_not_genuine_is_refused_without_a_hint() {
    let secured = Secured::start().await;
    let (anonymous, tokens) = (secured.anonymous(), &secured.tokens);
    let nobody = anonymous.call(GET).await.expect_err("a refusal");
    let info = nobody.get_details_error_info().expect("a reason");
    assert_eq!((info.reason.as_str(), info.metadata.len()), ("UNAUTHENTICATED", 0));
    let forged = tokens.token("reader").split('.').take(2).collect::<Vec<_>>().join(".");
    for (what, token) in [
        ("unknown", "token-of-a-stranger-01".to_owned()),
        ("beginning of a token", TOKENS[2].0[..20].to_owned()),
        ("hash of a token", TokenHash::of(TOKENS[2].0.as_bytes()).hex()),
        ("expired", tokens.token_with(&json!({ "larder_role": "admin", "exp": now() - 600 }))),
        ("not valid yet", tokens.token_with(&json!({ "larder_role": "admin", "nbf": now() + 600 }))),
        ("other audience", tokens.token_with(&json!({ "larder_role": "admin", "aud": "till" }))),
        ("other issuer", tokens.token_with(&json!({ "larder_role": "admin", "iss": "https://x.example" }))),
        ("other algorithm", tokens.confused()),
        ("no algorithm", tokens.unsigned()),
        ("other key of the same name", Tokens::new("first").token("admin")),
        ("unknown key", Tokens::new("second").token("admin")),
        ("signature of another token", format!("{forged}.AAAA")),
        ("noise", "a.b.c".to_owned()),
        ("nothing", String::new()),
    ] {
        let refused = anonymous.with(&token).call(GET).await.expect_err(what);
        assert_eq!((refused.code(), refused.message()), (nobody.code(), nobody.message()), "{what}");
        assert_eq!(refused.details(), nobody.details(), "{what}");
    }
    // A certificate of another authority does not get past the handshake.
    let stranger = Authority::new("clients").spiffe("spiffe://shop.example/till");
    let stranger = Caller::new(secured.ports(), &secured.authority, Some(&stranger));
    let refused = stranger.call(GET).await.expect_err("no connection");
    assert!(refused.details().is_empty(), "{refused:?}");
    secured.server.stop().await;
}

#[tokio::test]
async fn a_server_without_credentials_asks_for_none() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    let channel = server.channel();
    let mut client = larder_proto::catalog::product_catalog_client::ProductCatalogClient::new(channel);
    let request = larder_proto::catalog::ListProductsRequest::default();
    client.list_products(request).await.expect("products for everybody");
    server.stop().await;
}

#[tokio::test]
async fn a_client_must_trust_the_certificate_and_speak_tls() {
    let secured = Secured::start().await;
    let [catalog, _] = secured.ports();
    let other = Authority::new("servers");
    let caller = Caller::new(secured.ports(), &other, None);
    assert!(caller.call(OPEN[0]).await.is_err(), "a certificate of an authority that the client does not trust");
    let plain = tonic::transport::Channel::from_shared(format!("http://{catalog}")).expect("an address").connect_lazy();
    let mut health = tonic_health::pb::health_client::HealthClient::new(plain);
    assert!(health.check(tonic_health::pb::HealthCheckRequest::default()).await.is_err(), "a plain connection");
    assert_eq!(secured.anonymous().outcome(OPEN[0]).await, Outcome::Admitted);
    secured.server.stop().await;
}
