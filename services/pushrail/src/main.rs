//! The one binary. Everything is in the library beside it, and there mostly in the services' own crates.

use std::process::ExitCode;

/// Memory comes and goes in small pieces on several threads; mimalloc gives it back and does not fragment.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pushrail::main()
}
