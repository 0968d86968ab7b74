//! Convolutions of int8 models, written once over [`Tile`].
//!
//! Weights lie in the file as the tiles read them, front to back: blocks of 16 columns, in each
//! block groups of four weights that follow one another in depth, for all 16 columns.

use byteorder::{ByteOrder, LittleEndian};
use core::num::NonZeroUsize;

/// Columns of a block.
pub(super) const BLOCK: usize = 16;
/// Sums of one row in one block.
pub(super) type Sums = [i32; BLOCK];
/// Four weights of each of a block's columns: `[4 * column + depth]`.
pub(super) type Group = [u8; 4 * BLOCK];

/// A convolution over rows of time-major activations.
pub(crate) struct Convolve<'a> {
    /// Activations, 0 to 127.
    pub(crate) x: &'a [u8],
    /// Distance between rows of `x`.
    pub(crate) stride: usize,
    /// Rows to compute, a multiple of `pool`.
    pub(crate) rows: usize,
    /// Rows of which only the maximum is written.
    pub(crate) pool: NonZeroUsize,
    /// Stretches of `x` that one output reads, and the distance between two.
    pub(crate) taps: usize,
    pub(crate) tap_stride: usize,
    /// Groups of four activations in a stretch.
    pub(crate) groups: usize,
    /// `[block, tap, group]`.
    pub(crate) weight: &'a [Group],
    /// By column.
    pub(crate) bias: &'a [[u8; 4]],
    /// By column; not negative.
    pub(crate) multiplier: &'a [[u8; 4]],
    /// A multiple of [`BLOCK`].
    pub(crate) columns: NonZeroUsize,
    /// Sums below zero become zero.
    pub(crate) relu: bool,
    pub(crate) residual: Option<Residual<'a>>,
    /// The activation that stands for zero.
    pub(crate) zero: i32,
    /// Where not empty: the activation by requantised sum.
    pub(crate) table: &'a [u8],
}

/// What is added to the sums behind relu: the input, in the scale of the sums.
pub(crate) struct Residual<'a> {
    /// The input from the first output's own position on.
    pub(crate) centre: &'a [u8],
    /// By column.
    pub(crate) factor: &'a [[u8; 4]],
    pub(crate) offset: &'a [[u8; 4]],
}

/// One i32, on a machine of any byte order.
#[inline(always)]
pub(crate) fn integer(bytes: &[u8; 4]) -> i32 {
    LittleEndian::read_i32(bytes)
}

/// ⌊sum · multiplier / 2³² + ½⌋.
#[inline(always)]
pub(crate) fn requantise(sum: i32, multiplier: i32) -> i32 {
    ((i64::from(sum) * i64::from(multiplier) + (1 << 31)) >> 32) as i32
}

/// Σ x · w, wrapping.
#[inline(always)]
pub(crate) fn dot(x: &[i16], w: &[u8]) -> i32 {
    let products = x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w as i8));
    products.fold(0, i32::wrapping_add)
}

/// What an instruction set brings.
pub(super) trait Tile: Copy {
    /// Rows and blocks of the largest tile that the registers hold.
    const ROWS: usize;
    const BLOCKS: usize;

    /// `sums[r][b][c] += Σ_g Σ_j x[r][g][j] · w[b][g][4 c + j]`, wrapping. All slices have the
    /// same length; what lies beyond the shortest is not read.
    fn multiply_add<const R: usize, const B: usize>(
        self,
        x: [&[[u8; 4]]; R],
        w: [&[Group]; B],
        sums: &mut [[Sums; B]; R],
    );

    /// `clamp(requantise(max(a, b), multiplier) + zero, low, 127)` of each column; `low` is not
    /// negative.
    #[inline(always)]
    fn requantise(self, [a, b]: [&Sums; 2], multiplier: &Sums, zero: i32, low: i32) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        let columns = a.iter().zip(b).zip(multiplier);
        for (out, ((a, b), multiplier)) in out.iter_mut().zip(columns) {
            *out = (requantise(*a.max(b), *multiplier) + zero).max(low).min(127) as u8;
        }
        out
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Tile for Portable {
    const ROWS: usize = 2;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn multiply_add<const R: usize, const B: usize>(
        self,
        x: [&[[u8; 4]]; R],
        w: [&[Group]; B],
        sums: &mut [[Sums; B]; R],
    ) {
        for (b, w) in w.iter().enumerate() {
            let mut rows = x.map(<[[u8; 4]]>::iter);
            for group in *w {
                for (sums, row) in sums.iter_mut().zip(&mut rows) {
                    let (Some(sums), Some(x)) = (sums.get_mut(b), row.next()) else { return };
                    let x = x.map(i32::from);
                    for (sum, w) in sums.iter_mut().zip(group.as_chunks::<4>().0) {
                        let w = w.map(|w| i32::from(w as i8));
                        let product = x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
                        *sum = sum.wrapping_add(product);
                    }
                }
            }
        }
    }
}

/// The whole convolution; `y` is `[rows / pool, columns]`. `None` when a slice is too short, a
/// defect of the caller.
#[inline(always)]
pub(super) fn convolve<T: Tile>(tile: T, job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    let blocks = job.columns.get() / BLOCK;
    let mut block = 0;
    while T::BLOCKS >= 4 && block + 4 <= blocks {
        strip::<T, 4>(tile, job, block, y)?;
        block += 4;
    }
    if T::BLOCKS >= 3 && block + 3 <= blocks {
        strip::<T, 3>(tile, job, block, y)?;
        block += 3;
    }
    while T::BLOCKS >= 2 && block + 2 <= blocks {
        strip::<T, 2>(tile, job, block, y)?;
        block += 2;
    }
    while block < blocks {
        strip::<T, 1>(tile, job, block, y)?;
        block += 1;
    }
    Some(())
}

/// All rows of B blocks.
#[inline(always)]
fn strip<T: Tile, const B: usize>(
    tile: T,
    job: &Convolve<'_>,
    block: usize,
    y: &mut [u8],
) -> Option<()> {
    let columns = Columns::<B>::read(job, block)?;
    let mut row = 0;
    while T::ROWS >= 4 && row + 4 <= job.rows {
        part::<T, 4, B>(tile, job, &columns, row, y)?;
        row += 4;
    }
    while T::ROWS >= 2 && row + 2 <= job.rows {
        part::<T, 2, B>(tile, job, &columns, row, y)?;
        row += 2;
    }
    while row < job.rows {
        part::<T, 1, B>(tile, job, &columns, row, y)?;
        row += 1;
    }
    Some(())
}

/// What belongs to the columns of B blocks.
struct Columns<const B: usize> {
    block: usize,
    bias: [Sums; B],
    multiplier: [Sums; B],
    factor: [Sums; B],
    offset: [Sums; B],
}

impl<const B: usize> Columns<B> {
    #[inline(always)]
    fn read(job: &Convolve<'_>, block: usize) -> Option<Self> {
        let residual = job.residual.as_ref();
        Some(Self {
            block,
            bias: integers(job.bias, block)?,
            multiplier: integers(job.multiplier, block)?,
            factor: residual.map_or(Some([[0; BLOCK]; B]), |r| integers(r.factor, block))?,
            offset: residual.map_or(Some([[0; BLOCK]; B]), |r| integers(r.offset, block))?,
        })
    }
}

#[inline(always)]
fn integers<const B: usize>(tensor: &[[u8; 4]], block: usize) -> Option<[Sums; B]> {
    let mut out = [[0; BLOCK]; B];
    let from = tensor.get(block * BLOCK..)?;
    for (out, bytes) in out.as_flattened_mut().iter_mut().zip(from) {
        *out = integer(bytes);
    }
    Some(out)
}

/// R rows of B blocks: the sums, then everything that is done with them.
#[inline(always)]
fn part<T: Tile, const R: usize, const B: usize>(
    tile: T,
    job: &Convolve<'_>,
    columns: &Columns<B>,
    row: usize,
    y: &mut [u8],
) -> Option<()> {
    let mut sums = [columns.bias; R];
    for tap in 0..job.taps {
        let mut x = [[].as_slice(); R];
        for (r, x) in x.iter_mut().enumerate() {
            let from = job.x.get((row + r) * job.stride + tap * job.tap_stride..)?;
            *x = from.as_chunks().0.get(..job.groups)?;
        }
        let mut w = [[].as_slice(); B];
        for (b, w) in w.iter_mut().enumerate() {
            let from = ((columns.block + b) * job.taps + tap) * job.groups;
            *w = job.weight.get(from..)?.get(..job.groups)?;
        }
        tile.multiply_add(x, w, &mut sums);
    }
    if let Some(residual) = &job.residual {
        for (r, sums) in sums.iter_mut().enumerate() {
            if job.relu {
                sums.as_flattened_mut().iter_mut().for_each(|sum| *sum = (*sum).max(0));
            }
            let from = (row + r) * job.stride + columns.block * BLOCK;
            let x = residual.centre.get(from..)?;
            let factors = columns.factor.as_flattened().iter().zip(columns.offset.as_flattened());
            for ((sum, x), (factor, offset)) in
                sums.as_flattened_mut().iter_mut().zip(x).zip(factors)
            {
                let x = i32::from(*x).wrapping_mul(*factor).wrapping_add(*offset);
                *sum = sum.wrapping_add(x);
            }
        }
    }
    // The maximum of sums is the sum of the maximum: multipliers are not negative.
    if job.pool.get() == 2 {
        let mut pairs = sums.chunks_exact(2);
        for (r, pair) in pairs.by_ref().enumerate() {
            let [a, b] = pair else { return None };
            store(tile, job, columns, [a, b], row / 2 + r, y)?;
        }
        return pairs.remainder().is_empty().then_some(());
    }
    for (r, sums) in sums.iter().enumerate() {
        store(tile, job, columns, [sums, sums], row + r, y)?;
    }
    Some(())
}

/// Writes one row of `y`, the larger of two rows of sums, requantised.
#[inline(always)]
fn store<T: Tile, const B: usize>(
    tile: T,
    job: &Convolve<'_>,
    columns: &Columns<B>,
    [a, b]: [&[Sums; B]; 2],
    row: usize,
    y: &mut [u8],
) -> Option<()> {
    // Requantised, what relu makes zero is `zero`. (With a residual, relu came before.)
    let low = if job.relu && job.residual.is_none() { job.zero } else { 0 };
    let y = y.get_mut(row * job.columns.get() + columns.block * BLOCK..)?;
    let (y, _) = y.get_mut(..B * BLOCK)?.as_chunks_mut::<BLOCK>();
    let sums = a.iter().zip(b).zip(&columns.multiplier);
    for (y, ((a, b), multiplier)) in y.iter_mut().zip(sums) {
        if job.table.is_empty() {
            *y = tile.requantise([a, b], multiplier, job.zero, low);
        } else {
            // (Only convolutions without a table are pooled.)
            look_up(job.table, a, multiplier, y)?;
        }
    }
    Some(())
}

/// Activations from a table. (Not inlined: rare, and most of the code otherwise.)
#[inline(never)]
fn look_up(table: &[u8], sums: &Sums, multiplier: &Sums, y: &mut [u8; BLOCK]) -> Option<()> {
    for (y, (sum, multiplier)) in y.iter_mut().zip(sums.iter().zip(multiplier)) {
        let index = requantise(*sum, *multiplier).clamp(-128, 127) + 128;
        *y = (*table.get(index as usize)? as i8).max(0) as u8;
    }
    Some(())
}
