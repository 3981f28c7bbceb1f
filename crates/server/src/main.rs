//! The binary `larder`.

use std::process::ExitCode;

/// A reply of many products is a buffer of tens of kilobytes: the system's allocator gives its memory back and takes it anew
/// for every reply, which costs a fifth of the processor time of a batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    larder_server::cli::main()
}
