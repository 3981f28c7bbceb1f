//! Looks for inputs that make a target panic, with libFuzzer, which keeps those that reach code which no other input reaches.
//! `.ci/fuzz` builds and runs it.

#![no_main]

use std::sync::LazyLock;

use larder_fuzz::Target;

/// The target that the environment names. libFuzzer owns the arguments.
static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("LARDER_FUZZ_TARGET").unwrap_or_default();
    Target::by_name(&name).unwrap_or_else(|| panic!("LARDER_FUZZ_TARGET names no target: {name:?}"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
