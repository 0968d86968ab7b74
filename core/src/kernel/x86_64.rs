//! Kernels for x86-64, and which of them the processor has.

use super::float::{self, Product};
use super::int8::{self, BLOCK, Convolve, Group, Sums, Tile};
use super::{Backend, Kernels};
use core::arch::x86_64::*;

/// Whether processor and operating system have what a backend needs. (The standard library's
/// macro for this is not in `core`.)
pub(super) fn has(backend: Backend) -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const SSE41: u32 = 1 << 19;
    const AVX2: u32 = 1 << 5;
    const AVX512: u32 = (1 << 16) | (1 << 30) | (1 << 31); // F, BW, VL
    const VNNI: u32 = 1 << 11;
    // What the operating system saves: xmm and ymm; with AVX-512 also masks and zmm.
    const YMM: u64 = 0b110;
    const ZMM: u64 = 0b1110_0110;
    let (highest, one) = (__cpuid(0).eax, __cpuid(1));
    let seven = match highest {
        ..7 => return backend == Backend::Sse41 && one.ecx & SSE41 != 0,
        _ => __cpuid_count(7, 0),
    };
    let saved = match one.ecx & OSXSAVE {
        0 => 0,
        // SAFETY: the operating system has enabled `xgetbv`, says OSXSAVE.
        _ => unsafe { saved_registers() },
    };
    match backend {
        Backend::Portable => true,
        Backend::Sse41 => one.ecx & SSE41 != 0,
        Backend::Avx2 => saved & YMM == YMM && seven.ebx & AVX2 != 0,
        Backend::Avx512Vnni => {
            saved & ZMM == ZMM
                && seven.ebx & AVX2 != 0
                && seven.ebx & AVX512 == AVX512
                && seven.ecx & VNNI != 0
        }
    }
}

#[target_feature(enable = "xsave")]
fn saved_registers() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

pub(super) fn multiply_add(kernels: Kernels, product: Product<'_>, y: &mut [f32]) -> Option<()> {
    // SAFETY: `Kernels` exist only for what the machine has.
    unsafe {
        match kernels.backend() {
            Backend::Avx512Vnni => multiply_add_avx512(product, y),
            Backend::Avx2 => multiply_add_avx2(product, y),
            _ => float::multiply_add::<8>(product, y),
        }
    }
}

#[target_feature(enable = "avx2")]
fn multiply_add_avx2(product: Product<'_>, y: &mut [f32]) -> Option<()> {
    float::multiply_add::<16>(product, y)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn multiply_add_avx512(product: Product<'_>, y: &mut [f32]) -> Option<()> {
    float::multiply_add::<48>(product, y)
}

pub(super) fn convolve(kernels: Kernels, job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    // SAFETY: `Kernels` exist only for what the machine has.
    unsafe {
        match kernels.backend() {
            Backend::Avx512Vnni => convolve_avx512(job, y),
            Backend::Avx2 => convolve_avx2(job, y),
            _ => convolve_sse41(job, y),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn convolve_avx512(job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    int8::convolve(Avx512Vnni, job, y)
}

#[target_feature(enable = "avx2")]
fn convolve_avx2(job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    int8::convolve(Avx2, job, y)
}

#[target_feature(enable = "sse4.1")]
fn convolve_sse41(job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    int8::convolve(Sse41, job, y)
}

pub(super) fn dot(_: Kernels, x: &[i16], w: &[u8]) -> i32 {
    // SAFETY: `Kernels::dot` calls this for AVX2 and above only.
    unsafe { dot_avx2(x, w) }
}

#[target_feature(enable = "avx2")]
fn dot_avx2(x: &[i16], w: &[u8]) -> i32 {
    int8::dot(x, w)
}

/// Groups that all slices have.
#[inline(always)]
fn shortest<const R: usize, const B: usize>(x: &[&[[u8; 4]]; R], w: &[&[Group]; B]) -> usize {
    let x = x.iter().map(|x| x.len()).fold(usize::MAX, usize::min);
    w.iter().map(|w| w.len()).fold(x, usize::min)
}

/// Only used inside functions that enable its instructions.
#[derive(Clone, Copy)]
struct Avx512Vnni;

impl Tile for Avx512Vnni {
    const ROWS: usize = 4;
    const BLOCKS: usize = 4;

    #[inline(always)]
    fn multiply_add<const R: usize, const B: usize>(
        self,
        x: [&[[u8; 4]]; R],
        w: [&[Group]; B],
        sums: &mut [[Sums; B]; R],
    ) {
        let groups = shortest(&x, &w);
        // SAFETY: the caller enables the instructions. Loads and stores are of one `Group`,
        // `[u8; 4]` or `Sums`, at indices below every slice's length.
        unsafe {
            let mut total = [[_mm512_setzero_si512(); B]; R];
            for (total, sums) in total.iter_mut().zip(&*sums) {
                for (total, sums) in total.iter_mut().zip(sums) {
                    *total = _mm512_loadu_si512(sums.as_ptr().cast());
                }
            }
            for group in 0..groups {
                let w = w.map(|w| _mm512_loadu_si512(w.get_unchecked(group).as_ptr().cast()));
                for (total, x) in total.iter_mut().zip(x) {
                    let x = _mm512_set1_epi32(i32::from_le_bytes(*x.get_unchecked(group)));
                    for (total, w) in total.iter_mut().zip(w) {
                        *total = _mm512_dpbusd_epi32(*total, x, w);
                    }
                }
            }
            for (total, sums) in total.iter().zip(sums) {
                for (total, sums) in total.iter().zip(sums) {
                    _mm512_storeu_si512(sums.as_mut_ptr().cast(), *total);
                }
            }
        }
    }

    #[inline(always)]
    fn requantise(self, [a, b]: [&Sums; 2], multiplier: &Sums, zero: i32, low: i32) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        // SAFETY: the caller enables the instructions; `Sums` are 64 bytes, `out` is 16.
        unsafe {
            let (a, b) =
                (_mm512_loadu_si512(a.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().cast()));
            let sums = _mm512_max_epi32(a, b);
            let multiplier = _mm512_loadu_si512(multiplier.as_ptr().cast());
            let half = _mm512_set1_epi64(1 << 31);
            // 64-bit products of the even and of the odd columns; their upper halves.
            let even = _mm512_add_epi64(_mm512_mul_epi32(sums, multiplier), half);
            let (sums, multiplier) =
                (_mm512_srli_epi64::<32>(sums), _mm512_srli_epi64::<32>(multiplier));
            let odd = _mm512_add_epi64(_mm512_mul_epi32(sums, multiplier), half);
            let value = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64::<32>(even), odd);
            let value = _mm512_add_epi32(value, _mm512_set1_epi32(zero));
            let value = _mm512_max_epi32(value, _mm512_set1_epi32(low));
            let value = _mm512_min_epi32(value, _mm512_set1_epi32(127));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(value));
        }
        out
    }
}

/// Only used inside functions that enable its instructions.
#[derive(Clone, Copy)]
struct Avx2;

impl Tile for Avx2 {
    const ROWS: usize = 4;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn multiply_add<const R: usize, const B: usize>(
        self,
        x: [&[[u8; 4]]; R],
        w: [&[Group]; B],
        sums: &mut [[Sums; B]; R],
    ) {
        const VECTORS: usize = BLOCK / 8;
        let groups = shortest(&x, &w);
        // SAFETY: the caller enables the instructions. Loads and stores are of parts of one
        // `Group`, `[u8; 4]` or `Sums`, at indices below every slice's length.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut total = [[[_mm256_setzero_si256(); VECTORS]; B]; R];
            for (total, sums) in total.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                for (v, total) in total.iter_mut().enumerate() {
                    *total = _mm256_loadu_si256(sums.as_ptr().add(8 * v).cast());
                }
            }
            for group in 0..groups {
                for (b, w) in w.iter().enumerate() {
                    let w = w.get_unchecked(group).as_ptr();
                    let w: [__m256i; VECTORS] =
                        core::array::from_fn(|v| _mm256_loadu_si256(w.add(32 * v).cast()));
                    for (total, x) in total.iter_mut().zip(x) {
                        let x = _mm256_set1_epi32(i32::from_le_bytes(*x.get_unchecked(group)));
                        for (total, w) in total.get_unchecked_mut(b).iter_mut().zip(w) {
                            // Seven bits times eight: a pair of products fits 16.
                            let pairs = _mm256_maddubs_epi16(x, w);
                            *total = _mm256_add_epi32(*total, _mm256_madd_epi16(pairs, ones));
                        }
                    }
                }
            }
            for (total, sums) in total.as_flattened().iter().zip(sums.as_flattened_mut()) {
                for (v, total) in total.iter().enumerate() {
                    _mm256_storeu_si256(sums.as_mut_ptr().add(8 * v).cast(), *total);
                }
            }
        }
    }

    #[inline(always)]
    fn requantise(self, [a, b]: [&Sums; 2], multiplier: &Sums, zero: i32, low: i32) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        // SAFETY: the caller enables the instructions; `Sums` are 64 bytes, `out` is 16.
        unsafe {
            let (a, b, m) = (a.as_ptr(), b.as_ptr(), multiplier.as_ptr());
            let first = requantise_avx2([a, b, m], zero);
            let second = requantise_avx2([a.add(8), b.add(8), m.add(8)], zero);
            // Packing saturates, to 16 bits and then to 0..=255.
            let value = _mm256_packs_epi32(first, second);
            let value = _mm256_permute4x64_epi64::<0b11_01_10_00>(value);
            let (bottom, top) =
                (_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value));
            let value = _mm_min_epu8(_mm_packus_epi16(bottom, top), _mm_set1_epi8(127));
            let value = _mm_max_epu8(value, _mm_set1_epi8(low as i8));
            _mm_storeu_si128(out.as_mut_ptr().cast(), value);
        }
        out
    }
}

/// Only used inside functions that enable its instructions.
#[derive(Clone, Copy)]
struct Sse41;

impl Tile for Sse41 {
    const ROWS: usize = 2;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn multiply_add<const R: usize, const B: usize>(
        self,
        x: [&[[u8; 4]]; R],
        w: [&[Group]; B],
        sums: &mut [[Sums; B]; R],
    ) {
        const VECTORS: usize = BLOCK / 4;
        let groups = shortest(&x, &w);
        // SAFETY: as above.
        unsafe {
            let ones = _mm_set1_epi16(1);
            let mut total = [[[_mm_setzero_si128(); VECTORS]; B]; R];
            for (total, sums) in total.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                for (v, total) in total.iter_mut().enumerate() {
                    *total = _mm_loadu_si128(sums.as_ptr().add(4 * v).cast());
                }
            }
            for group in 0..groups {
                for (b, w) in w.iter().enumerate() {
                    let w = w.get_unchecked(group).as_ptr();
                    let w: [__m128i; VECTORS] =
                        core::array::from_fn(|v| _mm_loadu_si128(w.add(16 * v).cast()));
                    for (total, x) in total.iter_mut().zip(x) {
                        let x = _mm_set1_epi32(i32::from_le_bytes(*x.get_unchecked(group)));
                        for (total, w) in total.get_unchecked_mut(b).iter_mut().zip(w) {
                            let pairs = _mm_maddubs_epi16(x, w);
                            *total = _mm_add_epi32(*total, _mm_madd_epi16(pairs, ones));
                        }
                    }
                }
            }
            for (total, sums) in total.as_flattened().iter().zip(sums.as_flattened_mut()) {
                for (v, total) in total.iter().enumerate() {
                    _mm_storeu_si128(sums.as_mut_ptr().add(4 * v).cast(), *total);
                }
            }
        }
    }

    #[inline(always)]
    fn requantise(self, [a, b]: [&Sums; 2], multiplier: &Sums, zero: i32, low: i32) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        // SAFETY: the caller enables the instructions; `Sums` are 64 bytes, `out` is 16.
        unsafe {
            let (a, b, m) = (a.as_ptr(), b.as_ptr(), multiplier.as_ptr());
            let first = requantise_sse41([a, b, m], zero);
            let second = requantise_sse41([a.add(4), b.add(4), m.add(4)], zero);
            let third = requantise_sse41([a.add(8), b.add(8), m.add(8)], zero);
            let fourth = requantise_sse41([a.add(12), b.add(12), m.add(12)], zero);
            let (first, third) = (_mm_packs_epi32(first, second), _mm_packs_epi32(third, fourth));
            let value = _mm_min_epu8(_mm_packus_epi16(first, third), _mm_set1_epi8(127));
            let value = _mm_max_epu8(value, _mm_set1_epi8(low as i8));
            _mm_storeu_si128(out.as_mut_ptr().cast(), value);
        }
        out
    }
}

/// Eight columns: the upper halves of the 64-bit products, of even and of odd columns.
///
/// # Safety
/// AVX2; the pointers are good for eight values.
#[inline(always)]
unsafe fn requantise_avx2([a, b, multiplier]: [*const i32; 3], zero: i32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let half = _mm256_set1_epi64x(1 << 31);
        let sums = _mm256_max_epi32(_mm256_loadu_si256(a.cast()), _mm256_loadu_si256(b.cast()));
        let multiplier = _mm256_loadu_si256(multiplier.cast());
        let even = _mm256_add_epi64(_mm256_mul_epi32(sums, multiplier), half);
        let sums = _mm256_srli_epi64::<32>(sums);
        let multiplier = _mm256_srli_epi64::<32>(multiplier);
        let odd = _mm256_add_epi64(_mm256_mul_epi32(sums, multiplier), half);
        let value = _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(even), odd);
        _mm256_add_epi32(value, _mm256_set1_epi32(zero))
    }
}

/// Four columns, as above.
///
/// # Safety
/// SSE4.1; the pointers are good for four values.
#[inline(always)]
unsafe fn requantise_sse41([a, b, multiplier]: [*const i32; 3], zero: i32) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let half = _mm_set1_epi64x(1 << 31);
        let sums = _mm_max_epi32(_mm_loadu_si128(a.cast()), _mm_loadu_si128(b.cast()));
        let multiplier = _mm_loadu_si128(multiplier.cast());
        let even = _mm_add_epi64(_mm_mul_epi32(sums, multiplier), half);
        let sums = _mm_srli_epi64::<32>(sums);
        let multiplier = _mm_srli_epi64::<32>(multiplier);
        let odd = _mm_add_epi64(_mm_mul_epi32(sums, multiplier), half);
        let value = _mm_blend_epi16::<0b1100_1100>(_mm_srli_epi64::<32>(even), odd);
        _mm_add_epi32(value, _mm_set1_epi32(zero))
    }
}
