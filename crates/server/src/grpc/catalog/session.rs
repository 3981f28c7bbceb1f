//! The header that carries the tokens of a session: replies to writes have it, and reads return it.

use http::HeaderValue;
use larder_proto::serving::ReadOptions;
use tonic::{
    Response,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{
    contract::{Session, Violations, parse_session},
    grpc::call::headers::TOKEN,
};

/// The commits that a read must show, by its headers.
pub(in crate::grpc) fn session(metadata: &MetadataMap, read: Option<&ReadOptions>) -> Result<Session, Violations> {
    parse_session(TOKEN, metadata.get_all(TOKEN).iter().map(MetadataValue::as_bytes), read)
}

/// Names the commit in the headers of a reply, unless nothing was written.
pub(in crate::grpc) fn marked<T>(mut reply: Response<T>, token: impl Fn(&T) -> &str) -> Response<T> {
    let token = token(reply.get_ref());
    if !token.is_empty()
        && let Ok(token) = HeaderValue::from_str(token)
    {
        reply.metadata_mut().as_mut().insert(TOKEN, token);
    }
    reply
}
