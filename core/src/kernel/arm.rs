//! Kernels for Cortex-M with the DSP extension (M4, M7): two products of 16 bits in an instruction.
//! It has no registers wide enough for a block, so that four columns go through all groups in turn.
//!
//! Which targets these are is for `build.rs` to say. There the portable int8 kernel is left out:
//! flash is dear, and nothing could choose between the two.

use super::float::{self, Product};
use super::int8::{self, Convolve};
use super::tile::{BLOCK, Group, Portable, Sums, Tile};
use super::{Backend, Kernels};
use core::arch::asm;

pub(super) fn available() -> &'static [Backend] {
    &[Backend::Dsp]
}

pub(super) fn multiply_add(_: Kernels, product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    float::multiply_add(float::Narrow, product, y)
}

pub(super) fn convolve(_: Kernels, job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    int8::convolve(Dsp, job, y)
}

/// Bytes 0 and 2, then 1 and 3, each as 16 bits.
type Halves = [u32; 2];

/// `sum` + the four products of bytes, wrapping.
#[inline(always)]
fn multiply_add_4(mut sum: i32, x: Halves, w: u32) -> i32 {
    // SAFETY: the target has these instructions (`build.rs`); they touch these registers and the
    // flag of saturation, which nobody reads.
    unsafe {
        asm!(
            "sxtb16 {even}, {w}",
            "sxtb16 {w}, {w}, ror #8",
            "smlad {sum}, {even}, {x0}, {sum}",
            "smlad {sum}, {w}, {x1}, {sum}",
            sum = inout(reg) sum,
            w = inout(reg) w => _,
            even = out(reg) _,
            x0 = in(reg) x[0],
            x1 = in(reg) x[1],
            options(pure, nomem, nostack),
        );
    }
    sum
}

#[derive(Clone, Copy)]
struct Dsp;

impl Dsp {
    /// `sums[c] += Σ x · w` over groups of four activations and their weights.
    #[inline(always)]
    fn accumulate<'a>(
        self,
        pairs: impl Iterator<Item = (&'a [u8; 4], &'a Group)> + Clone,
        sums: &mut [i32; BLOCK],
    ) -> Option<()> {
        for (quad, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let mut registers = *sums;
            for (x, w) in pairs.clone() {
                let x = self.activations(x);
                let w = w.as_chunks::<16>().0.get(quad)?;
                for (sum, w) in registers.iter_mut().zip(w.as_chunks::<4>().0) {
                    *sum = multiply_add_4(*sum, x, u32::from_le_bytes(*w));
                }
            }
            *sums = registers;
        }
        Some(())
    }
}

impl Tile for Dsp {
    type Lanes = Portable;
    const LANES: Portable = Portable;
    const ROWS: usize = 2;
    const BLOCKS: usize = 1;
    const BLOCKS_OF_ROW: usize = 1;
    const SPARSE: usize = 14;
    type Activations = Halves;

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> Halves {
        let x = u32::from_le_bytes(*x);
        [x & 0x00ff_00ff, (x >> 8) & 0x00ff_00ff] // uxtb16, which compilers know
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums<Self>, x: Halves, w: &Group) -> Sums<Self> {
        for (sum, w) in sums.iter_mut().zip(w.as_chunks::<4>().0) {
            *sum = multiply_add_4(*sum, x, u32::from_le_bytes(*w));
        }
        sums
    }

    #[inline(always)]
    fn multiply_add<const R: usize, const B: usize>(
        self,
        groups: usize,
        x: [&[[u8; 4]]; R],
        w: [&[Group]; B],
        sums: &mut [[Sums<Self>; B]; R],
    ) -> Option<()> {
        for (x, sums) in x.iter().zip(sums) {
            for (w, sums) in w.iter().zip(sums) {
                self.accumulate(x.get(..groups)?.iter().zip(w.get(..groups)?), sums)?;
            }
        }
        Some(())
    }

    #[inline(always)]
    unsafe fn multiply_add_listed<const B: usize>(
        self,
        list: &[u16],
        first: usize,
        x: &[[u8; 4]],
        w: [&[Group]; B],
        sums: &mut [Sums<Self>; B],
    ) -> Option<()> {
        debug_assert!(list.is_sorted());
        let (Some(start), Some(end)) = (list.first(), list.last()) else { return Some(()) };
        let (start, end) = (usize::from(*start), usize::from(*end));
        for (w, sums) in w.iter().zip(sums) {
            if start < first || end >= x.len() || end - first >= w.len() {
                return None;
            }
            // SAFETY: the list ascends, says the caller, so that no index lies outside the first's
            // and the last's, which are checked.
            let pairs = list.iter().map(|&group| unsafe {
                let group = usize::from(group);
                (x.get_unchecked(group), w.get_unchecked(group - first))
            });
            self.accumulate(pairs, sums)?;
        }
        Some(())
    }
}
