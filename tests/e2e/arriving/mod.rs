//! Errors and compressed messages, as programs of others see them: through Python's grpcio, grpcurl and the CLI.

mod compression;
mod errors;
