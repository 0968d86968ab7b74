//! Products of f32 in a shape that compilers vectorise over columns. Each output is summed in
//! one fixed order, without fused multiply-adds, whatever the width: all backends agree in
//! every bit.
//!
//! Behind relu most activations are zero: rows whose zeros pay to skip are multiplied one by
//! one without them ([`Scan`]), others in tiles of four. Which, is decided by the activations
//! alone, the same on all backends.

use crate::layers::Activation;
use byteorder::{ByteOrder, LittleEndian};
use core::num::NonZeroUsize;

/// Little-endian f32 weights as they lie in the file, at any address.
pub(crate) type Weights<'a> = &'a [[u8; 4]];

/// A tensor's bytes as f32 weights.
pub(crate) fn weights(data: &[u8]) -> Weights<'_> {
    data.as_chunks().0
}

/// One weight, on a machine of any byte order.
#[inline(always)]
pub(crate) fn weight(bytes: &[u8; 4]) -> f32 {
    LittleEndian::read_f32(bytes)
}

/// A convolution over rows of time-major activations. (A dense layer is one of a single row.)
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    /// Activations.
    pub(crate) x: &'a [f32],
    /// Distance between rows of `x`, in elements.
    pub(crate) stride: usize,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Stretches of `x` that one output reads, and the distance between two.
    pub(crate) taps: NonZeroUsize,
    pub(crate) tap_stride: usize,
    /// Weights, `[taps, depth, columns]` row-major.
    pub(crate) w: Weights<'a>,
    /// By column.
    pub(crate) bias: Weights<'a>,
    /// Number of columns; not zero.
    pub(crate) columns: NonZeroUsize,
    /// Of the sums.
    pub(crate) activation: Activation,
}

/// What an instruction set brings.
pub(super) trait Width: Copy {
    /// Columns of a tile of four rows, and of a single row, whose sums the registers hold.
    const WIDE: usize;
    const WIDE_ROW: usize;

    /// Writes the indices, counted from `first`, of values that are not zero; how many. `list`
    /// is at least as long as `x`.
    #[inline(always)]
    fn list_nonzero(self, x: &[f32], first: u16, list: &mut [u16]) -> usize {
        let mut count = 0;
        for (index, value) in (first..).zip(x) {
            if let Some(place) = list.get_mut(count) {
                *place = index;
                count += usize::from(*value != 0.0);
            }
        }
        count
    }
}

/// 128-bit registers, or what the compiler makes of them.
#[derive(Clone, Copy)]
pub(super) struct Narrow;

impl Width for Narrow {
    const WIDE: usize = 8;
    const WIDE_ROW: usize = 16;
}

/// Most values that are looked through at once.
const LIST: usize = if cfg!(target_os = "none") { 512 } else { 2048 };
/// Most rows.
const SCAN_ROWS: usize = 64;
/// Skipping zeros pays when at most this many of 16 values are not zero.
const SPARSE: usize = 8;

/// The values of some rows of `x` that are not zero.
struct Scan {
    list: [u16; LIST],
    /// Where each row's begin in `list`, and where the last one's end.
    starts: [u16; SCAN_ROWS + 1],
}

impl Scan {
    /// Looks through what the output rows from `row` on read, and answers for how many output
    /// rows that is. `None` where it does not pay.
    #[inline(always)]
    fn rows<T: Width>(
        &mut self,
        width: T,
        product: &Product<'_>,
        depth: usize,
        row: usize,
    ) -> Option<usize> {
        let stride = product.stride;
        let history = depth.checked_div(stride)?.checked_sub(1)?;
        let most = LIST.checked_div(stride)?.min(SCAN_ROWS).checked_sub(history)?;
        let rows = product.rows.checked_sub(row)?.min(most);
        // (An embedding's few channels are hardly ever zero.)
        if product.taps.get() != 1 || rows == 0 || stride < 32 {
            return None;
        }
        let x = product.x.get(row * stride..)?;
        let mut count = 0;
        let mut first = 0;
        for start in self.starts.get_mut(1..=rows + history)? {
            let x = x.get(first..)?.get(..stride)?;
            count += width.list_nonzero(x, first as u16, self.list.get_mut(count..)?);
            *start = count as u16;
            first += stride;
        }
        (count * 16 <= first * SPARSE).then_some(rows)
    }

    /// What an output row reads of `x`, ascending.
    #[inline(always)]
    fn window(&self, row: usize, rows: usize) -> Option<&[u16]> {
        let (start, end) = (*self.starts.get(row)?, *self.starts.get(row + rows)?);
        self.list.get(usize::from(start)..usize::from(end))
    }
}

/// `y[r, c] = activation(bias[c] + Σ_t Σ_i x[r, t, i] · w[t, i, c])`, in the order of t and i.
#[inline(always)]
pub(super) fn multiply_add<T: Width>(width: T, product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    let columns = product.columns.get();
    let depth = product.w.len() / product.columns / product.taps;
    let mut row = 0;
    let mut scan = Scan { list: [0; LIST], starts: [0; SCAN_ROWS + 1] };
    while row < product.rows {
        let Some(rows) = scan.rows(width, product, depth, row) else { break };
        let x = product.x.get(row * product.stride..)?;
        for r in 0..rows {
            let list = scan.window(r, depth.checked_div(product.stride)?)?;
            let y = y.get_mut((row + r) * columns..)?.get_mut(..columns)?;
            listed_row::<T>(product, x, list, r * product.stride, y)?;
        }
        row += rows;
    }
    while row + 4 <= product.rows {
        let y = y.get_mut(row * columns..)?;
        tile_rows::<T, 4>(product, product.x.get(row * product.stride..)?, depth, y)?;
        row += 4;
        // The last tile goes back over rows that are there: faster than one row after another.
        if row < product.rows && row + 4 > product.rows {
            row = product.rows - 4;
        }
    }
    while row < product.rows {
        let y = y.get_mut(row * columns..)?;
        tile_rows::<T, 1>(product, product.x.get(row * product.stride..)?, depth, y)?;
        row += 1;
    }
    product.activation.apply(y);
    Some(())
}

/// One row without its zeros, all columns.
#[inline(always)]
fn listed_row<T: Width>(
    product: &Product<'_>,
    x: &[f32],
    list: &[u16],
    first: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let mut column = 0;
    while T::WIDE_ROW >= 112 && column + 112 <= columns {
        listed::<112>(product, x, list, first, column, y)?;
        column += 112;
    }
    while T::WIDE_ROW >= 48 && column + 48 <= columns {
        listed::<48>(product, x, list, first, column, y)?;
        column += 48;
    }
    while T::WIDE_ROW >= 16 && column + 16 <= columns {
        listed::<16>(product, x, list, first, column, y)?;
        column += 16;
    }
    while column + 8 <= columns {
        listed::<8>(product, x, list, first, column, y)?;
        column += 8;
    }
    while column < columns {
        listed::<1>(product, x, list, first, column, y)?;
        column += 1;
    }
    Some(())
}

/// C columns of one row, from the listed values alone.
#[inline(always)]
fn listed<const C: usize>(
    product: &Product<'_>,
    x: &[f32],
    list: &[u16],
    first: usize,
    column: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let mut sums = bias::<C>(product, column)?;
    for &index in list {
        let index = usize::from(index);
        let x = *x.get(index)?;
        let w = product.w.get(index.wrapping_sub(first).wrapping_mul(columns) + column..)?;
        for (s, w) in sums.iter_mut().zip(w.first_chunk::<C>()?) {
            *s += x * weight(w);
        }
    }
    *y.get_mut(column..)?.first_chunk_mut()? = sums;
    Some(())
}

/// R rows, all columns.
#[inline(always)]
fn tile_rows<T: Width, const R: usize>(
    product: &Product<'_>,
    x: &[f32],
    depth: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let mut column = 0;
    while T::WIDE >= 64 && column + 64 <= columns {
        tile::<R, 64>(product, x, depth, column, y)?;
        column += 64;
    }
    while T::WIDE >= 48 && column + 48 <= columns {
        tile::<R, 48>(product, x, depth, column, y)?;
        column += 48;
    }
    while T::WIDE >= 16 && column + 16 <= columns {
        tile::<R, 16>(product, x, depth, column, y)?;
        column += 16;
    }
    while column + 8 <= columns {
        tile::<R, 8>(product, x, depth, column, y)?;
        column += 8;
    }
    while column < columns {
        tile::<R, 1>(product, x, depth, column, y)?;
        column += 1;
    }
    Some(())
}

/// R rows by C columns, accumulated in registers.
#[inline(always)]
fn tile<const R: usize, const C: usize>(
    product: &Product<'_>,
    x: &[f32],
    depth: usize,
    column: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let taps = product.w.chunks_exact((depth * columns).max(1));
    for (tap, w) in taps.enumerate() {
        let mut sums = [[0.0; C]; R];
        let mut rows = [const { [].as_slice() }; R].map(<[f32]>::iter);
        for (r, (sum, row)) in sums.iter_mut().zip(&mut rows).enumerate() {
            let y = y.get_mut(r * columns + column..)?.first_chunk_mut()?;
            if tap == 0 {
                *y = bias::<C>(product, column)?;
            }
            // (Compilers keep in vectors what they have read as one.)
            *sum = *y;
            *row = x.get(r * product.stride + tap * product.tap_stride..)?.get(..depth)?.iter();
        }
        for w in w.chunks_exact(columns) {
            let w = w.get(column..)?.first_chunk::<C>()?;
            for (sum, row) in sums.iter_mut().zip(&mut rows) {
                let x = *row.next()?;
                for (s, w) in sum.iter_mut().zip(w) {
                    *s += x * weight(w);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            *y.get_mut(r * columns + column..)?.first_chunk_mut()? = *sums;
        }
    }
    Some(())
}

#[inline(always)]
fn bias<const C: usize>(product: &Product<'_>, column: usize) -> Option<[f32; C]> {
    let mut sums = [0.0; C];
    let bias = product.bias.get(column..)?.first_chunk::<C>()?;
    for (sum, bias) in sums.iter_mut().zip(bias) {
        *sum = weight(bias);
    }
    Some(sums)
}
