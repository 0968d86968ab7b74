//! The arithmetic that layers are made of, behind one trait so that SIMD kernels slot in.

use byteorder::{ByteOrder, LittleEndian};

/// Which kernels a model runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Plain Rust; every target has it.
    Portable,
}

impl Backend {
    /// Its name, as `model info` prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
        }
    }
}

/// Little-endian f32 weights as they lie in the file, at any address.
pub(crate) type Weights<'a> = &'a [[u8; 4]];

/// One weight, on a machine of any byte order.
#[inline(always)]
pub(crate) fn weight(bytes: &[u8; 4]) -> f32 {
    LittleEndian::read_f32(bytes)
}

/// A matrix product whose left rows may overlap: row r is `x[r * stride..][..depth]`.
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
    pub(crate) columns: core::num::NonZeroUsize,
}

/// What a backend implements. A convolution is a product with overlapping rows (a window of
/// time-major activations is contiguous), a dense layer a product of one row.
pub(crate) trait Kernel {
    /// `y[r, c] += Σ_i x[r, i] · w[i, c]` for all rows; `y` is `[rows, columns]` row-major.
    /// `None` when a slice is too short, a defect of the caller.
    fn multiply_add(product: Product<'_>, y: &mut [f32]) -> Option<()>;
}

/// Plain Rust in a shape that compilers vectorise.
pub(crate) struct Portable;

impl Kernel for Portable {
    fn multiply_add(product: Product<'_>, y: &mut [f32]) -> Option<()> {
        let columns = product.columns.get();
        let mut row = 0;
        while row + 4 <= product.rows {
            let y = y.get_mut(row * columns..)?;
            tile_rows::<4>(product, product.x.get(row * product.stride..)?, y)?;
            row += 4;
        }
        while row < product.rows {
            let y = y.get_mut(row * columns..)?;
            tile_rows::<1>(product, product.x.get(row * product.stride..)?, y)?;
            row += 1;
        }
        Some(())
    }
}

/// R rows, all columns.
fn tile_rows<const R: usize>(product: Product<'_>, x: &[f32], y: &mut [f32]) -> Option<()> {
    let columns = product.columns.get();
    let mut column = 0;
    while column + 8 <= columns {
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
