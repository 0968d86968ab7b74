//! Kernels for x86-64, and which of them the processor has.

use super::float::{self, Product, Width};
use super::int8::{self, Convolve};
use super::tile::{BLOCK, Column, Group, Lanes, Sums, Tile};
use super::{Backend, Kernels};
use core::arch::x86_64::*;

/// What processor and operating system have, the slowest first. (The standard library's macro for
/// this is not in `core`; virtual machines trap each `cpuid`, so none is asked twice.)
pub(super) fn available() -> &'static [Backend] {
    const OSXSAVE: u32 = 1 << 27;
    const SSE41: u32 = 1 << 19;
    const POPCNT: u32 = 1 << 23;
    const FMA: u32 = 1 << 12;
    const AVX2: u32 = 1 << 5;
    const AVX512: u32 = (1 << 16) | (1 << 30) | (1 << 31); // F, BW, VL
    const VNNI: u32 = 1 << 11;
    // What the operating system saves: xmm and ymm; with AVX-512 also masks and zmm.
    const YMM: u64 = 0b110;
    const ZMM: u64 = 0b1110_0110;
    let one = __cpuid(1).ecx;
    if one & SSE41 == 0 {
        return &[];
    }
    if one & OSXSAVE == 0 || one & FMA == 0 || __cpuid(0).eax < 7 {
        return &[Backend::Sse41];
    }
    // SAFETY: the operating system has enabled `xgetbv`, says OSXSAVE.
    let saved = unsafe { saved_registers() };
    let seven = __cpuid_count(7, 0);
    if saved & YMM != YMM || seven.ebx & AVX2 == 0 {
        return &[Backend::Sse41];
    }
    if saved & ZMM != ZMM
        || one & POPCNT == 0
        || seven.ebx & AVX512 != AVX512
        || seven.ecx & VNNI == 0
    {
        return &[Backend::Sse41, Backend::Avx2];
    }
    &[Backend::Sse41, Backend::Avx2, Backend::Avx512Vnni]
}

#[target_feature(enable = "xsave")]
fn saved_registers() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

pub(super) fn multiply_add(kernels: Kernels, product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    // SAFETY: `Kernels` exist only for what the machine has.
    unsafe {
        match kernels.backend() {
            Backend::Avx512Vnni => multiply_add_avx512(product, y),
            Backend::Avx2 => multiply_add_avx2(product, y),
            _ => float::multiply_add(float::Narrow, product, y),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn multiply_add_avx2(product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    float::multiply_add(Avx2, product, y)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,popcnt")]
fn multiply_add_avx512(product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    float::multiply_add(Avx512Vnni, product, y)
}

impl Width for Avx2 {
    const ROWS: usize = 6;
    const WIDE: usize = 16;
    const WIDE_ROW: usize = 112;

    #[inline(always)]
    fn axpy<const C: usize>(self, sums: &mut [f32; C], x: f32, w: &[[u8; 4]; C]) {
        let (sums, rest) = sums.as_chunks_mut::<8>();
        let (w, rest_of_w) = w.as_chunks::<8>();
        for (sums, w) in sums.iter_mut().zip(w) {
            // SAFETY: the caller enables the instructions; eight are read and written.
            unsafe {
                let w = _mm256_loadu_ps(w.as_ptr().cast());
                let sum = _mm256_fmadd_ps(_mm256_set1_ps(x), w, _mm256_loadu_ps(sums.as_ptr()));
                _mm256_storeu_ps(sums.as_mut_ptr(), sum);
            }
        }
        for (sum, w) in rest.iter_mut().zip(rest_of_w) {
            *sum = fused(*sum, x, float::weight(w));
        }
    }
}

/// `sum + x · w`, rounded once. Only used inside functions that enable AVX2 and FMA.
#[inline(always)]
fn fused(sum: f32, x: f32, w: f32) -> f32 {
    // SAFETY: above.
    unsafe { _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(x), _mm_set_ss(w), _mm_set_ss(sum))) }
}

impl Width for Avx512Vnni {
    const ROWS: usize = 6;
    const WIDE: usize = 64;
    const WIDE_ROW: usize = 112;

    #[inline(always)]
    fn axpy<const C: usize>(self, sums: &mut [f32; C], x: f32, w: &[[u8; 4]; C]) {
        if C < 16 {
            return Avx2.axpy(sums, x, w);
        }
        const { assert!(C < 16 || C.is_multiple_of(16), "columns would be left out") };
        let (sums, w) = (sums.as_chunks_mut::<16>().0, w.as_chunks::<16>().0);
        for (sums, w) in sums.iter_mut().zip(w) {
            // SAFETY: the caller enables the instructions; 16 are read and written.
            unsafe {
                let w = _mm512_loadu_ps(w.as_ptr().cast());
                let sum = _mm512_fmadd_ps(_mm512_set1_ps(x), w, _mm512_loadu_ps(sums.as_ptr()));
                _mm512_storeu_ps(sums.as_mut_ptr(), sum);
            }
        }
    }

    #[inline(always)]
    fn list_nonzero(self, x: &[f32], first: u16, list: &mut [u16]) -> usize {
        list_nonzero_avx512(bytemuck::must_cast_slice(x), 0x7fff_ffff, first, list)
    }
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
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

pub(super) fn dots(_: Kernels, x: &[i16], w: &[u8]) -> [i32; 4] {
    // SAFETY: `Kernels::dots` calls this for AVX2 and above only.
    unsafe { dots_avx2(x, w) }
}

/// All four rows at once, so that the inputs are read once.
#[target_feature(enable = "avx2")]
fn dots_avx2(x: &[i16], w: &[u8]) -> [i32; 4] {
    let (chunks, rest) = x.as_chunks::<16>();
    if w.len() != 4 * x.len() || !rest.is_empty() {
        return int8::dots(x, w);
    }
    let mut sums = [_mm256_setzero_si256(); 4];
    for (i, x) in chunks.iter().enumerate() {
        // SAFETY: the last chunk of the last row ends where `w` does.
        unsafe {
            let x16 = _mm256_loadu_si256(x.as_ptr().cast());
            for (row, sum) in sums.iter_mut().enumerate() {
                let w = w.as_ptr().add(row * chunks.len() * 16 + i * 16);
                let w = _mm256_cvtepi8_epi16(_mm_loadu_si128(w.cast()));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x16, w));
            }
        }
    }
    let [a, b, c, d] = sums;
    let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let mut out = [0; 4];
    // SAFETY: four of 32 bits.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}

pub(super) fn pool(_: Kernels, rows: &[u8], maxima: &mut [u8], sums: &mut [u32]) {
    // SAFETY: `Kernels::pool` calls this for AVX2 and above only.
    unsafe { pool_avx2(rows, maxima, sums) }
}

#[target_feature(enable = "avx2")]
fn pool_avx2(rows: &[u8], maxima: &mut [u8], sums: &mut [u32]) {
    int8::pool(rows, maxima, sums);
}

pub(super) fn look_up(_: Kernels, table: &[u8; 256], values: &mut [u8]) {
    // SAFETY: `Kernels::look_up` calls this for AVX-512 only.
    unsafe { look_up_avx512(table, values) }
}

/// The table lies in four registers, as 128 pairs of entries; each value finds its pair by its
/// upper seven bits. (Permutations of bytes are an extension that not all have.)
#[target_feature(enable = "avx512f,avx512bw")]
fn look_up_avx512(table: &[u8; 256], values: &mut [u8]) {
    let zero = _mm512_setzero_si512();
    // SAFETY: four times 64 bytes are the table.
    let [a, b, c, d] = [0, 64, 128, 192].map(|from| unsafe {
        _mm512_max_epi8(_mm512_loadu_si512(table.as_ptr().add(from).cast()), zero)
    });
    let (chunks, rest) = values.as_chunks_mut::<32>();
    for chunk in chunks {
        // SAFETY: 32 bytes are read and written.
        unsafe {
            let value = _mm512_cvtepu8_epi16(_mm256_loadu_si256(chunk.as_ptr().cast()));
            let pair = _mm512_srli_epi16::<1>(value);
            let upper = _mm512_test_epi16_mask(value, _mm512_set1_epi16(128));
            let pair = _mm512_mask_blend_epi16(
                upper,
                _mm512_permutex2var_epi16(a, pair, b),
                _mm512_permutex2var_epi16(c, pair, d),
            );
            let odd = _mm512_and_si512(value, _mm512_set1_epi16(1));
            let entry = _mm512_srlv_epi16(pair, _mm512_slli_epi16::<3>(odd));
            _mm256_storeu_si256(chunk.as_mut_ptr().cast(), _mm512_cvtepi16_epi8(entry));
        }
    }
    int8::look_up(table, rest);
}

/// Only used inside functions that enable its instructions.
#[derive(Clone, Copy)]
struct Avx512Vnni;

// SAFETY, of all blocks: the caller enables the instructions; references and arrays are as long
// as the vectors read from and written to them.
impl Lanes for Avx512Vnni {
    type Sums = __m512i;

    #[inline(always)]
    fn sums(self, column: &Column) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_loadu_si512(column.as_ptr().cast()) }
    }

    #[inline(always)]
    fn max(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_max_epi32(a, b) }
    }

    #[inline(always)]
    fn add_residual(
        self,
        sums: __m512i,
        relu: bool,
        x: &[u8; BLOCK],
        factor: &Column,
        offset: &Column,
    ) -> __m512i {
        // SAFETY: above.
        unsafe {
            let x = _mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            let x = _mm512_mullo_epi32(x, self.sums(factor));
            let low = _mm512_set1_epi32(if relu { 0 } else { i32::MIN });
            let sums = _mm512_max_epi32(sums, low);
            _mm512_add_epi32(_mm512_add_epi32(sums, x), self.sums(offset))
        }
    }

    #[inline(always)]
    fn requantise(
        self,
        sums: __m512i,
        multiplier: &Column,
        zero: i32,
        low: u8,
        high: u8,
    ) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        // SAFETY: above.
        unsafe {
            let multiplier = self.sums(multiplier);
            let half = _mm512_set1_epi64(1 << 31);
            // 64-bit products of the even and of the odd columns; their upper halves.
            let even = _mm512_add_epi64(_mm512_mul_epi32(sums, multiplier), half);
            let (sums, multiplier) =
                (_mm512_srli_epi64::<32>(sums), _mm512_srli_epi64::<32>(multiplier));
            let odd = _mm512_add_epi64(_mm512_mul_epi32(sums, multiplier), half);
            let value = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64::<32>(even), odd);
            let value = _mm512_add_epi32(value, _mm512_set1_epi32(zero));
            let value = _mm512_max_epi32(value, _mm512_set1_epi32(low.into()));
            let value = _mm512_min_epi32(value, _mm512_set1_epi32(high.into()));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(value));
        }
        out
    }
}

impl Tile for Avx512Vnni {
    type Lanes = Self;
    const LANES: Self = Self;
    const ROWS: usize = 6;
    const BLOCKS: usize = 4;
    const BLOCKS_OF_ROW: usize = 7;
    const SPARSE: usize = 8;
    type Activations = __m512i;

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_set1_epi32(i32::from_le_bytes(*x)) }
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, x: __m512i, w: &Group) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_dpbusd_epi32(sums, x, _mm512_loadu_si512(w.as_ptr().cast())) }
    }

    #[inline(always)]
    fn list_nonzero(self, x: &[[u8; 4]], first: u16, list: &mut [u16]) -> usize {
        list_nonzero_avx512(x, -1, first, list)
    }
}

/// The indices, counted from `first`, of what is not zero in the bits of `mask`; how many.
/// Only used inside functions that enable AVX-512 F.
#[inline(always)]
fn list_nonzero_avx512(x: &[[u8; 4]], mask: i32, first: u16, list: &mut [u16]) -> usize {
    let mut count = 0;
    let mut first = i32::from(first);
    for x in x.chunks(16) {
        let there = (1_u32 << x.len()).wrapping_sub(1) as u16;
        // A vector's 16 are written, of which later ones overwrite what is too many.
        let Some(place) = list.get_mut(count..) else { return count };
        // SAFETY: the caller enables the instructions; masked lanes are not read, and 16 are
        // written.
        unsafe {
            let x = _mm512_maskz_loadu_epi32(there, x.as_ptr().cast());
            let found = _mm512_test_epi32_mask(x, _mm512_set1_epi32(mask));
            let indices = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let indices = _mm512_add_epi32(indices, _mm512_set1_epi32(first));
            let indices = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(found, indices));
            if let Some(place) = place.first_chunk_mut::<16>() {
                _mm256_storeu_si256(place.as_mut_ptr().cast(), indices);
            } else {
                let mut all = [0; 16];
                _mm256_storeu_si256(all.as_mut_ptr().cast(), indices);
                for (place, index) in place.iter_mut().zip(all) {
                    *place = index;
                }
            }
            count += found.count_ones() as usize;
        }
        first += 16;
    }
    count
}

/// Only used inside functions that enable its instructions.
#[derive(Clone, Copy)]
struct Avx2;

impl Lanes for Avx2 {
    type Sums = [__m256i; 2];

    #[inline(always)]
    fn sums(self, column: &Column) -> Self::Sums {
        let column = column.as_ptr();
        // SAFETY: as above.
        unsafe { [_mm256_loadu_si256(column.cast()), _mm256_loadu_si256(column.add(8).cast())] }
    }

    #[inline(always)]
    fn max(self, a: Self::Sums, b: Self::Sums) -> Self::Sums {
        // SAFETY: as above.
        unsafe { [_mm256_max_epi32(a[0], b[0]), _mm256_max_epi32(a[1], b[1])] }
    }

    #[inline(always)]
    fn add_residual(
        self,
        mut sums: Self::Sums,
        relu: bool,
        x: &[u8; BLOCK],
        factor: &Column,
        offset: &Column,
    ) -> Self::Sums {
        let columns = self.sums(factor).into_iter().zip(self.sums(offset));
        let low = if relu { 0 } else { i32::MIN };
        for ((sums, x), (factor, offset)) in sums.iter_mut().zip(x.as_chunks::<8>().0).zip(columns)
        {
            // SAFETY: as above.
            unsafe {
                let x = _mm256_cvtepu8_epi32(_mm_loadu_si64(x.as_ptr()));
                let larger = _mm256_max_epi32(*sums, _mm256_set1_epi32(low));
                let x = _mm256_add_epi32(_mm256_mullo_epi32(x, factor), offset);
                *sums = _mm256_add_epi32(larger, x);
            }
        }
        sums
    }

    #[inline(always)]
    fn requantise(
        self,
        mut sums: Self::Sums,
        multiplier: &Column,
        zero: i32,
        low: u8,
        high: u8,
    ) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        // SAFETY: as above.
        unsafe {
            for (value, multiplier) in sums.iter_mut().zip(self.sums(multiplier)) {
                let half = _mm256_set1_epi64x(1 << 31);
                // 64-bit products of the even and of the odd columns; their upper halves.
                let even = _mm256_add_epi64(_mm256_mul_epi32(*value, multiplier), half);
                let sums = _mm256_srli_epi64::<32>(*value);
                let multiplier = _mm256_srli_epi64::<32>(multiplier);
                let odd = _mm256_add_epi64(_mm256_mul_epi32(sums, multiplier), half);
                *value = _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(even), odd);
                *value = _mm256_add_epi32(*value, _mm256_set1_epi32(zero));
            }
            // Packing saturates, to 16 bits and then to 0..=255.
            let value = _mm256_packs_epi32(sums[0], sums[1]);
            let value = _mm256_permute4x64_epi64::<0b11_01_10_00>(value);
            let (bottom, top) =
                (_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value));
            let value = _mm_min_epu8(_mm_packus_epi16(bottom, top), _mm_set1_epi8(high as i8));
            let value = _mm_max_epu8(value, _mm_set1_epi8(low as i8));
            _mm_storeu_si128(out.as_mut_ptr().cast(), value);
        }
        out
    }
}

impl Tile for Avx2 {
    type Lanes = Self;
    const LANES: Self = Self;
    const ROWS: usize = 4;
    const BLOCKS: usize = 1;
    const BLOCKS_OF_ROW: usize = 4;
    const SPARSE: usize = 14;
    type Activations = __m256i;

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_set1_epi32(i32::from_le_bytes(*x)) }
    }

    #[inline(always)]
    fn dot(self, [a, b]: Sums<Self>, x: __m256i, w: &Group) -> Sums<Self> {
        let w = w.as_ptr();
        // SAFETY: as above.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            // Seven bits times eight: a pair of products fits 16.
            let first = _mm256_maddubs_epi16(x, _mm256_loadu_si256(w.cast()));
            let second = _mm256_maddubs_epi16(x, _mm256_loadu_si256(w.add(32).cast()));
            [
                _mm256_add_epi32(a, _mm256_madd_epi16(first, ones)),
                _mm256_add_epi32(b, _mm256_madd_epi16(second, ones)),
            ]
        }
    }
}

/// Only used inside functions that enable its instructions.
#[derive(Clone, Copy)]
struct Sse41;

impl Lanes for Sse41 {
    type Sums = [__m128i; 4];

    #[inline(always)]
    fn sums(self, column: &Column) -> Self::Sums {
        let column = column.as_ptr();
        // SAFETY: as above.
        unsafe {
            [
                _mm_loadu_si128(column.cast()),
                _mm_loadu_si128(column.add(4).cast()),
                _mm_loadu_si128(column.add(8).cast()),
                _mm_loadu_si128(column.add(12).cast()),
            ]
        }
    }

    #[inline(always)]
    fn max(self, mut a: Self::Sums, b: Self::Sums) -> Self::Sums {
        for (a, b) in a.iter_mut().zip(b) {
            // SAFETY: as above.
            *a = unsafe { _mm_max_epi32(*a, b) };
        }
        a
    }

    #[inline(always)]
    fn add_residual(
        self,
        mut sums: Self::Sums,
        relu: bool,
        x: &[u8; BLOCK],
        factor: &Column,
        offset: &Column,
    ) -> Self::Sums {
        let columns = self.sums(factor).into_iter().zip(self.sums(offset));
        let low = if relu { 0 } else { i32::MIN };
        for ((sums, x), (factor, offset)) in sums.iter_mut().zip(x.as_chunks::<4>().0).zip(columns)
        {
            // SAFETY: as above.
            unsafe {
                let x = _mm_cvtepu8_epi32(_mm_cvtsi32_si128(i32::from_le_bytes(*x)));
                let x = _mm_mullo_epi32(x, factor);
                let larger = _mm_max_epi32(*sums, _mm_set1_epi32(low));
                *sums = _mm_add_epi32(_mm_add_epi32(larger, x), offset);
            }
        }
        sums
    }

    #[inline(always)]
    fn requantise(
        self,
        mut sums: Self::Sums,
        multiplier: &Column,
        zero: i32,
        low: u8,
        high: u8,
    ) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        // SAFETY: as above.
        unsafe {
            for (value, multiplier) in sums.iter_mut().zip(self.sums(multiplier)) {
                let half = _mm_set1_epi64x(1 << 31);
                let even = _mm_add_epi64(_mm_mul_epi32(*value, multiplier), half);
                let sums = _mm_srli_epi64::<32>(*value);
                let multiplier = _mm_srli_epi64::<32>(multiplier);
                let odd = _mm_add_epi64(_mm_mul_epi32(sums, multiplier), half);
                *value = _mm_blend_epi16::<0b1100_1100>(_mm_srli_epi64::<32>(even), odd);
                *value = _mm_add_epi32(*value, _mm_set1_epi32(zero));
            }
            let first = _mm_packs_epi32(sums[0], sums[1]);
            let second = _mm_packs_epi32(sums[2], sums[3]);
            let value = _mm_min_epu8(_mm_packus_epi16(first, second), _mm_set1_epi8(high as i8));
            let value = _mm_max_epu8(value, _mm_set1_epi8(low as i8));
            _mm_storeu_si128(out.as_mut_ptr().cast(), value);
        }
        out
    }
}

impl Tile for Sse41 {
    type Lanes = Self;
    const LANES: Self = Self;
    const ROWS: usize = 2;
    const BLOCKS: usize = 1;
    const BLOCKS_OF_ROW: usize = 2;
    const SPARSE: usize = 14;
    type Activations = __m128i;

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_set1_epi32(i32::from_le_bytes(*x)) }
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums<Self>, x: __m128i, w: &Group) -> Sums<Self> {
        for (sums, w) in sums.iter_mut().zip(w.as_chunks::<16>().0) {
            // SAFETY: as above.
            unsafe {
                let pairs = _mm_maddubs_epi16(x, _mm_loadu_si128(w.as_ptr().cast()));
                *sums = _mm_add_epi32(*sums, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
            }
        }
        sums
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::guarded::{EDGES, Guarded};
    use super::{Backend, list_nonzero_avx512};
    use std::io::Write as _;
    use std::{vec, vec::Vec};

    /// What the default methods do in plain Rust.
    #[test]
    fn lists_stay_guarded() {
        // The standard library detects on its own.
        let there = std::is_x86_feature_detected!("avx512vnni");
        assert_eq!(Backend::Avx512Vnni.is_available(), there);
        if !there {
            // Past the harness, which would keep it.
            let _ = writeln!(std::io::stderr(), "no AVX-512 here: its lists are not tested");
            return;
        }
        for (edge, length) in EDGES.into_iter().flat_map(|e| (0..=130).map(move |n| (e, n))) {
            for (step, spare) in [(1, 0), (1, 1), (1, 40), (3, 0), (3, 15), (7, 16)] {
                let x: Vec<_> = (0..length).map(|i| [0, 0, 0, u8::from(i % step == 0)]).collect();
                let want: Vec<_> = (0..length).filter(|i| i % step == 0).map(|i| 5 + i).collect();
                let x = Guarded::new(&x, edge);
                let mut list = Guarded::new(&vec![0; usize::from(length) + spare], edge);
                // SAFETY: the machine has the instructions.
                let count = unsafe { list_nonzero(&x, &mut list) };
                assert_eq!(list[..count], want, "{edge:?} {length} {step} {spare}");
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
    fn list_nonzero(x: &[[u8; 4]], list: &mut [u16]) -> usize {
        list_nonzero_avx512(x, -1, 5, list)
    }
}
