//! The binary `larder`.

use std::process::ExitCode;

/// A reply of many products takes a buffer of tens of kilobytes. The system's allocator returns that memory to the kernel and
/// asks for it again at every reply, which costs a fifth of the processor time of a batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    larder_cli::main()
}
