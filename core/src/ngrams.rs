//! What the layer `ngrams` adds to the logit: a linear model of hashed n-grams.
//!
//! It knows pieces of text by heart, and in which part of a URL they stand, many more than
//! `trigrams` has room for, and costs no multiply-add: a look-up for each n-gram. Weights are bytes in f32 models, too: the table is fitted
//! apart from the network and may be most of a file, and integers have the same sum in any order.

use crate::kernel::weight;
use crate::tokens::{MASK_ID, Token};

/// FNV-1a's prime for 32 bits (Fowler, Noll, Vo).
const PRIME: u32 = 0x0100_0193;

/// One weight for each row of a table of hashed n-grams.
#[derive(Clone, Debug)]
pub(crate) struct Ngrams<'a> {
    /// Signed bytes; a power of two of them.
    pub(crate) table: &'a [u8],
    /// f32, of the sum. (As it lies in the file: stacks may be small.)
    pub(crate) scale: &'a [u8; 4],
    /// Ids of the shortest and of the longest n-grams, 1 to 8.
    pub(crate) orders: [u8; 2],
}

/// What is known in front of a token.
#[derive(Default)]
struct Seen {
    /// The ids before it in 16 bits each, the newest lowest; 0, as of a byte NUL, where there is none.
    ids: u128,
    positions: u32,
    /// Far from overflow: 65,537 positions of 8 n-grams of −128 to 127.
    sum: i32,
}

impl Ngrams<'_> {
    /// What the logit of these tokens gets. `None` when the table lacks a row, which loading
    /// excludes.
    pub(crate) fn logit(&self, mut tokens: impl Iterator<Item = Token>) -> Option<f32> {
        let mut seen = Seen::default();
        tokens.try_for_each(|token| self.next(&mut seen, token.id, part_of(token)))?;
        self.next(&mut seen, 0, 0)?;
        let [shortest, longest] = self.orders.map(u32::from);
        let count = seen.positions * (longest - shortest + 1);
        // The root is the length of the vector of counts where no n-gram is there twice.
        Some(seen.sum as f32 * weight(self.scale) / libm::sqrtf(count as f32))
    }

    /// Adds the weights of the n-grams that end at the next position, whose hashes begin with
    /// `hash`.
    fn next(&self, seen: &mut Seen, id: u16, mut hash: u32) -> Option<()> {
        seen.ids = (seen.ids << u16::BITS) | u128::from(id);
        seen.positions += 1;
        let [shortest, longest] = self.orders;
        let mut ids = seen.ids;
        for order in 1..=longest {
            let id = ids as u16;
            ids >>= u16::BITS;
            // Nothing is known of hidden bytes, nor of any longer n-gram.
            if id == MASK_ID {
                break;
            }
            hash = (hash ^ u32::from(id)).wrapping_mul(PRIME);
            if order < shortest {
                continue;
            }
            let row = mix(hash) as usize & self.table.len().wrapping_sub(1);
            seen.sum += i32::from(*self.table.get(row)? as i8);
        }
        Some(())
    }
}

/// What the hashes of the n-grams that end at this token begin with: above all ids, so that the same
/// text in another part of a URL is another n-gram.
fn part_of(token: Token) -> u32 {
    (token.part as u32 + 1) << u16::BITS
}

/// `MurmurHash3`'s finaliser (Appleby): spreads all bits of the hash over the lower ones.
const fn mix(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}
