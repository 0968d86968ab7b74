//! The structures that C and Rust share, and the checks of the pointers to them.

use core::ffi::{c_char, c_void};
use core::mem::{align_of, size_of};
use core::{ptr, slice};
use phishcnn_core::{Error, MAX_URL_LEN, Model, Segment};

/// PHISHCNN_OK, or the number of an error. What a number means: phishcnn_status_text.
pub type phishcnn_status = i32;

/// PHISHCNN_BENIGN, PHISHCNN_SUSPICIOUS or PHISHCNN_PHISHING; PHISHCNN_UNKNOWN where there is no
/// score.
pub type phishcnn_verdict = i32;

/// Words of a phishcnn_model, each as wide as a pointer.
pub const PHISHCNN_MODEL_WORDS: usize = 512;

/// Memory for one loaded model: 4 KiB with 64-bit pointers, 2 KiB with 32-bit ones. The file's
/// weights are not in it: they are used where they lie. The content is private.
///
/// Do not copy it by value; it is fine to allocate it anywhere (static, stack, heap). A zeroed one
/// is safely refused (PHISHCNN_NOT_LOADED); one that was neither zeroed nor loaded must not be
/// used.
#[repr(C)]
pub struct phishcnn_model {
    /// Private.
    pub private_: [usize; PHISHCNN_MODEL_WORDS],
}

/// Bytes that somebody else owns: a URL on the way in, a text on the way out. Not terminated by
/// NUL; texts are UTF-8. Print one with `printf("%.*s", (int)s.size, s.data)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct phishcnn_str {
    /// First byte; may be NULL when size is 0.
    pub data: *const c_char,
    /// Number of bytes.
    pub size: usize,
}

impl From<&str> for phishcnn_str {
    fn from(text: &str) -> Self {
        Self { data: text.as_ptr().cast(), size: text.len() }
    }
}

/// The score of one URL.
///
/// Where status is not PHISHCNN_OK there is no score: logit and probability are NaN, the verdict
/// is PHISHCNN_UNKNOWN and truncated is false.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct phishcnn_result {
    /// PHISHCNN_OK, or why there is no score.
    pub status: phishcnn_status,
    /// The logit against the model's thresholds.
    pub verdict: phishcnn_verdict,
    /// The network's output, always finite. Higher is more like phishing.
    pub logit: f32,
    /// Calibrated probability of phishing in [0, 1], where half of all URLs are phishing. Another
    /// share: phishcnn_probability. Decide by the verdict, not by this.
    pub probability: f32,
    /// The URL was longer than the model reads; the rest had no influence.
    pub truncated: bool,
}

/// A piece of a URL and what it contributes: user-info, a host label, a port, a path segment, a
/// query parameter or a fragment, with the delimiter that opens it.
#[repr(C)]
pub struct phishcnn_segment {
    /// Offset of the first byte in the URL as given.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
    /// The part of the URL that it belongs to: PHISHCNN_PART_*.
    pub part: u8,
    /// The logit minus the logit with this segment hidden. Positive pushes towards phishing.
    /// Contributions do not sum to the logit.
    pub contribution: f32,
}

// The core writes segments straight into the caller's array.
const _: () = {
    assert!(size_of::<phishcnn_segment>() == size_of::<Segment>());
    assert!(align_of::<phishcnn_segment>() == align_of::<Segment>());
    assert!(
        core::mem::offset_of!(phishcnn_segment, start) == core::mem::offset_of!(Segment, start)
    );
    assert!(core::mem::offset_of!(phishcnn_segment, end) == core::mem::offset_of!(Segment, end));
    assert!(core::mem::offset_of!(phishcnn_segment, part) == core::mem::offset_of!(Segment, part));
    assert!(
        core::mem::offset_of!(phishcnn_segment, contribution)
            == core::mem::offset_of!(Segment, contribution)
    );
};

/// What a phishcnn_model holds once it is loaded.
#[repr(C)]
pub(crate) struct Loaded {
    /// [`LOADED`], while a model is there.
    mark: usize,
    pub(crate) model: Model<'static>,
    pub(crate) file: &'static [u8],
    #[cfg(not(target_os = "none"))]
    pub(crate) map: Option<memmap2::Mmap>,
}

const _: () = {
    assert!(size_of::<Loaded>() <= size_of::<phishcnn_model>(), "raise PHISHCNN_MODEL_WORDS");
    assert!(align_of::<Loaded>() <= align_of::<phishcnn_model>());
};

/// Neither zeros nor a likely pattern of used memory.
const LOADED: usize = 0x9e37_79b1;

/// A pointer that may be written through: not NULL, aligned.
pub(crate) fn checked<T>(pointer: *const T) -> Result<(), Error> {
    if pointer.is_null() {
        Err(Error::NullPointer)
    } else if pointer.is_aligned() {
        Ok(())
    } else {
        Err(Error::Misaligned)
    }
}

/// Writes through a pointer of the caller.
///
/// # Safety
/// When neither NULL nor misaligned, the pointer is good for writing one `T`.
pub(crate) unsafe fn write<T>(pointer: *mut T, value: T) -> Result<(), Error> {
    checked(pointer)?;
    // SAFETY: checked; the rest is the caller's promise.
    unsafe { pointer.write(value) };
    Ok(())
}

/// The model that the caller's memory holds.
///
/// # Safety
/// When neither NULL nor misaligned, the memory is initialised, and stays as it is for `'m`.
pub(crate) unsafe fn loaded<'m>(model: *const phishcnn_model) -> Result<&'m Loaded, Error> {
    checked(model)?;
    // SAFETY: aligned, initialised words by the caller's promise; `mark` is the first.
    if unsafe { model.cast::<usize>().read() } != LOADED {
        return Err(Error::NotLoaded);
    }
    // SAFETY: only `store` sets the mark, with a whole `Loaded`, whose size and alignment fit.
    Ok(unsafe { &*model.cast() })
}

/// Puts a model into the caller's memory.
///
/// # Safety
/// The pointer is [`checked`] and good for writing one `phishcnn_model`; `file` outlives its use.
pub(crate) unsafe fn store(
    memory: *mut phishcnn_model,
    model: Model<'static>,
    file: &'static [u8],
    #[cfg(not(target_os = "none"))] map: Option<memmap2::Mmap>,
) {
    let loaded = Loaded {
        mark: LOADED,
        model,
        file,
        #[cfg(not(target_os = "none"))]
        map,
    };
    // SAFETY: the size and alignment fit (checked when compiled); the rest is the caller's promise.
    unsafe { memory.cast::<Loaded>().write(loaded) };
}

/// Takes the model out of the caller's memory, which then holds none.
///
/// # Safety
/// As [`loaded`], and nobody else uses the model.
pub(crate) unsafe fn take(memory: *mut phishcnn_model) -> Result<Loaded, Error> {
    // SAFETY: the caller's promise.
    unsafe { loaded(memory)? };
    // SAFETY: there is one, and it is read once only, since the mark goes away.
    let taken = unsafe { memory.cast::<Loaded>().read() };
    // SAFETY: checked by `loaded`.
    unsafe { forget(memory) };
    Ok(taken)
}

/// Marks the caller's memory as holding no model.
///
/// # Safety
/// The pointer is [`checked`] and good for writing one `phishcnn_model`.
pub(crate) unsafe fn forget(memory: *mut phishcnn_model) {
    // SAFETY: the caller's promise; `mark` is the first word.
    unsafe { memory.cast::<usize>().write(0) };
}

/// The bytes of a URL. Longer than any address space is longer than 65,536 bytes.
///
/// # Safety
/// `data` is good for reading `len` bytes, when it is not NULL.
pub(crate) unsafe fn url<'u>(data: *const c_char, len: usize) -> Result<&'u [u8], Error> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Error::NullPointer);
    }
    if len > MAX_URL_LEN {
        return Err(Error::UrlTooLong);
    }
    // SAFETY: not NULL, not too long; the rest is the caller's promise.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// The bytes of a model file.
///
/// # Safety
/// `data` is good for reading `len` bytes as long as the model is used, when it is not NULL.
pub(crate) unsafe fn file(data: *const c_void, len: usize) -> Result<&'static [u8], Error> {
    if data.is_null() {
        return Err(Error::NullPointer);
    }
    // What no object can be as long as is not a file.
    if isize::try_from(len).is_err() {
        return Err(Error::NotSafetensors);
    }
    // SAFETY: not NULL, not too long; the rest is the caller's promise.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// As much of the scratch memory as the model needs. (The core checks its alignment.)
///
/// # Safety
/// `data` is good for writing `size` bytes that nobody else uses meanwhile, when it is not NULL.
pub(crate) unsafe fn scratch<'s>(
    model: &Model<'_>,
    data: *mut c_void,
    size: usize,
) -> Result<&'s mut [u8], Error> {
    if data.is_null() {
        return Err(Error::NullPointer);
    }
    if size < model.scratch_len() {
        return Err(Error::ScratchTooSmall);
    }
    // SAFETY: not NULL, no longer than the caller's memory.
    Ok(unsafe { slice::from_raw_parts_mut(data.cast(), model.scratch_len()) })
}

/// As much of the caller's array of segments as the model can fill, made valid for the core.
///
/// # Safety
/// `data` is good for writing `capacity` segments, when it is neither NULL nor misaligned.
pub(crate) unsafe fn segments<'s>(
    model: &Model<'_>,
    data: *mut phishcnn_segment,
    capacity: usize,
) -> Result<&'s mut [Segment], Error> {
    if capacity == 0 {
        return Ok(&mut []);
    }
    checked(data)?;
    let capacity = capacity.min(model.max_segments());
    let data = data.cast::<Segment>();
    for i in 0..capacity {
        // SAFETY: inside the caller's array; the layouts are equal (checked when compiled).
        unsafe { data.add(i).write(Segment::default()) };
    }
    // SAFETY: all elements are initialised.
    Ok(unsafe { slice::from_raw_parts_mut(data, capacity) })
}

/// Copies a text into the caller's buffer, with a NUL behind it; what does not fit is cut between
/// characters. Nothing happens without a buffer.
///
/// # Safety
/// `buffer` is good for writing `size` bytes, when it is not NULL.
pub(crate) unsafe fn copy_text(text: &str, buffer: *mut c_char, size: usize) {
    if buffer.is_null() || size == 0 {
        return;
    }
    let mut len = text.len().min(size - 1);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: len < size, and the memory is the caller's own.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), len);
        buffer.add(len).write(0);
    }
}
