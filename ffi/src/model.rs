//! Loading, describing and unloading a model.

use crate::boundary::boundary;
use crate::memory::{self, copy_text};
use crate::{phishcnn_model, phishcnn_status, phishcnn_str, phishcnn_verdict};
use core::ffi::{c_char, c_void};
use phishcnn_core::{Error, LoadError, Model};
use sha2::{Digest, Sha256};

/// What a model is. Texts lie in the model's file and live as long as it.
#[repr(C)]
pub struct phishcnn_info {
    /// Its name.
    pub name: phishcnn_str,
    /// Its semantic version.
    pub version: phishcnn_str,
    /// How a URL becomes tokens, as in the file.
    pub input: phishcnn_str,
    /// Its layers, separated by `; `.
    pub layers: phishcnn_str,
    /// The kernels that scoring runs on: `portable`, or those of a processor's extension.
    pub backend: phishcnn_str,
    /// Size of the file in bytes.
    pub file_size: usize,
    /// Number of weights.
    pub parameters: usize,
    /// As phishcnn_model_scratch_size.
    pub scratch_size: usize,
    /// As phishcnn_model_max_segments.
    pub max_segments: usize,
    /// From this logit on, the verdict is phishing (false-positive rate 0.1 % on validation data).
    pub phishing_threshold: f32,
    /// From this logit on, the verdict is suspicious (false-positive rate 1 %).
    pub suspicious_threshold: f32,
    /// probability = sigmoid(calibration_a * logit + calibration_b).
    pub calibration_a: f32,
    /// See calibration_a.
    pub calibration_b: f32,
}

/// Memory for phishcnn_model_sha256, in bytes: 64 hexadecimal digits and a NUL.
pub const PHISHCNN_SHA256_SIZE: usize = 65;

/// Loads a model from a file's bytes in memory (flash, a mapped file, an array).
///
/// The bytes are used where they lie, at any alignment, and never copied: they must stay as they
/// are until the model is no longer used. Nothing is allocated.
///
/// model: memory for the model. What it held is forgotten; unload it first if it held a file's.
/// file, file_size: the bytes of a `.safetensors` model.
/// item, item_size: receives, NUL-terminated, what of the file is to blame (a tensor's name, a
/// metadata key, a layer), or the empty text; cut when it does not fit (128 bytes suffice for
/// everything that our tools write). item may be NULL.
///
/// Status: 101 to 106 or 108 for a file that is not a model, PHISHCNN_NULL_POINTER,
/// PHISHCNN_MISALIGNED (model). After any error, the memory holds no model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_load(
    model: *mut phishcnn_model,
    file: *const c_void,
    file_size: usize,
    item: *mut c_char,
    item_size: usize,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            copy_text("", item, item_size);
            memory::checked(model)?;
            memory::forget(model);
            let file = memory::file(file, file_size)?;
            load(
                model,
                file,
                #[cfg(not(target_os = "none"))]
                None,
                item,
                item_size,
            )
        }
    })
}

/// Loads the model inside the library, phishcnn-compact. Its memory needs are known when a program
/// is compiled: PHISHCNN_EMBEDDED_SCRATCH_SIZE, PHISHCNN_EMBEDDED_MAX_SEGMENTS.
///
/// A statically linked program that does not call this does not contain the model's bytes, when it
/// is linked with `-Wl,--gc-sections`. A library built without the feature `embedded` lacks it.
///
/// Status: PHISHCNN_NULL_POINTER, PHISHCNN_MISALIGNED.
#[cfg(feature = "embedded")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_load_embedded(
    model: *mut phishcnn_model,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            memory::checked(model)?;
            memory::forget(model);
            load(
                model,
                phishcnn_weights::COMPACT,
                #[cfg(not(target_os = "none"))]
                None,
                core::ptr::null_mut(),
                0,
            )
        }
    })
}

/// Loads a model from a file, which is mapped into memory read-only, not read: its pages are
/// shared by all processes that use it. Hosts only: the bare-metal library lacks this function.
///
/// Replace a model file that is in use by renaming another one over it. Writing into it, or making
/// it shorter, changes the model under its users or ends them (SIGBUS), as with any mapped file.
///
/// path: NUL-terminated; bytes on POSIX systems, UTF-8 elsewhere.
/// The other arguments: as phishcnn_model_load. Unload the model to unmap the file.
///
/// Status: as phishcnn_model_load, and PHISHCNN_FILE_UNREADABLE.
#[cfg(not(target_os = "none"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_load_file(
    model: *mut phishcnn_model,
    path: *const c_char,
    item: *mut c_char,
    item_size: usize,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            copy_text("", item, item_size);
            memory::checked(model)?;
            memory::forget(model);
            memory::checked(path)?;
            let opened = open(core::ffi::CStr::from_ptr(path));
            let opened = opened.filter(|file| file.metadata().is_ok_and(|about| about.is_file()));
            let opened = opened.ok_or(Error::FileUnreadable)?;
            // An empty file cannot be mapped, and is no model.
            if opened.metadata().is_ok_and(|about| about.len() == 0) {
                return Err(Error::NotSafetensors);
            }
            let map = memmap2::Mmap::map(&opened).map_err(|_| Error::FileUnreadable)?;
            // The map moves into the caller's memory, the mapped bytes stay where they are.
            let file = core::slice::from_raw_parts(map.as_ptr(), map.len());
            load(model, file, Some(map), item, item_size)
        }
    })
}

/// As `File::open`, but that one allocates for a long path, and waits at a pipe.
#[cfg(unix)]
fn open(path: &core::ffi::CStr) -> Option<std::fs::File> {
    use std::os::fd::FromRawFd;
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: a path with a NUL behind it.
    let descriptor = unsafe { libc::open(path.as_ptr(), flags) };
    // SAFETY: a fresh descriptor that nobody else owns.
    (descriptor >= 0).then(|| unsafe { std::fs::File::from_raw_fd(descriptor) })
}

#[cfg(not(any(unix, target_os = "none")))]
fn open(path: &core::ffi::CStr) -> Option<std::fs::File> {
    path.to_str().ok().and_then(|path| std::fs::File::open(path).ok())
}

/// # Safety
/// As the C functions; `model` is checked.
unsafe fn load(
    model: *mut phishcnn_model,
    file: &'static [u8],
    #[cfg(not(target_os = "none"))] map: Option<memmap2::Mmap>,
    item: *mut c_char,
    item_size: usize,
) -> Result<(), Error> {
    // One `match`, because each combinator would put another copy of the model on the stack.
    match Model::load(file) {
        // SAFETY: the caller's promise.
        Ok(parsed) => unsafe {
            memory::store(
                model,
                parsed,
                file,
                #[cfg(not(target_os = "none"))]
                map,
            );
            Ok(())
        },
        Err(LoadError { error, item: blamed }) => {
            // SAFETY: the caller's promise.
            unsafe { copy_text(blamed, item, item_size) };
            Err(error)
        }
    }
}

/// Ends the use of a model: unmaps its file, if it has one, and empties the memory, which stays the
/// caller's. Only models from phishcnn_model_load_file need it. No other thread may use the model
/// during this call or afterwards.
///
/// Status: PHISHCNN_NOT_LOADED (also for a second call), PHISHCNN_NULL_POINTER,
/// PHISHCNN_MISALIGNED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_unload(model: *mut phishcnn_model) -> phishcnn_status {
    // SAFETY: the caller's promises, passed on.
    boundary(|| unsafe { memory::take(model).map(drop) })
}

/// Bytes of scratch memory that scoring with this model needs, a multiple of 16; 0 without a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_scratch_size(model: *const phishcnn_model) -> usize {
    // SAFETY: the caller's promises, passed on.
    unsafe { memory::loaded(model) }.map_or(0, |loaded| loaded.model.scratch_len())
}

/// Most segments that phishcnn_explain finds in a URL with this model; 0 without a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_max_segments(model: *const phishcnn_model) -> usize {
    // SAFETY: the caller's promises, passed on.
    unsafe { memory::loaded(model) }.map_or(0, |loaded| loaded.model.max_segments())
}

/// Describes a model.
///
/// Status: PHISHCNN_NOT_LOADED, PHISHCNN_NULL_POINTER, PHISHCNN_MISALIGNED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_info(
    model: *const phishcnn_model,
    info: *mut phishcnn_info,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        let loaded = unsafe { memory::loaded(model)? };
        let model = &loaded.model;
        let (thresholds, calibration) = (model.thresholds(), model.calibration());
        let described = phishcnn_info {
            name: model.name().into(),
            version: model.version().into(),
            input: model.metadata().get("phishcnn.input").unwrap_or_default().into(),
            layers: model.layers().into(),
            backend: model.backend().as_str().into(),
            file_size: loaded.file.len(),
            parameters: model.parameters(),
            scratch_size: model.scratch_len(),
            max_segments: model.max_segments(),
            phishing_threshold: thresholds.phishing,
            suspicious_threshold: thresholds.suspicious,
            calibration_a: calibration.a,
            calibration_b: calibration.b,
        };
        // SAFETY: the caller's promises, passed on.
        unsafe { memory::write(info, described) }
    })
}

/// The value of a metadata key of the model's file, such as `phishcnn.trained_until`. It lies in
/// the file.
///
/// key: NUL-terminated. value: on error, the empty text.
///
/// Status: PHISHCNN_METADATA_MISSING, PHISHCNN_NOT_LOADED, PHISHCNN_NULL_POINTER,
/// PHISHCNN_MISALIGNED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_metadata(
    model: *const phishcnn_model,
    key: *const c_char,
    value: *mut phishcnn_str,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            memory::write(value, "".into())?;
            let loaded = memory::loaded(model)?;
            memory::checked(key)?;
            let key = core::ffi::CStr::from_ptr(key).to_bytes();
            let found = loaded.model.metadata().iter().find(|(k, _)| k.as_bytes() == key);
            let (_, text) = found.ok_or(Error::MetadataMissing)?;
            memory::write(value, text.into())
        }
    })
}

/// The model's identity, the SHA-256 of its file, as 64 hexadecimal digits and a NUL. Reads the
/// whole file.
///
/// size: bytes at hex, at least PHISHCNN_SHA256_SIZE. Nothing is written on error.
///
/// Status: PHISHCNN_OUTPUT_TOO_SMALL, PHISHCNN_NOT_LOADED, PHISHCNN_NULL_POINTER,
/// PHISHCNN_MISALIGNED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_model_sha256(
    model: *const phishcnn_model,
    hex: *mut c_char,
    size: usize,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        let loaded = unsafe { memory::loaded(model)? };
        memory::checked(hex)?;
        if size < PHISHCNN_SHA256_SIZE {
            return Err(Error::OutputTooSmall);
        }
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' - 10 + value };
        let mut text = [0_u8; PHISHCNN_SHA256_SIZE - 1];
        for (byte, pair) in Sha256::digest(loaded.file).iter().zip(text.as_chunks_mut().0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        let text = core::str::from_utf8(&text).map_err(|_| Error::Internal)?;
        // SAFETY: the caller's promises, passed on.
        unsafe { copy_text(text, hex, size) };
        Ok(())
    })
}

/// The verdict of a logit under the model's thresholds, for a logit that was stored.
///
/// Status: PHISHCNN_BAD_VALUE (logit is NaN), PHISHCNN_NOT_LOADED, PHISHCNN_NULL_POINTER,
/// PHISHCNN_MISALIGNED. On error the verdict is PHISHCNN_UNKNOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_judge(
    model: *const phishcnn_model,
    logit: f32,
    verdict: *mut phishcnn_verdict,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            memory::write(verdict, crate::UNKNOWN)?;
            let model = &memory::loaded(model)?.model;
            if logit.is_nan() {
                return Err(Error::BadValue);
            }
            memory::write(verdict, model.verdict(logit) as phishcnn_verdict)
        }
    })
}

/// The probability of phishing in [0, 1] of a logit, where the share base_rate of all URLs is
/// phishing.
///
/// base_rate: between 0 and 1, both excluded; 0.5 is what phishcnn_score answers for.
///
/// Status: PHISHCNN_BAD_VALUE (base_rate outside, or logit is NaN), PHISHCNN_NOT_LOADED,
/// PHISHCNN_NULL_POINTER, PHISHCNN_MISALIGNED. On error the probability is NaN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn phishcnn_probability(
    model: *const phishcnn_model,
    logit: f32,
    base_rate: f32,
    probability: *mut f32,
) -> phishcnn_status {
    boundary(|| {
        // SAFETY: the caller's promises, passed on.
        unsafe {
            memory::write(probability, f32::NAN)?;
            let model = &memory::loaded(model)?.model;
            if logit.is_nan() || !(base_rate > 0.0 && base_rate < 1.0) {
                return Err(Error::BadValue);
            }
            memory::write(probability, model.probability(logit, base_rate))
        }
    })
}
