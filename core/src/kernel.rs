//! The arithmetic that layers are made of, and the instruction sets that it is written for.
//!
//! Each kernel is written once, over a small piece that differs ([`float::Width`], [`tile::Tile`]),
//! and compiled again for each instruction set in the file named after the processor. Beside them
//! stands the portable one, but not where flash is too dear for two (`arm.rs`).

#[allow(unsafe_code)]
mod float;
#[cfg(all(test, unix))]
#[allow(unsafe_code, clippy::unwrap_used)]
mod guarded;
mod int8;
mod tanh;
#[allow(unsafe_code)]
mod tile;
// What the processor brings beyond plain Rust; `native.rs` where that is nothing.
#[cfg_attr(
    all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"),
    path = "kernel/aarch64.rs"
)]
#[cfg_attr(all(target_arch = "wasm32", target_feature = "simd128"), path = "kernel/wasm32.rs")]
#[cfg_attr(all(target_arch = "x86_64", not(target_os = "none")), path = "kernel/x86_64.rs")]
#[cfg_attr(dsp, path = "kernel/arm.rs")]
#[allow(unsafe_code)]
mod native;

pub(crate) use float::{Product, Weights, weight, weights};
pub(crate) use int8::{Convolve, MAX, Residual, integer, requantise};
pub(crate) use tanh::tanh;

/// Which kernels a model runs on: chosen once, when it is loaded, from what the processor has.
/// For int8 models all give the same bits; for f32 models so do those that fuse multiply-adds (AVX2,
/// AVX-512, NEON), and those that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Plain Rust; every target has it but those that are compiled for `Dsp`.
    Portable,
    /// x86-64 with SSE4.1.
    Sse41,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, VL) and its neural-network instructions (VNNI).
    Avx512Vnni,
    /// aarch64, with the NEON that every one has.
    Neon,
    /// aarch64 with the product of four bytes (`sdot`).
    NeonDotprod,
    /// Cortex-M with the DSP extension (M4, M7): targets `thumbv7em`.
    Dsp,
    /// WebAssembly, compiled with its SIMD (`simd128`).
    Simd128,
}

impl Backend {
    /// All; of one processor, the slowest first.
    pub const ALL: [Self; 8] = [
        Self::Portable,
        Self::Sse41,
        Self::Avx2,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDotprod,
        Self::Dsp,
        Self::Simd128,
    ];

    /// Its name, as `model info` prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Sse41 => "sse4.1",
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::Dsp => "dsp",
            Self::Simd128 => "simd128",
        }
    }

    /// Whether this machine can run it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => cfg!(not(dsp)),
            _ => native::available().contains(&self),
        }
    }

    /// The fastest that this machine can run.
    #[must_use]
    pub fn detect() -> Self {
        native::available().last().copied().unwrap_or(Self::Portable)
    }
}

/// The kernels that a model runs on. There is none whose instructions the machine lacks: that
/// is what makes calling them sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels(Backend);

impl Kernels {
    /// `None` when the machine cannot run them.
    pub(crate) fn new(backend: Backend) -> Option<Self> {
        backend.is_available().then_some(Self(backend))
    }

    pub(crate) fn detect() -> Self {
        Self(Backend::detect())
    }

    pub(crate) const fn backend(self) -> Backend {
        self.0
    }

    /// `y[r, c] = activation(bias[c] + Σ_t Σ_i x[r, t, i] · w[t, i, c])` for all rows, added in
    /// the order of t and i; `y` is `[rows, columns]` row-major. `None` when a slice is too short, a defect
    /// of the caller.
    pub(crate) fn multiply_add(self, product: &Product<'_>, y: &mut [f32]) -> Option<()> {
        match self.0 {
            Backend::Portable if cfg!(not(dsp)) => float::multiply_add(float::Narrow, product, y),
            _ => native::multiply_add(self, product, y),
        }
    }

    /// A convolution of an int8 model. `None` as above.
    pub(crate) fn convolve(self, job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
        match self.0 {
            Backend::Portable if cfg!(not(dsp)) => int8::convolve(tile::Portable, job, y),
            _ => native::convolve(self, job, y),
        }
    }

    /// Σ x · w of 16-bit activations and up to four rows of int8 weights, wrapping. (There is
    /// no fifth; what is missing is 0.)
    pub(crate) fn dots(self, x: &[i16], w: &[u8]) -> [i32; 4] {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
            Backend::Avx2 | Backend::Avx512Vnni => native::dots(self, x, w),
            _ => int8::dots(x, w),
        }
    }

    /// Replaces each value by its table's entry, not below zero.
    pub(crate) fn look_up(self, table: &[u8; 256], values: &mut [u8]) {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
            Backend::Avx512Vnni => native::look_up(self, table, values),
            _ => int8::look_up(table, values),
        }
    }

    /// Takes rows into the maxima and the sums of their columns.
    pub(crate) fn pool(self, rows: &[u8], maxima: &mut [u8], sums: &mut [u32]) {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
            Backend::Avx2 | Backend::Avx512Vnni => native::pool(self, rows, maxima, sums),
            _ => int8::pool(rows, maxima, sums),
        }
    }
}
