//! int8 models: the same bits on every target, because nothing but integers is added.
//!
//! - Activations of the sequence are 0 to 127: seven bits, so that they are valid as signed and
//!   as unsigned bytes, and a pair of products fits 16 bits (every instruction set has such a
//!   product, and none saturates).
//! - A convolution's sums are i32 and wrap. `requantise` brings them back to seven bits.
//! - The dense layers read 16-bit activations: they are few, and the pooled means need the bits.
//!
//! `docs/model-file.md` has the formulas; `kernel/int8.rs` does the convolutions.

use crate::kernel::{Convolve, Kernels, MAX, Residual, integer, requantise, weight};
use crate::layers::{Activation, Convolution, Dense, Embedding, Padding};
use crate::network::Numbers;
use crate::tokens::Token;
use core::num::NonZeroUsize;

/// int8 weights and activations.
#[derive(Clone, Copy)]
pub(crate) struct Int8(pub(crate) Kernels);

/// Pooled values are this much finer than the sequence's.
const POOLED: u32 = 256;

impl Numbers for Int8 {
    type Value = u8;
    type Sum = u32;
    type Wide = i16;
    const LOWEST: u8 = 0;

    fn embed(
        self,
        table: &Embedding<'_>,
        token: Token,
        trigram: usize,
        row: &mut [u8],
    ) -> Option<()> {
        let channels = table.channels.get();
        let row = row.get_mut(..channels)?;
        let character =
            table.characters.get(usize::from(token.id) * channels..)?.get(..channels)?;
        match (table.parts, table.trigrams) {
            (None, _) => row.iter_mut().zip(character).for_each(|(out, c)| *out = clamp(*c as i8)),
            (Some(parts), None) => {
                let part = parts.get(token.part as usize * channels..)?.get(..channels)?;
                for ((out, c), p) in row.iter_mut().zip(character).zip(part) {
                    *out = clamp((*c as i8).saturating_add(*p as i8));
                }
            }
            (Some(parts), Some(trigrams)) => {
                let part = parts.get(token.part as usize * channels..)?.get(..channels)?;
                let trigram = trigrams.get(trigram * channels..)?.get(..channels)?;
                for (((out, c), p), t) in row.iter_mut().zip(character).zip(part).zip(trigram) {
                    let sum = [c, p, t].map(|v| i16::from(*v as i8)).iter().sum::<i16>();
                    *out = sum.clamp(0, MAX.into()) as u8;
                }
            }
        }
        Some(())
    }

    fn pad(self, padding: Padding<'_>, rows: &mut [u8]) {
        match padding {
            Padding::Value(value) => rows.fill(value.min(MAX)),
            Padding::Row(row) => {
                for (out, value) in rows.iter_mut().zip(row.iter().cycle()) {
                    *out = clamp(*value as i8);
                }
            }
        }
    }

    fn convolve(
        self,
        layer: &Convolution<'_>,
        x: &[u8],
        rows: usize,
        pool: usize,
        y: &mut [u8],
    ) -> Option<()> {
        let stride = layer.inputs;
        // A window of neighbouring rows is one stretch of memory, as one long tap.
        let (taps, tap_length) = match layer.dilation {
            1 => (1, layer.kernel * stride),
            _ => (layer.kernel, stride),
        };
        let residual = match layer.add {
            false => None,
            true => {
                let centre = x.get((layer.padding_front() * stride).min(x.len())..)?;
                let (factor, offset) = layer.residual.split_at_checked(layer.outputs.get())?;
                Some(Residual { centre, factor, offset })
            }
        };
        let job = Convolve {
            x,
            stride,
            rows,
            pool: NonZeroUsize::new(pool)?,
            taps,
            tap_stride: layer.dilation * stride,
            groups: tap_length / 4,
            weight: layer.weight.as_chunks().0,
            bias: layer.bias,
            multiplier: layer.multiplier,
            columns: layer.outputs,
            relu: layer.activation == Activation::Relu,
            residual,
            zero: layer.zero,
            indices: layer.table.is_some(),
        };
        self.0.convolve(&job, y)?;
        if let Some(table) = layer.table {
            self.0.look_up(table, y);
        }
        Some(())
    }

    fn larger(a: u8, b: u8) -> u8 {
        a.max(b)
    }

    fn pool(self, rows: &[u8], maxima: &mut [u8], sums: &mut [u32]) {
        self.0.pool(rows, maxima, sums);
    }

    fn widen(value: u8, pooled: bool) -> i16 {
        i16::from(value) << if pooled { POOLED.trailing_zeros() } else { 0 }
    }

    /// Rounded: ⌊(256 · sum + n / 2) / n⌋ for n positions.
    ///
    /// Divided by a multiplication with ⌈2⁴⁸ / n⌉, which is less than n / 2⁴⁸ too large in its
    /// unit: times 256 · sum + n / 2, below 2³², and with n at most 2¹⁶, it never reaches the
    /// next whole number, of which n-ths fall short by 1 / n at least.
    fn means(sums: &[u32], positions: NonZeroUsize, means: &mut [i16]) {
        let positions = positions.get() as u32;
        let inverse = (1_u64 << 48).div_ceil(u64::from(positions.max(1)));
        for (mean, sum) in means.iter_mut().zip(sums) {
            let scaled = sum.wrapping_mul(POOLED).wrapping_add(positions / 2);
            *mean = (u64::from(scaled).wrapping_mul(inverse) >> 48).min(i16::MAX as u64) as i16;
        }
    }

    fn dense(self, layer: &Dense<'_>, x: &[i16], y: &mut [i16]) -> Option<()> {
        let mut outputs = layer.bias.iter().zip(layer.multiplier).zip(y);
        for rows in layer.weight.chunks(layer.inputs.saturating_mul(4).max(1)) {
            for (sum, ((bias, multiplier), y)) in self.0.dots(x, rows).into_iter().zip(&mut outputs)
            {
                let value = requantise(sum.wrapping_add(integer(bias)), integer(multiplier));
                *y = match (layer.activation, layer.table.as_chunks::<4>().0) {
                    (Activation::Relu, _) => value.clamp(0, i16::MAX.into()) as i16,
                    (_, []) => value.clamp(-i32::from(i16::MAX), i16::MAX.into()) as i16,
                    (_, table) => {
                        let entry = table.get((value.clamp(-128, 127) + 128) as usize)?;
                        integer(entry).clamp(-i32::from(i16::MAX), i16::MAX.into()) as i16
                    }
                };
            }
        }
        Some(())
    }

    fn output(self, layer: &Dense<'_>, x: &[i16], _: &mut [i16]) -> Option<[f32; 2]> {
        let mut outputs = [0.0; 2];
        let sums = self.0.dots(x, layer.weight);
        for ((sum, out), (bias, scale)) in
            sums.iter().zip(&mut outputs).zip(layer.bias.iter().zip(layer.multiplier))
        {
            *out = sum.wrapping_add(integer(bias)) as f32 * weight(scale);
        }
        Some(outputs)
    }
}

/// An activation of the sequence from a signed byte.
fn clamp(value: i8) -> u8 {
    value.max(0) as u8
}
