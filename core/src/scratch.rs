//! Scratch memory that the caller lends.

use core::mem::size_of;

/// 16 bytes, aligned to 16: an array of these is scratch memory.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub struct Block([u8; 16]);

impl Block {
    /// Zeros, for a `static` array.
    pub const ZERO: Self = Self([0; 16]);
}

/// The bytes of an array of blocks.
#[must_use]
pub fn as_bytes(blocks: &[Block]) -> &[u8] {
    bytemuck::cast_slice(blocks)
}

/// The bytes of an array of blocks, to write to.
#[must_use]
pub fn as_bytes_mut(blocks: &mut [Block]) -> &mut [u8] {
    bytemuck::cast_slice_mut(blocks)
}

/// Rounds a number of bytes up to whole blocks.
pub(crate) fn round_up(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(size_of::<Block>())
}
