//! Everything that a bare-metal user calls, behind C functions, for `check.sh` to link alone.
#![no_std]

use phishcnn_core::{Model, Segment};

unsafe extern "C" {
    /// Defined nowhere: its presence among undefined symbols means that a panic is reachable.
    fn phishcnn_panic_is_reachable() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never linked into a program; declared as diverging.
    unsafe { phishcnn_panic_is_reachable() }
}

/// Loads a model, scores a URL and explains it; answers an error number or 0.
///
/// # Safety
/// All pointers must be valid for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn link_check(
    file: *const u8,
    file_len: usize,
    url: *const u8,
    url_len: usize,
    scratch: *mut u8,
    scratch_len: usize,
    segments: *mut Segment,
    segments_len: usize,
    logit: *mut f32,
) -> u16 {
    // SAFETY: the caller's promise.
    let (file, url, scratch, segments, logit) = unsafe {
        (
            core::slice::from_raw_parts(file, file_len),
            core::slice::from_raw_parts(url, url_len),
            core::slice::from_raw_parts_mut(scratch, scratch_len),
            core::slice::from_raw_parts_mut(segments, segments_len),
            &mut *logit,
        )
    };
    #[cfg(feature = "control")]
    if url[0] == 0 {
        panic!("{}", file_len);
    }
    let model = match Model::load(file) {
        Ok(model) => model,
        Err(error) => return error.error.code(),
    };
    match model.score(url, scratch) {
        Ok(score) => *logit = score.logit + score.probability,
        Err(error) => return error.code(),
    }
    match model.explain(url, scratch, segments) {
        Ok((score, count)) => {
            *logit += score.logit + count as f32;
            0
        }
        Err(error) => error.code(),
    }
}
