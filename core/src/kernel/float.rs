//! Products of f32, in registers over columns. Each output is summed in one fixed order, whatever
//! the width: backends that fuse multiply-adds (AVX2, AVX-512, NEON) agree in every bit, and so do
//! those that cannot. Between the two, a logit differs by its rounding.
//!
//! Behind relu most activations are zero: rows whose zeros pay to skip are multiplied one by
//! one without them ([`Scan`]), others in tiles. Which, is decided by the activations
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
    /// Rows and columns of a tile, and columns of a single row, whose sums the registers hold.
    const ROWS: usize;
    const WIDE: usize;
    const WIDE_ROW: usize;

    /// `sums[c] += x · w[c]`, as BLAS names it.
    #[inline(always)]
    fn axpy<const C: usize>(self, sums: &mut [f32; C], x: f32, w: &[[u8; 4]; C]) {
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum += x * weight(w);
        }
    }

    /// Writes the indices, counted from `first` and ascending, of values that are not zero; how
    /// many. `list` is at least as long as `x`.
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
    // (A microcontroller has half of the registers, and little flash.)
    const ROWS: usize = if cfg!(target_os = "none") { 2 } else { 4 };
    const WIDE: usize = 8;
    const WIDE_ROW: usize = 16;
}

/// Most values that are looked through at once.
const LIST: usize = if cfg!(target_os = "none") { 512 } else { 2048 };
/// Most rows.
const SCAN_ROWS: usize = 64;
/// Most values of a row, and as many rows of weights, that a block has.
const DEPTH: usize = 64;
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

    /// Those of a row, ascending.
    #[inline(always)]
    fn row(&self, row: usize) -> Option<&[u16]> {
        let (start, end) = (*self.starts.get(row)?, *self.starts.get(row + 1)?);
        self.list.get(usize::from(start)..usize::from(end))
    }
}

/// `y[r, c] = activation(bias[c] + Σ_t Σ_i x[r, t, i] · w[t, i, c])`, in the order of t and i.
#[inline(always)]
pub(super) fn multiply_add<T: Width>(width: T, product: &Product<'_>, y: &mut [f32]) -> Option<()> {
    let columns = product.columns.get();
    let depth = product.w.len() / product.columns / product.taps;
    for y in y.chunks_exact_mut(columns) {
        y.iter_mut().zip(product.bias).for_each(|(y, bias)| *y = weight(bias));
    }
    let mut row = 0;
    let mut scan = Scan { list: [0; LIST], starts: [0; SCAN_ROWS + 1] };
    while row < product.rows {
        let Some(rows) = scan.rows(width, product, depth, row) else { break };
        let x = product.x.get(row * product.stride..)?;
        // Tap by tap, so that its weights stay near from one row to the next.
        for (tap, w) in product.w.chunks_exact((product.stride * columns).max(1)).enumerate() {
            for r in 0..rows {
                let y = y.get_mut((row + r) * columns..)?.get_mut(..columns)?;
                let first = (r + tap) * product.stride;
                // SAFETY: `Scan::rows` has listed these rows, value by value: each ascends.
                unsafe { listed_row(width, w, x, scan.row(r + tap)?, first, y)? };
            }
        }
        row += rows;
    }
    if row < product.rows {
        rows_from(width, product, depth, row, y)?;
    }
    product.activation.apply(y);
    Some(())
}

/// One row without its zeros, all columns.
///
/// # Safety
///
/// As [`listed`].
#[inline(always)]
unsafe fn listed_row<T: Width>(
    width: T,
    w: Weights<'_>,
    x: &[f32],
    list: &[u16],
    first: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = y.len();
    let mut column = 0;
    while T::WIDE_ROW >= 112 && column + 112 <= columns {
        // SAFETY: the caller keeps its contract.
        unsafe { listed::<T, 112>(width, w, x, list, first, column, y)? };
        column += 112;
    }
    while T::WIDE_ROW >= 48 && column + 48 <= columns {
        // SAFETY: as above.
        unsafe { listed::<T, 48>(width, w, x, list, first, column, y)? };
        column += 48;
    }
    while T::WIDE_ROW >= 16 && column + 16 <= columns {
        // SAFETY: as above.
        unsafe { listed::<T, 16>(width, w, x, list, first, column, y)? };
        column += 16;
    }
    while column + 8 <= columns {
        // SAFETY: as above.
        unsafe { listed::<T, 8>(width, w, x, list, first, column, y)? };
        column += 8;
    }
    while column < columns {
        // SAFETY: as above.
        unsafe { listed::<T, 1>(width, w, x, list, first, column, y)? };
        column += 1;
    }
    Some(())
}

/// C columns of one row, from the listed values alone. The list counts values of `x`, and the rows
/// of `w` begin at `first`.
///
/// # Safety
///
/// The list ascends: only its ends are checked.
#[inline(always)]
unsafe fn listed<T: Width, const C: usize>(
    width: T,
    w: Weights<'_>,
    x: &[f32],
    list: &[u16],
    first: usize,
    column: usize,
    y: &mut [f32],
) -> Option<()> {
    debug_assert!(list.is_sorted());
    let (Some(start), Some(end)) = (list.first(), list.last()) else { return Some(()) };
    let (start, end) = (usize::from(*start), usize::from(*end));
    let columns = y.len();
    let w = w.get(column..)?;
    if start < first || end >= x.len() || (end - first) * columns + C > w.len() {
        return None;
    }
    let y = y.get_mut(column..)?.first_chunk_mut()?;
    let mut sums: [f32; C] = *y;
    for &index in list {
        let index = usize::from(index);
        // SAFETY: the list ascends, says the caller, so that no index lies outside the first's and
        // the last's, which are checked.
        unsafe {
            let x = *x.get_unchecked(index);
            let w = w.as_ptr().add((index - first) * columns);
            width.axpy(&mut sums, x, &*w.cast());
        }
    }
    *y = sums;
    Some(())
}

/// All rows from `row` on, in tiles.
#[inline(always)]
fn rows_from<T: Width>(
    width: T,
    product: &Product<'_>,
    depth: usize,
    row: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let mut column = 0;
    while T::WIDE >= 64 && column + 64 <= columns {
        blocks::<T, 64>(width, product, depth, row, column, y)?;
        column += 64;
    }
    while T::WIDE >= 48 && column + 48 <= columns {
        blocks::<T, 48>(width, product, depth, row, column, y)?;
        column += 48;
    }
    while T::WIDE >= 16 && column + 16 <= columns {
        blocks::<T, 16>(width, product, depth, row, column, y)?;
        column += 16;
    }
    while column + 8 <= columns {
        blocks::<T, 8>(width, product, depth, row, column, y)?;
        column += 8;
    }
    while column < columns {
        blocks::<T, 1>(width, product, depth, row, column, y)?;
        column += 1;
    }
    Some(())
}

/// C columns of all rows from `row` on. A block of weights is done with before the next is read:
/// it stays in the processor's first cache from one tile of rows to the next.
#[inline(always)]
fn blocks<T: Width, const C: usize>(
    width: T,
    product: &Product<'_>,
    depth: usize,
    row: usize,
    column: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    for (tap, w) in product.w.chunks_exact((depth * columns).max(1)).enumerate() {
        for (block, w) in w.chunks((DEPTH * columns).max(1)).enumerate() {
            let x = product.x.get(tap * product.tap_stride + block * DEPTH..)?;
            let mut row = row;
            while T::ROWS >= 6 && row + 6 <= product.rows {
                tile::<T, 6, C>(width, product, x, w, row, column, y)?;
                row += 6;
            }
            while T::ROWS == 4 && row + 4 <= product.rows {
                tile::<T, 4, C>(width, product, x, w, row, column, y)?;
                row += 4;
            }
            while T::ROWS >= 2 && row + 2 <= product.rows {
                tile::<T, 2, C>(width, product, x, w, row, column, y)?;
                row += 2;
            }
            while row < product.rows {
                tile::<T, 1, C>(width, product, x, w, row, column, y)?;
                row += 1;
            }
        }
    }
    Some(())
}

/// R rows by C columns of a block, added in registers.
#[inline(always)]
fn tile<T: Width, const R: usize, const C: usize>(
    width: T,
    product: &Product<'_>,
    x: &[f32],
    w: Weights<'_>,
    row: usize,
    column: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let depth = w.len() / product.columns;
    let y = y.get_mut(row * columns..)?;
    let mut sums = [[0.0; C]; R];
    let mut rows = [[].as_slice(); R];
    for (r, (sum, x_row)) in sums.iter_mut().zip(&mut rows).enumerate() {
        // (Compilers keep in vectors what they have read as one.)
        *sum = *y.get(r * columns + column..)?.first_chunk()?;
        *x_row = x.get((row + r) * product.stride..)?.get(..depth)?;
    }
    for (i, w) in (0..depth).zip(w.chunks_exact(columns)) {
        let w = w.get(column..)?.first_chunk::<C>()?;
        for (sum, x) in sums.iter_mut().zip(&rows) {
            width.axpy(sum, *x.get(i)?, w);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        *y.get_mut(r * columns + column..)?.first_chunk_mut()? = *sums;
    }
    Some(())
}
