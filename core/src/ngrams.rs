//! What the layer `ngrams` adds to the logit: a linear model of hashed n-grams, one for each region
//! of a URL.
//!
//! It knows pieces of text by heart, and in which part of a URL they stand, many more than
//! `trigrams` has room for, and costs no multiply-add: a look-up for each n-gram. Weights are bytes
//! in f32 models, too: the table is fitted apart from the network and may be most of a file, and
//! integers have the same sum in any order.

use crate::kernel::{Weights, weight};
use crate::tokens::{MASK_ID, Token};
use crate::url::Part;

/// FNV-1a's prime for 32 bits (Fowler, Noll, Vo).
const PRIME: u32 = 0x0100_0193;
/// The registered name, sub-domains, path and query.
pub(crate) const REGIONS: usize = 4;
/// What all but the name may take off the logit, each: around a name stands what its owner likes,
/// and ordinary text there is little of an excuse.
const EXCUSE: f32 = 1.0;

/// One weight for each row of a table of hashed n-grams.
#[derive(Clone, Debug)]
pub(crate) struct Ngrams<'a> {
    /// Signed bytes; a power of two of them.
    pub(crate) table: &'a [u8],
    /// f32, one for the sums of each region. (As they lie in the file: stacks may be small.)
    pub(crate) scales: Weights<'a>,
    /// Ids of the shortest and of the longest n-grams, 1 to 8.
    pub(crate) orders: [u8; 2],
}

/// What is known of a region's n-grams.
#[derive(Clone, Copy, Default)]
struct Sum {
    positions: u32,
    /// Far from overflow: 65,537 positions of 8 n-grams of −128 to 127.
    weights: i32,
}

/// What is known in front of a token.
#[derive(Default)]
struct Seen {
    /// The ids before it in 16 bits each, the newest lowest; 0, as of a byte NUL, where there is none.
    ids: u128,
    /// The region of the newest.
    region: usize,
    sums: [Sum; REGIONS],
}

impl Ngrams<'_> {
    /// What the logit of these tokens gets. `None` when the table lacks a row, which loading
    /// excludes.
    pub(crate) fn logit(&self, mut tokens: impl Iterator<Item = Token>) -> Option<f32> {
        let mut seen = Seen::default();
        tokens.try_for_each(|token| {
            seen.region = region(token.part);
            // Above all ids, so that the same text in another part is another n-gram.
            self.next(&mut seen, token.id, (token.part as u32 + 1) << u16::BITS)
        })?;
        self.next(&mut seen, 0, 0)?;
        let [shortest, longest] = self.orders.map(u32::from);
        let mut added = 0.0;
        for (region, (sum, scale)) in seen.sums.iter().zip(self.scales).enumerate() {
            if sum.positions == 0 {
                continue;
            }
            // The root is the length of the vector of counts where no n-gram is there twice.
            let count = sum.positions * (longest - shortest + 1);
            let mine = sum.weights as f32 / libm::sqrtf(count as f32) * weight(scale);
            added += if region == 0 { mine } else { mine.max(-EXCUSE) };
        }
        Some(added)
    }

    /// Adds the weights of the n-grams that end at the next position, whose hashes begin with
    /// `hash`.
    fn next(&self, seen: &mut Seen, id: u16, mut hash: u32) -> Option<()> {
        seen.ids = (seen.ids << u16::BITS) | u128::from(id);
        let sum = seen.sums.get_mut(seen.region)?;
        sum.positions += 1;
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
            sum.weights += i32::from(*self.table.get(row)? as i8);
        }
        Some(())
    }
}

/// Which of the `REGIONS` a part belongs to.
const fn region(part: Part) -> usize {
    match part {
        Part::Scheme | Part::Registrable | Part::Suffix | Part::Port => 0,
        Part::UserInfo | Part::Subdomain => 1,
        Part::Path => 2,
        Part::Query | Part::Fragment => 3,
    }
}

/// `MurmurHash3`'s finaliser (Appleby): spreads all bits of the hash over the lower ones.
const fn mix(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}
