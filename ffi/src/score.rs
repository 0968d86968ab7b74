//! Scoring: one URL, many, and the reasons.

use crate::boundary::{boundary, number};
use crate::memory;
use crate::{UNKNOWN, phishcnn_model, phishcnn_result, phishcnn_segment, phishcnn_status};
use crate::{phishcnn_str, phishcnn_verdict};
use core::ffi::{c_char, c_void};
use phishcnn_core::{Error, Score};

/// Scores one URL.
///
/// url, url_size: the URL as any bytes, at most 65,536 of them; NUL and invalid UTF-8 get a score
/// like any other. It needs no scheme.
/// scratch, scratch_size: working memory, aligned to 16 bytes (PHISHCNN_ALIGNED), at least
/// phishcnn_model_scratch_size bytes. Its content does not matter, neither before nor after.
/// result: receives the score or, on error, the status alone.
///
/// Status: PHISHCNN_EMPTY_URL (nothing but white space), PHISHCNN_URL_TOO_LONG,
/// PHISHCNN_SCRATCH_TOO_SMALL, PHISHCNN_MISALIGNED, PHISHCNN_NOT_LOADED, PHISHCNN_NULL_POINTER;
/// PHISHCNN_NON_FINITE when huge weights of a strange model overflow into the logit (a NaN that a
/// relu or a maximum drops inside the network is not reported).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_score(
    model: *const phishcnn_model,
    url: *const c_char,
    url_size: usize,
    scratch: *mut c_void,
    scratch_size: usize,
    result: *mut phishcnn_result,
) -> phishcnn_status {
    let answer = answer(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            let model = &memory::loaded(model)?.model;
            let scratch = memory::scratch(model, scratch, scratch_size)?;
            model.score(memory::url(url, url_size)?, scratch)
        }
    });
    // SAFETY: the caller's promises, passed on.
    match unsafe { memory::write(result, answer) } {
        Ok(()) => answer.status,
        error => number(error),
    }
}

/// Scores many URLs, in order, in the calling thread. No item is skipped: each gets a score or a
/// status of its own, whatever became of the others.
///
/// urls, results: arrays of count items, which must not overlap. Both may be NULL when count is 0.
/// The other arguments: as phishcnn_score.
///
/// Status: PHISHCNN_OK when every URL has a score, else that of the first that has none; also when
/// the model or the scratch memory is unusable, and then it stands in every result. Results are
/// not written only when results itself is PHISHCNN_NULL_POINTER or PHISHCNN_MISALIGNED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_score_batch(
    model: *const phishcnn_model,
    urls: *const phishcnn_str,
    count: usize,
    scratch: *mut c_void,
    scratch_size: usize,
    results: *mut phishcnn_result,
) -> phishcnn_status {
    let mut first = 0;
    for i in 0..count {
        let answer = answer(|| {
            memory::checked(urls)?;
            // SAFETY: the caller's promises, passed on; `i` lies inside both arrays.
            unsafe {
                let model = &memory::loaded(model)?.model;
                let scratch = memory::scratch(model, scratch, scratch_size)?;
                let url = urls.add(i).read();
                model.score(memory::url(url.data, url.size)?, scratch)
            }
        });
        if first == 0 {
            first = answer.status;
        }
        if let Err(error) = memory::checked(results) {
            return number(Err(error));
        }
        // SAFETY: checked; `i` lies inside the caller's array.
        unsafe { results.add(i).write(answer) };
    }
    first
}

/// Scores a URL and says what each of its pieces contributes. Costs one scoring for each piece.
///
/// segments, capacity: array that receives the pieces that the model reads, in the URL's order.
/// phishcnn_model_max_segments items always suffice. Items behind count are unspecified.
/// count: receives the number of pieces; 0 on error.
/// result: receives the score, as phishcnn_score. It equals that of phishcnn_score.
/// The other arguments: as phishcnn_score.
///
/// Status: as phishcnn_score, and PHISHCNN_OUTPUT_TOO_SMALL when capacity is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_explain(
    model: *const phishcnn_model,
    url: *const c_char,
    url_size: usize,
    scratch: *mut c_void,
    scratch_size: usize,
    segments: *mut phishcnn_segment,
    capacity: usize,
    count: *mut usize,
    result: *mut phishcnn_result,
) -> phishcnn_status {
    let answer = answer(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            memory::write(count, 0)?;
            let model = &memory::loaded(model)?.model;
            let scratch = memory::scratch(model, scratch, scratch_size)?;
            let segments = memory::segments(model, segments, capacity)?;
            let (score, found) = model.explain(memory::url(url, url_size)?, scratch, segments)?;
            memory::write(count, found)?;
            Ok(score)
        }
    });
    // SAFETY: the caller's promises, passed on.
    match unsafe { memory::write(result, answer) } {
        Ok(()) => answer.status,
        error => number(error),
    }
}

/// A score, or why there is none.
fn answer(body: impl FnOnce() -> Result<Score, Error>) -> phishcnn_result {
    // What a careless program makes of an error must not look benign.
    let mut result = phishcnn_result {
        status: 0,
        verdict: UNKNOWN,
        logit: f32::NAN,
        probability: f32::NAN,
        truncated: false,
    };
    result.status = boundary(|| {
        let score = body()?;
        #[cfg(phishcnn_panic_control)]
        if score.truncated {
            panic!("on purpose: {}", score.logit);
        }
        result.verdict = score.verdict as phishcnn_verdict;
        result.logit = score.logit;
        result.probability = score.probability;
        result.truncated = score.truncated;
        Ok(())
    });
    result
}
