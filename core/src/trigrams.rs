//! The row of a byte's trigram in `embed.trigrams`: a hash of the byte and of the two before it.
//!
//! A table of a few thousand rows remembers pieces of text that convolutions of this size have no
//! room for, and costs no multiplication. Trigrams that share a row learn a common vector.

/// FNV-1a's prime for 32 bits (Fowler, Noll, Vo).
const PRIME: u32 = 0x0100_0193;
/// A prime near 2³² over the golden ratio (Knuth, TAOCP 6.4): its product spreads all bits of the
/// hash over the upper ones.
const GOLDEN: u32 = 0x9E37_79B1;

/// The two token ids before the next one; 0, as of a byte NUL, where there is none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trigrams([u16; 2]);

impl Trigrams {
    /// Takes the next token id. The row of its trigram in a table of 2^`bits` rows, `bits` 1 to 16.
    pub(crate) fn next(&mut self, id: u16, bits: u32) -> usize {
        let Self([first, second]) = *self;
        *self = Self([second, id]);
        let hash = [first, second, id]
            .into_iter()
            .fold(0_u32, |hash, id| (hash ^ u32::from(id)).wrapping_mul(PRIME));
        let mixed = (hash ^ (hash >> 15)).wrapping_mul(GOLDEN);
        mixed.unbounded_shr(u32::BITS.saturating_sub(bits)) as usize
    }
}
