//! The C library. C users read `include/phishcnn.h`, which is generated from the comments here,
//! and `README.md`; this page is for those who work on the library.
//!
//! Every function has the same shape: it checks its pointers ([`memory`]), then calls the core
//! inside [`boundary`], which turns the outcome into a number. Nothing here knows about URLs,
//! layers, thresholds or texts: those are the core's.
#![cfg_attr(target_os = "none", no_std)]
// The contract of each function is its comment, which C users read in the header: there, all of
// them are unsafe, and a heading on each would say nothing.
#![allow(clippy::missing_safety_doc)]
#![allow(non_camel_case_types)]

mod boundary;
mod memory;
mod model;
mod score;
mod text;

pub use memory::*;
pub use model::*;
pub use score::*;
pub use text::*;

/// Only bare metal needs one, and no panic is reachable there: `tests/test_bare_metal.py` links the
/// library with a handler that calls a function which does not exist.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(phishcnn_panic_symbol)]
    {
        unsafe extern "C" {
            fn phishcnn_panic_is_reachable() -> !;
        }
        // SAFETY: never linked into a program; declared as diverging.
        unsafe { phishcnn_panic_is_reachable() }
    }
    #[cfg(not(phishcnn_panic_symbol))]
    loop {}
}
