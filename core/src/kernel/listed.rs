//! The one loop of int8 convolutions that skips, for all instruction sets alike.

use super::int8::{Group, Sums, Tile};

/// [`Tile::multiply_add_listed`]: checked before the loop, not in it.
#[inline(always)]
pub(super) fn multiply_add_listed<T: Tile, const B: usize>(
    tile: T,
    list: &[u16],
    first: usize,
    x: &[[u8; 4]],
    w: [&[Group]; B],
    sums: &mut [Sums<T>; B],
) {
    let (Some(start), Some(end)) = (list.first(), list.last()) else { return };
    let (start, end) = (usize::from(*start), usize::from(*end));
    if start < first || end >= x.len() || w.iter().any(|w| end - first >= w.len()) {
        return;
    }
    for &group in list {
        let group = usize::from(group);
        // SAFETY: the list ascends (`Scan`), so that no index lies outside the first's and the
        // last's, which are checked above.
        unsafe {
            let x = tile.activations(x.get_unchecked(group));
            for (w, sums) in w.iter().zip(&mut *sums) {
                *sums = tile.dot(*sums, x, w.get_unchecked(group - first));
            }
        }
    }
}
