//! f32 models: `kernel/float.rs` does the products, this file the rest.

use crate::kernel::{Kernels, Product, weight, weights};
use crate::layers::{Convolution, Dense, Embedding, Padding};
use crate::network::Numbers;
use crate::tokens::Token;
use core::num::NonZeroUsize;

/// f32 throughout. All backends add in the same order.
#[derive(Clone, Copy)]
pub(crate) struct Float(pub(crate) Kernels);

impl Numbers for Float {
    type Value = f32;
    type Sum = f32;
    type Wide = f32;
    const LOWEST: f32 = f32::NEG_INFINITY;

    fn embed(
        self,
        table: &Embedding<'_>,
        token: Token,
        trigram: usize,
        row: &mut [f32],
    ) -> Option<()> {
        let channels = table.channels.get();
        let characters = weights(table.characters).get(usize::from(token.id) * channels..)?;
        for (out, w) in row.iter_mut().zip(characters) {
            *out = weight(w);
        }
        for (rows, at) in [(table.parts, token.part as usize), (table.trigrams, trigram)] {
            let Some(rows) = rows else { continue };
            for (out, w) in row.iter_mut().zip(weights(rows).get(at * channels..)?) {
                *out += weight(w);
            }
        }
        Some(())
    }

    fn pad(self, _: Padding<'_>, rows: &mut [f32]) {
        rows.fill(0.0);
    }

    fn convolve(
        self,
        layer: &Convolution<'_>,
        x: &[f32],
        rows: usize,
        _: usize,
        y: &mut [f32],
    ) -> Option<()> {
        let stride = layer.inputs;
        // A window of neighbouring rows is one stretch of memory, as one long tap.
        let taps = if layer.dilation == 1 { 1 } else { layer.kernel };
        let product = Product {
            x,
            stride,
            rows,
            taps: NonZeroUsize::new(taps)?,
            tap_stride: layer.dilation * stride,
            w: weights(layer.weight),
            bias: layer.bias,
            columns: layer.outputs,
            activation: layer.activation,
        };
        self.0.multiply_add(&product, y)?;
        if layer.add {
            let centre = x.get((layer.padding_front() * stride).min(x.len())..)?;
            y.iter_mut().zip(centre).for_each(|(y, x)| *y += x);
        }
        Some(())
    }

    // (Not `max`, whose way with NaN takes three instructions.)
    fn larger(a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }

    fn pool(self, rows: &[f32], maxima: &mut [f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len().max(1)) {
            maxima.iter_mut().zip(row).for_each(|(m, v)| *m = Self::larger(*m, *v));
            sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
    }

    fn widen(value: f32, _: bool) -> f32 {
        value
    }

    fn means(sums: &[f32], positions: NonZeroUsize, means: &mut [f32]) {
        means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = sum / positions.get() as f32);
    }

    fn dense(self, layer: &Dense<'_>, x: &[f32], y: &mut [f32]) -> Option<()> {
        let y = y.get_mut(..layer.outputs.get())?;
        let product = Product {
            x,
            stride: layer.inputs,
            rows: 1,
            taps: NonZeroUsize::MIN,
            tap_stride: 0,
            w: weights(layer.weight),
            bias: layer.bias,
            columns: layer.outputs,
            activation: layer.activation,
        };
        self.0.multiply_add(&product, y)
    }

    fn output(self, layer: &Dense<'_>, x: &[f32], spare: &mut [f32]) -> Option<[f32; 2]> {
        self.dense(layer, x, spare)?;
        Some([*spare.first()?, spare.get(1).copied().unwrap_or_default()])
    }
}
