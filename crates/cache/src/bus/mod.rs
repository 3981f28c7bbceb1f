//! The bus: Redis pub/sub, which brings changes to every replica at once.

pub(crate) mod codec;
pub(crate) mod subscriber;
