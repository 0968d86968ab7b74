//! Products of f32 in a shape that compilers vectorise over columns. Each output is summed in
//! one fixed order, without fused multiply-adds, whatever the width: all backends agree in
//! every bit.

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

/// A matrix product whose left rows may overlap: row r is `x[r * stride..][..depth]`. (A
/// convolution is one, because a window of time-major activations is contiguous; a dense layer
/// is one of a single row.)
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    /// Activations.
    pub(crate) x: &'a [f32],
    /// Distance between rows of `x`, in elements.
    pub(crate) stride: usize,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Weights, `[depth, columns]` row-major.
    pub(crate) w: Weights<'a>,
    /// Number of columns; not zero.
    pub(crate) columns: NonZeroUsize,
}

/// `y[r, c] += Σ_i x[r, i] · w[i, c]`, in tiles of four rows and `WIDE` columns.
#[inline(always)]
pub(super) fn multiply_add<const WIDE: usize>(product: Product<'_>, y: &mut [f32]) -> Option<()> {
    let columns = product.columns.get();
    let mut row = 0;
    while row + 4 <= product.rows {
        let y = y.get_mut(row * columns..)?;
        tile_rows::<4, WIDE>(product, product.x.get(row * product.stride..)?, y)?;
        row += 4;
    }
    while row < product.rows {
        let y = y.get_mut(row * columns..)?;
        tile_rows::<1, WIDE>(product, product.x.get(row * product.stride..)?, y)?;
        row += 1;
    }
    Some(())
}

/// R rows, all columns.
#[inline(always)]
fn tile_rows<const R: usize, const WIDE: usize>(
    product: Product<'_>,
    x: &[f32],
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let mut column = 0;
    while column + WIDE <= columns {
        tile::<R, WIDE>(product, x, column, y)?;
        column += WIDE;
    }
    while WIDE > 16 && column + 16 <= columns {
        tile::<R, 16>(product, x, column, y)?;
        column += 16;
    }
    while WIDE > 8 && column + 8 <= columns {
        tile::<R, 8>(product, x, column, y)?;
        column += 8;
    }
    while column < columns {
        tile::<R, 1>(product, x, column, y)?;
        column += 1;
    }
    Some(())
}

/// R rows by C columns, accumulated in registers.
#[inline(always)]
fn tile<const R: usize, const C: usize>(
    product: Product<'_>,
    x: &[f32],
    column: usize,
    y: &mut [f32],
) -> Option<()> {
    let columns = product.columns.get();
    let depth = product.w.len() / product.columns;
    let mut sums = [[0.0; C]; R];
    let mut rows = [const { [].as_slice() }; R].map(<[f32]>::iter);
    for (r, (sum, row)) in sums.iter_mut().zip(&mut rows).enumerate() {
        *sum = *y.get(r * columns + column..)?.first_chunk()?;
        *row = x.get(r * product.stride..)?.get(..depth)?.iter();
    }
    for w in product.w.chunks_exact(columns) {
        let w = w.get(column..)?.first_chunk::<C>()?;
        for (sum, row) in sums.iter_mut().zip(&mut rows) {
            let x = *row.next()?;
            for (s, w) in sum.iter_mut().zip(w) {
                *s += x * weight(w);
            }
        }
    }
    for (r, sum) in sums.iter().enumerate() {
        *y.get_mut(r * columns + column..)?.first_chunk_mut()? = *sum;
    }
    Some(())
}
