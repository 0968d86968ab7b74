//! Scratch memory that the caller lends.

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

/// Rounds a number of f32 up to whole blocks.
pub(crate) const fn round_up(floats: usize) -> usize {
    floats.next_multiple_of(4)
}
