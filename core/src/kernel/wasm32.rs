//! Kernels for WebAssembly's SIMD. A module that has such instructions does not load where they
//! are lacking, so that there is nothing to find out when it runs.

use super::float::{self, Product};
use super::int8::{self, Convolve};
use super::tile::{BLOCK, Column, Group, Lanes, Sums, Tile};
use super::{Backend, Kernels};
use core::arch::wasm32::*;

pub(super) fn available() -> &'static [Backend] {
    &[Backend::Simd128]
}

pub(super) fn multiply_add(_: Kernels, product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    float::multiply_add(float::Narrow, product, y)
}

pub(super) fn convolve(_: Kernels, job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    int8::convolve(Simd128, job, y)
}

#[derive(Clone, Copy)]
struct Simd128;

// SAFETY, of all blocks: references and arrays are as long as the vectors read from and written
// to them. (Loads and stores of vectors need no alignment.)
impl Lanes for Simd128 {
    type Sums = [v128; 4];

    #[inline(always)]
    fn sums(self, column: &Column) -> Self::Sums {
        let column = column.as_ptr().cast::<v128>();
        // SAFETY: above.
        unsafe {
            [
                v128_load(column),
                v128_load(column.add(1)),
                v128_load(column.add(2)),
                v128_load(column.add(3)),
            ]
        }
    }

    #[inline(always)]
    fn max(self, mut a: Self::Sums, b: Self::Sums) -> Self::Sums {
        for (a, b) in a.iter_mut().zip(b) {
            *a = i32x4_max(*a, b);
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
        let low = i32x4_splat(if relu { 0 } else { i32::MIN });
        // SAFETY: above.
        let x = unsafe { v128_load(x.as_ptr().cast()) };
        let (first, second) = (u16x8_extend_low_u8x16(x), u16x8_extend_high_u8x16(x));
        let x = [
            u32x4_extend_low_u16x8(first),
            u32x4_extend_high_u16x8(first),
            u32x4_extend_low_u16x8(second),
            u32x4_extend_high_u16x8(second),
        ];
        let columns = self.sums(factor).into_iter().zip(self.sums(offset));
        for ((sums, x), (factor, offset)) in sums.iter_mut().zip(x).zip(columns) {
            let x = i32x4_add(i32x4_mul(x, factor), offset);
            *sums = i32x4_add(i32x4_max(*sums, low), x);
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
        for (value, multiplier) in sums.iter_mut().zip(self.sums(multiplier)) {
            let half = i64x2_splat(1 << 31);
            // 64-bit products; their upper halves.
            let bottom = i64x2_add(i64x2_extmul_low_i32x4(*value, multiplier), half);
            let top = i64x2_add(i64x2_extmul_high_i32x4(*value, multiplier), half);
            *value = i32x4_add(i32x4_shuffle::<1, 3, 5, 7>(bottom, top), i32x4_splat(zero));
        }
        // Narrowing saturates, to 16 bits and then to 0..=255.
        let first = i16x8_narrow_i32x4(sums[0], sums[1]);
        let second = i16x8_narrow_i32x4(sums[2], sums[3]);
        let value = u8x16_min(u8x16_narrow_i16x8(first, second), u8x16_splat(high));
        let value = u8x16_max(value, u8x16_splat(low));
        // SAFETY: above.
        unsafe { v128_store(out.as_mut_ptr().cast(), value) };
        out
    }
}

impl Tile for Simd128 {
    type Lanes = Self;
    const LANES: Self = Self;
    const ROWS: usize = 2;
    const BLOCKS: usize = 1;
    const BLOCKS_OF_ROW: usize = 2;
    const SPARSE: usize = 14;
    /// Twice the four, of 16 bits.
    type Activations = v128;

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> v128 {
        u16x8_extend_low_u8x16(i32x4_splat(i32::from_le_bytes(*x)))
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums<Self>, x: v128, w: &Group) -> Sums<Self> {
        for (sums, w) in sums.iter_mut().zip(w.as_chunks::<16>().0) {
            // SAFETY: above.
            let w = unsafe { v128_load(w.as_ptr().cast()) };
            // Two sums of two products of each column, then one of four.
            let first = i32x4_dot_i16x8(x, i16x8_extend_low_i8x16(w));
            let second = i32x4_dot_i16x8(x, i16x8_extend_high_i8x16(w));
            let even = i32x4_shuffle::<0, 2, 4, 6>(first, second);
            let odd = i32x4_shuffle::<1, 3, 5, 7>(first, second);
            *sums = i32x4_add(*sums, i32x4_add(even, odd));
        }
        sums
    }
}
