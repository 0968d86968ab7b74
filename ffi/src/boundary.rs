//! Where Rust ends: outcomes become numbers, and no panic crosses.
//!
//! The core has no reachable panic, which is proved on the linked object of a build without the
//! standard library. A host's library contains the standard library and a memory map as well, so
//! it catches: a defect there is status 901 in the caller's program, not its end.

use crate::phishcnn_status;
use phishcnn_core::Error;

/// Runs the body of a C function.
#[cfg(not(target_os = "none"))]
pub(crate) fn boundary(body: impl FnOnce() -> Result<(), Error>) -> phishcnn_status {
    // Unwind safety: what a panic may have left half-written is the caller's memory, whose
    // content is unspecified after an error.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    number(outcome.unwrap_or(Err(Error::Internal)))
}

/// Runs the body of a C function.
#[cfg(target_os = "none")]
pub(crate) fn boundary(body: impl FnOnce() -> Result<(), Error>) -> phishcnn_status {
    number(body())
}

/// The status of an outcome.
pub(crate) fn number(outcome: Result<(), Error>) -> phishcnn_status {
    match outcome {
        Ok(()) => 0,
        Err(error) => phishcnn_status::from(error.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_number() {
        assert_eq!(boundary(|| panic!("on purpose")), 901);
        assert_eq!(boundary(|| Err(Error::EmptyUrl)), 201);
        assert_eq!(boundary(|| Ok(())), 0);
    }
}
