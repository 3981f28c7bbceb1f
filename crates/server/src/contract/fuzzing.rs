//! Requests and tokens for fuzzing.

use larder_cache::{Freshness, Token};
use larder_proto::{catalog, serving};
use larder_storage::ProductMask;
use prost::Message as _;

use super::{
    MAX_PAGE, Position, Read, decode_token, encode_token,
    page::{LIST, SEARCH},
    parse_key, parse_list, parse_mask, parse_product, parse_search, parse_session,
    position::POSITION,
    token::{COMMIT, UNSALTED, seal, unseal},
};
use crate::json::{from_json, to_json};

const KINDS: [u8; 5] = [COMMIT, UNSALTED, POSITION, LIST, SEARCH];

/// Reads text as the token of a write, and bytes as the content of one.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn token(input: &[u8]) {
    check_token(&String::from_utf8_lossy(input));
    for kind in KINDS {
        let sealed = seal(kind, input);
        for other in KINDS {
            let opened = unseal(other, &sealed);
            assert_eq!(opened.as_deref(), (other == kind).then_some(input), "opened as of kind {other}");
        }
        check_token(&sealed);
    }
}

fn check_token(text: &str) {
    if let Some(token) = decode_token(text) {
        assert_eq!(decode_token(&encode_token(token)), Some(token));
    }
}

/// Reads the header with the tokens of a session.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn session(input: &[u8]) {
    let mut tokens = Vec::new();
    for content in input.chunks(24) {
        tokens.extend(decode_token(&seal(COMMIT, content)));
    }
    let sealed = tokens.iter().map(|&token| encode_token(token)).collect::<Vec<_>>().join(", ");
    if let Ok(session) = parse_session("x", [input].into_iter(), None) {
        assert!(session.others().len() < 32);
    }
    if tokens.is_empty() {
        return;
    }
    let session = parse_session("x", [sealed.as_bytes()].into_iter(), None).expect("tokens of this service");
    match session.freshen(Read::default()).freshness {
        Freshness::FullyConsistent => {}
        Freshness::AtLeast(last) => {
            let covered = |token: &Token| *token == last || session.others().contains(token);
            assert!(tokens.iter().all(covered), "a write that the session does not show");
        }
        Freshness::MinimizeLatency => panic!("a session without its writes"),
    }
}

/// Reads text as a position in a stream of changes, and bytes as the content of one.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn watch_position(input: &[u8]) {
    for text in [&*String::from_utf8_lossy(input), &seal(POSITION, input), &seal(COMMIT, input)] {
        let Some(position) = Position::decode(text) else { continue };
        assert_eq!(Position::decode(&position.encode()).as_ref(), Some(&position));
        for snapshot in [Some(&position.told), position.step.as_ref().map(|step| &step.to)].into_iter().flatten() {
            assert!(snapshot.xmin <= snapshot.xmax && snapshot.in_progress.is_sorted());
            assert!(snapshot.in_progress.iter().all(|id| (snapshot.xmin..snapshot.xmax).contains(id)));
            assert!(snapshot.in_progress.len() <= input.len().max(1_000), "more ids than bytes");
        }
    }
}

/// Reads text as the name of a copy.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn copy_key(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(key) = parse_key("key", &text) {
        let key = key.key();
        assert_eq!(parse_key("key", &key.name).map(|key| key.key()), Ok(key));
    }
}

/// Reads bytes as requests for lists and searches.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn list_request(input: &[u8]) {
    if let Ok(request) = serving::ListProductsRequest::decode(input)
        && let Ok(request) = parse_list(request)
        && request.key.len() < 4_096
    {
        let key = parse_key("key", &request.key).expect("a name that Larder made").key();
        assert_eq!(key, larder_cache::Key::list(request.key.as_str(), request.term.as_str()));
        assert!((1..=MAX_PAGE).contains(&request.query.limit));
    }
    if let Ok(request) = serving::SearchProductsRequest::decode(input)
        && let Ok(request) = parse_search(request)
    {
        assert!(!request.query.words.is_empty());
        assert!(request.key.len() >= 8_192 || parse_key("key", &request.key).is_ok());
    }
}

/// Reads bytes as a request with a product, in the server's own representation and in the plain one.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn product(input: &[u8]) {
    let plain = catalog::CreateProductRequest::decode(input);
    let ours = serving::CreateProductRequest::decode(input);
    let (Ok(plain), Ok(ours)) = (&plain, &ours) else {
        assert_eq!(plain.is_ok(), ours.is_ok(), "one of the two reads the request");
        return;
    };
    assert_eq!(plain.encode_to_vec(), ours.encode_to_vec());
    let Some(product) = plain.product.clone() else { return };
    let mask = parse_mask(None, &product).expect("no mask breaks a rule");
    let _ = parse_product("product.", product.clone(), mask);
    if let Ok(json) = to_json(&product) {
        assert_eq!(from_json(&json).as_ref(), Ok(&product), "{json}");
    }
    if let Ok(data) = parse_product("product.", product.clone(), ProductMask::ALL) {
        assert!(!data.name.trim().is_empty());
        assert!(product.categories.len() <= 64 && product.attributes.len() <= 128);
    }
}
