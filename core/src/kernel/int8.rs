//! Convolutions of int8 models, written once over [`Tile`] (`tile.rs`).
//!
//! Behind relu most activations are zero, and what is multiplied by zero is not computed, where
//! that is faster ([`Scan`]); else tiles of several rows and columns are computed in full. Both
//! add the same integers.
//!
//! Weights lie in the file as the tiles read them, front to back: blocks of 16 columns, in each
//! block groups of four weights that follow one another in depth, for all 16 columns.

use super::tile::{BLOCK, Column, Group, Lanes, Tile};
use byteorder::{ByteOrder, LittleEndian};
use core::num::NonZeroUsize;

/// The largest activation of the sequence.
pub(crate) const MAX: u8 = 127;

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
    pub(crate) zero: u8,
    /// Writes requantised sums from -128 on, as 0 to 255, for [`look_up`], instead of activations.
    pub(crate) indices: bool,
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

/// `Kernels::dots`, in a shape that compilers vectorise.
#[inline(always)]
pub(crate) fn dots(x: &[i16], w: &[u8]) -> [i32; 4] {
    let mut sums = [0; 4];
    if x.is_empty() {
        return sums;
    }
    for (sum, w) in sums.iter_mut().zip(w.chunks_exact(x.len())) {
        let products = x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w as i8));
        *sum = products.fold(0, i32::wrapping_add);
    }
    sums
}

/// `Kernels::look_up`.
#[inline(always)]
pub(crate) fn look_up(table: &[u8; 256], values: &mut [u8]) {
    for value in values {
        *value = (table[usize::from(*value)] as i8).max(0) as u8;
    }
}

/// `Kernels::pool`.
#[inline(always)]
pub(crate) fn pool(rows: &[u8], maxima: &mut [u8], sums: &mut [u32]) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (maximum, value) in maxima.iter_mut().zip(row) {
            *maximum = (*maximum).max(*value);
        }
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum = sum.wrapping_add(u32::from(*value));
        }
    }
}

/// Most groups that are looked through at once.
const LIST: usize = 512;
/// Most rows.
const SCAN_ROWS: usize = 64;

/// The groups of some rows of `x` that are not zero.
struct Scan {
    list: [u16; LIST],
    /// Where each row's begin in `list`, and where the last one's end.
    starts: [u16; SCAN_ROWS + 1],
    /// Groups of a row.
    groups: usize,
}

impl Scan {
    /// Looks through what the output rows from `row` on read, and answers for how many output
    /// rows that is. `None` where it does not pay.
    #[inline(always)]
    fn rows<T: Tile>(&mut self, tile: T, job: &Convolve<'_>, row: usize) -> Option<usize> {
        let groups = self.groups;
        let history = job.groups.checked_div(groups)?.checked_sub(1)?;
        let most = LIST.checked_div(groups)?.min(SCAN_ROWS).checked_sub(history)?;
        // (Of a pair that is pooled, both: `sparse_strip` relies on it.)
        let all = job.rows & job.pool.get().wrapping_neg();
        let rows = all.checked_sub(row)?.min(most & !3);
        // (An embedding's few channels are hardly ever zero.)
        if job.taps != 1 || rows == 0 || groups < 8 {
            return None;
        }
        let x = job.x.get(row * job.stride..)?.as_chunks().0;
        let mut count = 0;
        let mut first = 0;
        for start in self.starts.get_mut(1..=rows + history)? {
            let x = x.get(first..)?.get(..groups)?;
            count += tile.list_nonzero(x, first as u16, self.list.get_mut(count..)?);
            *start = count as u16;
            first += groups;
        }
        (count * 16 <= first * T::SPARSE).then_some(rows)
    }

    /// What the window of one of the output rows reads: ascending, from `row * self.groups` on.
    #[inline(always)]
    fn window(&self, row: usize, groups: usize) -> Option<&[u16]> {
        let start = *self.starts.get(row)?;
        let end = *self.starts.get(row + groups.checked_div(self.groups)?)?;
        self.list.get(usize::from(start)..usize::from(end))
    }
}

/// The whole convolution; `y` is `[rows / pool, columns]`. `None` when a slice is too short, a
/// defect of the caller.
#[inline(always)]
pub(super) fn convolve<T: Tile>(tile: T, job: &Convolve<'_>, y: &mut [u8]) -> Option<()> {
    let blocks = job.columns.get() / BLOCK;
    let mut row = 0;
    let mut scan = Scan { list: [0; LIST], starts: [0; SCAN_ROWS + 1], groups: job.stride / 4 };
    while row < job.rows {
        let Some(rows) = scan.rows(tile, job, row) else { break };
        let mut block = 0;
        while T::BLOCKS_OF_ROW >= 7 && block + 7 <= blocks {
            sparse_strip::<T, 7>(tile, job, &scan, block, row, rows, y)?;
            block += 7;
        }
        while T::BLOCKS_OF_ROW >= 4 && block + 4 <= blocks {
            sparse_strip::<T, 4>(tile, job, &scan, block, row, rows, y)?;
            block += 4;
        }
        while T::BLOCKS_OF_ROW >= 2 && block + 2 <= blocks {
            sparse_strip::<T, 2>(tile, job, &scan, block, row, rows, y)?;
            block += 2;
        }
        while block < blocks {
            sparse_strip::<T, 1>(tile, job, &scan, block, row, rows, y)?;
            block += 1;
        }
        row += rows;
    }
    if row == job.rows {
        return Some(());
    }
    let mut block = 0;
    while T::BLOCKS >= 4 && block + 4 <= blocks {
        strip::<T, 4>(tile, job, block, row, y)?;
        block += 4;
    }
    if T::BLOCKS >= 3 && block + 3 <= blocks {
        strip::<T, 3>(tile, job, block, row, y)?;
        block += 3;
    }
    while T::BLOCKS >= 2 && block + 2 <= blocks {
        strip::<T, 2>(tile, job, block, row, y)?;
        block += 2;
    }
    while block < blocks {
        strip::<T, 1>(tile, job, block, row, y)?;
        block += 1;
    }
    Some(())
}

/// All rows from `row` on of B blocks.
#[inline(always)]
fn strip<T: Tile, const B: usize>(
    tile: T,
    job: &Convolve<'_>,
    block: usize,
    mut row: usize,
    y: &mut [u8],
) -> Option<()> {
    let columns = Columns::<B>::read(job, block)?;
    while T::ROWS >= 6 && row + 6 <= job.rows {
        part::<T, 6, B>(tile, job, &columns, row, y)?;
        row += 6;
    }
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
struct Columns<'a, const B: usize> {
    block: usize,
    bias: &'a [Column; B],
    multiplier: &'a [Column; B],
    /// Factors and offsets.
    residual: Option<[&'a [Column; B]; 2]>,
}

impl<'a, const B: usize> Columns<'a, B> {
    #[inline(always)]
    fn read(job: &Convolve<'a>, block: usize) -> Option<Self> {
        let columns = |t: &'a [[u8; 4]]| t.as_chunks().0.get(block..)?.first_chunk();
        Some(Self {
            block,
            bias: columns(job.bias)?,
            multiplier: columns(job.multiplier)?,
            residual: match &job.residual {
                Some(residual) => Some([columns(residual.factor)?, columns(residual.offset)?]),
                None => None,
            },
        })
    }

    /// The bias.
    #[inline(always)]
    fn sums<L: Lanes>(&self, lanes: L) -> [L::Sums; B] {
        let mut sums = [lanes.sums(&[[0; 4]; BLOCK]); B];
        for (sums, bias) in sums.iter_mut().zip(self.bias) {
            *sums = lanes.sums(bias);
        }
        sums
    }

    /// Their weights of one tap.
    #[inline(always)]
    fn weights(&self, job: &Convolve<'a>, tap: usize) -> Option<[&'a [Group]; B]> {
        let mut weights = [[].as_slice(); B];
        for (b, w) in weights.iter_mut().enumerate() {
            let from = ((self.block + b) * job.taps + tap) * job.groups;
            *w = job.weight.get(from..)?.get(..job.groups)?;
        }
        Some(weights)
    }
}

/// R rows of B blocks, in full.
#[inline(always)]
fn part<T: Tile, const R: usize, const B: usize>(
    tile: T,
    job: &Convolve<'_>,
    columns: &Columns<'_, B>,
    row: usize,
    y: &mut [u8],
) -> Option<()> {
    let mut sums = [columns.sums(T::LANES); R];
    for tap in 0..job.taps {
        let mut x = [[].as_slice(); R];
        for (r, x) in x.iter_mut().enumerate() {
            let from = job.x.get((row + r) * job.stride + tap * job.tap_stride..)?;
            *x = from.as_chunks().0.get(..job.groups)?;
        }
        tile.multiply_add(job.groups, x, columns.weights(job, tap)?, &mut sums)?;
    }
    finish(T::LANES, job, columns, sums, row, y)
}

/// `rows` rows from `first_row` on of B blocks, without the zeros.
#[inline(always)]
#[allow(unsafe_code)]
fn sparse_strip<T: Tile, const B: usize>(
    tile: T,
    job: &Convolve<'_>,
    scan: &Scan,
    block: usize,
    first_row: usize,
    rows: usize,
    y: &mut [u8],
) -> Option<()> {
    let columns = Columns::<B>::read(job, block)?;
    let w = columns.weights(job, 0)?;
    let x = job.x.get(first_row * job.stride..)?.as_chunks().0;
    let bias = columns.sums(T::LANES);
    let mut row = 0;
    while row < rows {
        let mut sums = bias;
        let list = scan.window(row, job.groups)?;
        // SAFETY: `rows` are those that `Scan::rows` has listed, group by group: a window ascends.
        unsafe { tile.multiply_add_listed(list, row * scan.groups, x, w, &mut sums)? };
        if job.pool.get() == 2 {
            let mut second = bias;
            let list = scan.window(row + 1, job.groups)?;
            // SAFETY: as above; `rows` is even.
            unsafe { tile.multiply_add_listed(list, (row + 1) * scan.groups, x, w, &mut second)? };
            finish(T::LANES, job, &columns, [sums, second], first_row + row, y)?;
            row += 2;
        } else {
            finish(T::LANES, job, &columns, [sums], first_row + row, y)?;
            row += 1;
        }
    }
    Some(())
}

/// Everything that is done with sums.
#[inline(always)]
fn finish<L: Lanes, const R: usize, const B: usize>(
    lanes: L,
    job: &Convolve<'_>,
    columns: &Columns<'_, B>,
    mut sums: [[L::Sums; B]; R],
    row: usize,
    y: &mut [u8],
) -> Option<()> {
    if let (Some(residual), Some([factor, offset])) = (&job.residual, columns.residual) {
        for (r, sums) in sums.iter_mut().enumerate() {
            let from = (row + r) * job.stride + columns.block * BLOCK;
            let x: &[[u8; BLOCK]; B] = residual.centre.get(from..)?.as_chunks().0.first_chunk()?;
            for ((sums, x), (factor, offset)) in
                sums.iter_mut().zip(x).zip(factor.iter().zip(offset))
            {
                *sums = lanes.add_residual(*sums, job.relu, x, factor, offset);
            }
        }
    }
    // The maximum of sums is the sum of the maximum: multipliers are not negative.
    if job.pool.get() == 2 {
        let mut pairs = sums.chunks_exact(2);
        for (r, pair) in pairs.by_ref().enumerate() {
            let [a, b] = pair else { return None };
            let mut larger = *a;
            for (a, b) in larger.iter_mut().zip(b) {
                *a = lanes.max(*a, *b);
            }
            store(lanes, job, columns, &larger, row / 2 + r, y)?;
        }
        return pairs.remainder().is_empty().then_some(());
    }
    for (r, sums) in sums.iter().enumerate() {
        store(lanes, job, columns, sums, row + r, y)?;
    }
    Some(())
}

/// Writes one row of `y`.
#[inline(always)]
fn store<L: Lanes, const B: usize>(
    lanes: L,
    job: &Convolve<'_>,
    columns: &Columns<'_, B>,
    sums: &[L::Sums; B],
    row: usize,
    y: &mut [u8],
) -> Option<()> {
    // Requantised, what relu makes zero is `zero`. (With a residual, relu came before.)
    let low = if job.relu && job.residual.is_none() { job.zero } else { 0 };
    let y = y.get_mut(row * job.columns.get() + columns.block * BLOCK..)?;
    let y: &mut [[u8; BLOCK]; B] = y.as_chunks_mut().0.first_chunk_mut()?;
    for (y, (sums, multiplier)) in y.iter_mut().zip(sums.iter().zip(columns.multiplier)) {
        *y = match job.indices {
            false => lanes.requantise(*sums, multiplier, job.zero.into(), low, MAX),
            true => lanes.requantise(*sums, multiplier, 128, 0, u8::MAX),
        };
    }
    Some(())
}
