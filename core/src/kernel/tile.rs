//! What an instruction set brings to convolutions of int8 models: sums in registers, products of
//! groups of four, and how many fit. [`Portable`] is the one in plain Rust.

use super::int8::{integer, requantise};

/// Columns of a block.
pub(super) const BLOCK: usize = 16;
/// A value of each of a block's columns, i32 little-endian.
pub(super) type Column = [[u8; 4]; BLOCK];
/// Four weights of each of a block's columns: `[4 * column + depth]`.
pub(super) type Group = [u8; 4 * BLOCK];

/// The sums of a block's columns in registers, and what is done with them.
///
/// (Hardly any closures around these methods and those of [`Tile`]: one that is not inlined is
/// compiled without the instructions.)
pub(super) trait Lanes: Copy {
    type Sums: Copy;

    fn sums(self, column: &Column) -> Self::Sums;
    fn max(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// `sums[c] + x[c] · factor[c] + offset[c]`, wrapping; with relu, the larger of `sums` and 0.
    fn add_residual(
        self,
        sums: Self::Sums,
        relu: bool,
        x: &[u8; BLOCK],
        factor: &Column,
        offset: &Column,
    ) -> Self::Sums;
    /// `clamp(requantise(sums, multiplier) + zero, low, high)`.
    fn requantise(
        self,
        sums: Self::Sums,
        multiplier: &Column,
        zero: i32,
        low: u8,
        high: u8,
    ) -> [u8; BLOCK];
}

/// Of a tile.
pub(super) type Sums<T> = <<T as Tile>::Lanes as Lanes>::Sums;

/// What an instruction set brings: how it multiplies, and how much fits its registers.
pub(super) trait Tile: Copy {
    /// Its own, or those of a smaller instruction set that has all but the product.
    type Lanes: Lanes;
    const LANES: Self::Lanes;

    /// Rows and blocks of the largest tile whose sums the registers hold.
    const ROWS: usize;
    const BLOCKS: usize;
    /// Blocks of a single row.
    const BLOCKS_OF_ROW: usize;
    /// Skipping zeros pays when at most this many of 16 groups are not zero.
    const SPARSE: usize;

    /// Four activations, as often as there are columns.
    type Activations: Copy;

    fn activations(self, x: &[u8; 4]) -> Self::Activations;
    /// `sums[c] + Σ_j x[j] · w[4 c + j]`, wrapping.
    fn dot(self, sums: Sums<Self>, x: Self::Activations, w: &Group) -> Sums<Self>;

    /// Writes the indices, counted from `first` and ascending, of groups that are not all zero; how
    /// many. `list` is at least as long as `x`.
    #[inline(always)]
    fn list_nonzero(self, x: &[[u8; 4]], first: u16, list: &mut [u16]) -> usize {
        let mut count = 0;
        for (index, group) in (first..).zip(x) {
            if let Some(place) = list.get_mut(count) {
                *place = index;
                count += usize::from(*group != [0; 4]);
            }
        }
        count
    }

    /// `sums[r][b] += Σ_g x[r][g] · w[b][g]`. `None` when a slice has fewer than `groups` elements,
    /// a defect of the caller.
    #[inline(always)]
    fn multiply_add<const R: usize, const B: usize>(
        self,
        groups: usize,
        x: [&[[u8; 4]]; R],
        w: [&[Group]; B],
        sums: &mut [[Sums<Self>; B]; R],
    ) -> Option<()> {
        for group in 0..groups {
            for (x, sums) in x.iter().zip(&mut *sums) {
                let x = self.activations(x.get(group)?);
                for (w, sums) in w.iter().zip(sums) {
                    *sums = self.dot(*sums, x, w.get(group)?);
                }
            }
        }
        Some(())
    }

    /// As `multiply_add` of one row, of the listed groups alone. The list counts groups of `x`, and
    /// those of `w` begin at `first`.
    ///
    /// # Safety
    ///
    /// The list ascends: only its ends are checked.
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
        if start < first || end >= x.len() || w.iter().any(|w| end - first >= w.len()) {
            return None;
        }
        for &group in list {
            let group = usize::from(group);
            // SAFETY: the list ascends, says the caller, so that no index lies outside the first's
            // and the last's, which are checked.
            unsafe {
                let x = self.activations(x.get_unchecked(group));
                for (w, sums) in w.iter().zip(&mut *sums) {
                    *sums = self.dot(*sums, x, w.get_unchecked(group - first));
                }
            }
        }
        Some(())
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Lanes for Portable {
    type Sums = [i32; BLOCK];

    #[inline(always)]
    fn sums(self, column: &Column) -> Self::Sums {
        core::array::from_fn(|c| column.get(c).map_or(0, integer))
    }

    #[inline(always)]
    fn max(self, mut a: Self::Sums, b: Self::Sums) -> Self::Sums {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = (*a).max(b));
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
        for ((sum, x), (factor, offset)) in sums.iter_mut().zip(x).zip(factor.iter().zip(offset)) {
            let x = i32::from(*x).wrapping_mul(integer(factor)).wrapping_add(integer(offset));
            *sum = if relu { (*sum).max(0) } else { *sum }.wrapping_add(x);
        }
        sums
    }

    #[inline(always)]
    fn requantise(
        self,
        sums: Self::Sums,
        multiplier: &Column,
        zero: i32,
        low: u8,
        high: u8,
    ) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        for (out, (sum, multiplier)) in out.iter_mut().zip(sums.iter().zip(multiplier)) {
            *out = (requantise(*sum, integer(multiplier)) + zero).max(low.into()).min(high.into())
                as u8;
        }
        out
    }
}

impl Tile for Portable {
    type Lanes = Self;
    const LANES: Self = Self;
    const ROWS: usize = 2;
    const BLOCKS: usize = 1;
    const BLOCKS_OF_ROW: usize = 1;
    const SPARSE: usize = 14;
    type Activations = [i32; 4];

    #[inline(always)]
    fn activations(self, x: &[u8; 4]) -> Self::Activations {
        x.map(i32::from)
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums<Self>, x: Self::Activations, w: &Group) -> Sums<Self> {
        for (sum, w) in sums.iter_mut().zip(w.as_chunks::<4>().0) {
            let w = w.map(|w| i32::from(w as i8));
            let product = x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
            *sum = sum.wrapping_add(product);
        }
        sums
    }
}
