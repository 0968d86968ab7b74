//! Kernels for aarch64: NEON, which every such processor has, and the product of four bytes
//! (`sdot`), which most have.

use super::float::{self, Product, Width};
use super::int8::{self, Convolve};
use super::tile::{BLOCK, Column, Group, Lanes, Sums, Tile};
use super::{Backend, Kernels};
use core::arch::aarch64::*;

/// What processor and operating system have, the slowest first.
pub(super) fn available() -> &'static [Backend] {
    match has_dotprod() {
        true => &[Backend::Neon, Backend::NeonDotprod],
        false => &[Backend::Neon],
    }
}

/// The C library knows what the kernel says about the processor; elsewhere the target for which
/// this is compiled decides: Apple's for macOS have it, those for older iPhones need not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_dotprod() -> bool {
    const AT_HWCAP: core::ffi::c_ulong = 16;
    const ASIMDDP: core::ffi::c_ulong = 1 << 20;
    // SAFETY: C libraries declare it so, and it does nothing but look a number up: any is allowed.
    unsafe extern "C" {
        safe fn getauxval(kind: core::ffi::c_ulong) -> core::ffi::c_ulong;
    }
    getauxval(AT_HWCAP) & ASIMDDP != 0
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn has_dotprod() -> bool {
    cfg!(target_feature = "dotprod")
}

pub(super) fn multiply_add(_: Kernels, product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    float::multiply_add(Neon, product, y)
}

pub(super) fn convolve(kernels: Kernels, job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    match kernels.backend() {
        // SAFETY: `Kernels` exist only for what the machine has.
        Backend::NeonDotprod => unsafe { convolve_dotprod(job, y) },
        _ => int8::convolve(Neon, job, y),
    }
}

#[target_feature(enable = "dotprod")]
fn convolve_dotprod(job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    int8::convolve(Dotprod, job, y)
}

#[derive(Clone, Copy)]
struct Neon;

// SAFETY, of all blocks: every aarch64 target of ours has NEON; references and arrays are as long
// as the vectors read from and written to them.
impl Lanes for Neon {
    type Sums = [int32x4_t; 4];

    #[inline(always)]
    fn sums(self, column: &Column) -> Self::Sums {
        let column = column.as_ptr().cast::<i32>();
        // SAFETY: above; these loads need no alignment.
        unsafe {
            [
                vld1q_s32(column),
                vld1q_s32(column.add(4)),
                vld1q_s32(column.add(8)),
                vld1q_s32(column.add(12)),
            ]
        }
    }

    #[inline(always)]
    fn max(self, mut a: Self::Sums, b: Self::Sums) -> Self::Sums {
        for (a, b) in a.iter_mut().zip(b) {
            // SAFETY: above.
            *a = unsafe { vmaxq_s32(*a, b) };
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
        let low = if relu { 0 } else { i32::MIN };
        let columns = self.sums(factor).into_iter().zip(self.sums(offset));
        // SAFETY: above.
        unsafe {
            let x = vld1q_u8(x.as_ptr());
            let (first, second) = (vmovl_u8(vget_low_u8(x)), vmovl_high_u8(x));
            let x = [
                vmovl_u16(vget_low_u16(first)),
                vmovl_high_u16(first),
                vmovl_u16(vget_low_u16(second)),
                vmovl_high_u16(second),
            ];
            for ((sums, x), (factor, offset)) in sums.iter_mut().zip(x).zip(columns) {
                let larger = vmaxq_s32(*sums, vdupq_n_s32(low));
                let x = vmlaq_s32(offset, vreinterpretq_s32_u32(x), factor);
                *sums = vaddq_s32(larger, x);
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
        // SAFETY: above.
        unsafe {
            for (value, multiplier) in sums.iter_mut().zip(self.sums(multiplier)) {
                // 64-bit products, rounded; their upper halves.
                let bottom = vmull_s32(vget_low_s32(*value), vget_low_s32(multiplier));
                let top = vmull_high_s32(*value, multiplier);
                *value = vrshrn_high_n_s64::<32>(vrshrn_n_s64::<32>(bottom), top);
                *value = vaddq_s32(*value, vdupq_n_s32(zero));
            }
            // Narrowing saturates, to 16 bits and then to 0..=255.
            let first = vqmovn_high_s32(vqmovn_s32(sums[0]), sums[1]);
            let second = vqmovn_high_s32(vqmovn_s32(sums[2]), sums[3]);
            let value = vqmovun_high_s16(vqmovun_s16(first), second);
            let value = vminq_u8(value, vdupq_n_u8(high));
            vst1q_u8(out.as_mut_ptr(), vmaxq_u8(value, vdupq_n_u8(low)));
        }
        out
    }
}

impl Width for Neon {
    const ROWS: usize = 6;
    const WIDE: usize = 16;
    const WIDE_ROW: usize = 112;

    #[inline(always)]
    fn axpy<const C: usize>(self, sums: &mut [f32; C], x: f32, w: &[[u8; 4]; C]) {
        let (sums, rest) = sums.as_chunks_mut::<4>();
        let (w, rest_of_w) = w.as_chunks::<4>();
        for (sums, w) in sums.iter_mut().zip(w) {
            // SAFETY: above; the load needs no alignment.
            unsafe {
                let sum = vld1q_f32(sums.as_ptr());
                let sum = vfmaq_n_f32(sum, vld1q_f32(w.as_ptr().cast()), x);
                vst1q_f32(sums.as_mut_ptr(), sum);
            }
        }
        for (sum, w) in rest.iter_mut().zip(rest_of_w) {
            // SAFETY: above.
            *sum = unsafe {
                let w = vdup_n_f32(float::weight(w));
                vget_lane_f32::<0>(vfma_n_f32(vdup_n_f32(*sum), w, x))
            };
        }
    }
}

impl Tile for Neon {
    type Lanes = Self;
    const LANES: Self = Self;
    const ROWS: usize = 4;
    const BLOCKS: usize = 1;
    const BLOCKS_OF_ROW: usize = 4;
    // (From instructions in a group, listed against in full.)
    const SPARSE: usize = 13;
    type Activations = int8x16_t;

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> int8x16_t {
        // SAFETY: above.
        unsafe { vreinterpretq_s8_u32(vdupq_n_u32(u32::from_ne_bytes(*x))) }
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums<Self>, x: int8x16_t, w: &Group) -> Sums<Self> {
        for (sums, w) in sums.iter_mut().zip(w.as_chunks::<16>().0) {
            // SAFETY: above.
            unsafe {
                let w = vld1q_s8(w.as_ptr().cast());
                // Seven bits times eight: a pair of products fits 16.
                let first = vmull_s8(vget_low_s8(x), vget_low_s8(w));
                let second = vmull_high_s8(x, w);
                *sums = vpadalq_s16(*sums, vpaddq_s16(first, second));
            }
        }
        sums
    }
}

/// Only used inside functions that enable its instruction. All but the product is NEON's.
#[derive(Clone, Copy)]
struct Dotprod;

impl Tile for Dotprod {
    type Lanes = Neon;
    const LANES: Neon = Neon;
    const ROWS: usize = 4;
    const BLOCKS: usize = 1;
    const BLOCKS_OF_ROW: usize = 4;
    const SPARSE: usize = 9;
    type Activations = int8x16_t;

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> int8x16_t {
        Neon.activations(x)
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums<Self>, x: int8x16_t, w: &Group) -> Sums<Self> {
        for (sums, w) in sums.iter_mut().zip(w.as_chunks::<16>().0) {
            // (The intrinsic is not stable.)
            // SAFETY: above; the instruction has no effect but on `sums`.
            unsafe {
                core::arch::asm!(
                    "sdot {sums:v}.4s, {x:v}.16b, {w:v}.16b",
                    sums = inout(vreg) *sums,
                    x = in(vreg) x,
                    w = in(vreg) vld1q_s8(w.as_ptr().cast()),
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
        sums
    }
}
