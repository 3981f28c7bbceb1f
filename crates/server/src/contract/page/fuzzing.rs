//! Page tokens for fuzzing.

use super::{parse_list, parse_search, serving};

/// Reads bytes as the content of page tokens: of lists in each order, and of searches. Both may hold the first byte's order.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn page_token(input: &[u8]) {
    let orders = ["id", "create_time desc", "update_time", "name", "price desc"];
    let request = |page_token: String, order: &str| serving::ListProductsRequest {
        order_by: order.to_owned(),
        page_token,
        ..Default::default()
    };
    for order in orders {
        let _ = parse_list(request(String::from_utf8_lossy(input).into_owned(), order));
        let tokens = parse_list(request(String::new(), order)).expect("a right request").tokens();
        let Ok(read) = parse_list(request(tokens.write(input), order)) else { continue };
        let position = read.query.after.expect("a token is a position");
        let again = parse_list(request(tokens.list(&position), order)).expect("a token that Larder made");
        assert_eq!(again.query.after, Some(position));
    }
    let request =
        |page_token| serving::SearchProductsRequest { query: "tea".to_owned(), page_token, ..Default::default() };
    let tokens = parse_search(request(String::new())).expect("a right request").tokens();
    if let Ok(read) = parse_search(request(tokens.write(input))) {
        let (rank, id) = read.query.after.expect("a token is a position");
        let again = parse_search(request(tokens.search(rank, &id))).expect("a token that Larder made");
        assert_eq!(again.query.after, Some((rank, id)));
    }
}
