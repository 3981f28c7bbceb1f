//! Parsing at the door: requests become types that hold only valid values. Every rule that a request breaks is named with its
//! field.

mod encode;
mod filter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod key;
pub(crate) mod page;
mod position;
mod product;
mod read;
mod session;
mod token;
mod violation;

pub use encode::{duration, encode, to_message};
pub use filter::{canonical_filter, parse_filter, parse_order};
pub use key::{CopyKey, parse_key};
pub(crate) use key::{PRODUCT_PREFIX, product_name};
pub use page::{ListRequest, PageToken, SearchRequest, parse_list, parse_search};
pub use position::{Position, Step};
pub use product::{ProductId, parse_etag, parse_id, parse_import, parse_mask, parse_product, parse_term};
pub use read::{Read, parse_duration, parse_read};
pub use session::{Session, parse_session};
pub use token::{Stamp, decode_token, encode_stamp, encode_token};
pub use violation::{Violation, Violations, cut};

/// Ids in one batch.
pub const MAX_BATCH: usize = 1_000;
/// Products on one page.
pub const MAX_PAGE: u32 = 1_000;
/// Products on one page, unless the request says.
pub const DEFAULT_PAGE: u32 = 50;
