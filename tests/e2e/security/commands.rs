//! The program as its users run it: its configuration, its audit log and its commands.

use std::{fmt::Write as _, path::Path, process::Stdio};

use larder_server::config::TokenHash;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::{
    TOKENS,
    authority::{Authority, Files},
};
use crate::harness::{Database, Process, Ran, eventually};

/// The file with the settings of a server with TLS and three tokens.
fn settings(files: &Files, authority: &Authority) -> String {
    let certified = authority.server();
    let certificate = files.write("server.pem", &certified.certificate);
    let key = files.write("server.key", &certified.key);
    let (certificate, key) = (certificate.display(), key.display());
    let mut text = format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    for (token, role) in TOKENS {
        let (hash, role) = (TokenHash::of(token.as_bytes()).hex(), role.name());
        let _ = write!(text, "[[auth.token]]\nname = \"the {role}\"\nsha256 = \"{hash}\"\nrole = \"{role}\"\n");
    }
    text
}

/// Runs a command that calls a server by TLS.
async fn larder(process: &Process, files: &Files, arguments: &[&str]) -> Ran {
    let mut command = process.client_command(arguments).await;
    command.env("LARDER_ADDRESS", format!("https://{}", process.address()));
    command.env("LARDER_ADMIN_ADDRESS", format!("https://{}", process.admin_address()));
    command.env("LARDER_CLIENT__CA", files.path("ca.pem"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().await.expect("larder to start");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The audit records of a process.
fn records(process: &Process) -> Vec<Value> {
    // The last line may not be whole yet.
    let lines = process.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
    lines.into_iter().filter(|line| line["target"] == "audit").collect()
}

#[tokio::test]
async fn commands_show_their_token_and_calls_leave_records() {
    let (files, authority) = (Files::new(), Authority::new("servers"));
    let config = files.write("larder.toml", &settings(&files, &authority));
    files.write("ca.pem", authority.pem());
    let [reader, _, admin] =
        TOKENS.map(|(token, role)| files.write(role.name(), &format!("{token}\n")).display().to_string());
    let config = config.display().to_string();
    let database = Database::sqlite();
    let process = Process::start_with(&database, &["--config", &config]).await;

    let ran = larder(&process, &files, &["list", "--token-file", &reader]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let ran = larder(&process, &files, &["list"]).await;
    assert_eq!(ran.code, Some(77), "{}", ran.err);
    assert!(ran.err.contains("--token-file"), "what to do: {}", ran.err);
    let ran = larder(&process, &files, &["hot", "--token-file", &reader]).await;
    assert_eq!(ran.code, Some(77), "{}", ran.err);
    let ran = larder(&process, &files, &["invalidate", "keys", "product:a", "--token-file", &admin]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let ran = larder(&process, &files, &["health", "--deep", "--token-file", &admin]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);

    eventually("the records", async || records(&process).len() >= 4).await;
    let records = records(&process);
    let find = |method: &str, outcome: &str| {
        let found = records.iter().find(|record| {
            record["method"].as_str().is_some_and(|name| name.ends_with(method)) && record["outcome"] == outcome
        });
        found.unwrap_or_else(|| panic!("no record of {method} that ended with {outcome} in {records:?}"))
    };
    let listed = find("ProductCatalog/ListProducts", "unauthenticated");
    assert_eq!((&listed["caller"], &listed["why"]), (&"anonymous".into(), &"no credential".into()), "{listed}");
    let hot = find("CacheAdmin/ListHotKeys", "permission_denied");
    assert_eq!(hot["caller"], "the reader", "{hot}");
    let invalidated = find("CacheAdmin/InvalidateKeys", "OK");
    assert_eq!((&invalidated["caller"], &invalidated["by"]), (&"the admin".into(), &"token".into()), "{invalidated}");
    assert!(invalidated["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{invalidated}");
    assert!(invalidated["request_id"].as_str().is_some_and(|id| id.len() == 32), "{invalidated}");
    find("CacheAdmin/GetHealth", "OK");
    let log = process.log();
    for (token, _) in TOKENS {
        assert!(!log.contains(token) && !log.contains(&TokenHash::of(token.as_bytes()).hex()), "{log}");
    }
    process.stop().await;
}

#[tokio::test]
async fn an_address_or_authority_that_is_wrong_is_told_with_what_to_do() {
    let (files, authority) = (Files::new(), Authority::new("servers"));
    let config = files.write("larder.toml", &settings(&files, &authority));
    let stranger = files.write("other.pem", Authority::new("others").pem());
    let database = Database::sqlite();
    let secured = Process::start_with(&database, &["--config", &config.display().to_string()]).await;
    let plain = Process::start(&database).await;
    let list = async |process: &Process, address: String, authority: Option<&Path>| {
        let mut command = process.client_command(&["list", "--address", &address]).await;
        command.envs(authority.map(|path| ("LARDER_CLIENT__CA", path)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.output().await.expect("larder to start");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    for (process, scheme, authority, hint) in [
        (&secured, "https", None, "LARDER_CLIENT__CA"),
        (&secured, "https", Some(&*stranger), "LARDER_CLIENT__CA"),
        (&secured, "http", None, "try an https:// address"),
        (&plain, "https", None, "try an http:// address"),
    ] {
        let (code, err) = list(process, format!("{scheme}://{}", process.address()), authority).await;
        assert_eq!(code, Some(69), "{err}");
        assert!(err.contains(hint), "{hint}: {err}");
    }
    secured.stop().await;
    plain.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_all_named() {
    let (files, authority) = (Files::new(), Authority::new("servers"));
    let certificate = files.write("server.pem", &authority.server().certificate);
    let garbage = files.write("garbage", "garbage");
    let [tls, jwt] = ["tls", "auth.jwt"].map(|section| format!("[{section}]\n"));
    let jwks = format!("{jwt}jwks = {garbage:?}\nissuer = \"i\"\naudience = \"a\"\n");
    let other = files.write("other.key", &authority.server().key);
    for (key, names) in [(&garbage, &["tls.key", "auth.jwt.jwks"][..]), (&other, &["tls.key", "auth.jwt.jwks"])] {
        let text = format!("{tls}certificate = {certificate:?}\nkey = {key:?}\n{jwks}");
        let config = files.write("larder.toml", &text);
        let mut command = Process::command().await;
        let url = format!("sqlite:{}", files.path("larder.db").display());
        command.args(["serve", "--database-url", &url, "--config"]).arg(config).stderr(Stdio::piped());
        let output = command.output().await.expect("larder to start");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{err}");
        assert!(names.iter().all(|name| err.contains(name)), "{err}");
        assert!(!files.path("larder.db").exists(), "nothing was opened");
    }
}

#[tokio::test]
async fn tokens_are_made_and_hashed() {
    let hash = async |input: &str, arguments: &[&str]| {
        let mut command = Process::command().await;
        command.arg("hash-token").args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("larder");
        let mut stdin = child.stdin.take().expect("its input");
        // It may not wait for the input.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.expect("larder to end");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, out) = hash("", &["--generate"]).await;
    assert_eq!(code, Some(0));
    let values: Vec<_> = out.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let [token, sha256] = values[..] else { panic!("{out}") };
    assert_eq!(TokenHash::of(token.as_bytes()).hex(), sha256);
    let (code, out) = hash(&format!("{token}\n"), &[]).await;
    assert_eq!((code, out.trim()), (Some(0), sha256));
    assert_ne!(hash("", &["--generate"]).await.1.lines().next(), Some(token));
    for wrong in ["", "short", "a token with spaces in it"] {
        assert_eq!(hash(wrong, &[]).await.0, Some(65), "{wrong}");
    }
}
