//! Runs one target of `corral-fuzz` under libFuzzer: the one that the variable `CORRAL_FUZZ_TARGET`
//! names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::sync::LazyLock;

/// Address space in bytes: no input of some kilobytes is a reason to ask for more.
const MEMORY: u64 = 1 << 30;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    setrlimit(Resource::As, limit).expect("limiting the memory");
    let name = std::env::var("CORRAL_FUZZ_TARGET").expect("CORRAL_FUZZ_TARGET names a target");
    corral_fuzz::find(&name).expect("CORRAL_FUZZ_TARGET names a target")
});

fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));
