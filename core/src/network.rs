//! Runs the layers over a URL's tokens, a tile of positions at a time.
//!
//! Each stage has a buffer of input rows (time-major, one row of channels per position) that
//! holds the history its kernel looks back on and one tile. A tile of tokens is embedded into
//! the first buffer and flows through all stages; what a stage has read for the last time is
//! dropped. Scratch memory therefore depends on the model and not on the URL.

use crate::Error;
use crate::kernel::{Kernel, Product, weight};
use crate::layers::{Convolution, Dense, Layers, Readout, STAGES_MAX, Stage};
use crate::scratch::round_up;
use crate::tokens::Token;
use core::num::NonZeroUsize;

/// Positions that are embedded before the stages run.
const TILE: usize = 16;

/// Rows that stage `i` receives at once at most, then those of the readout.
///
/// A convolution passes on as many rows as it gets, a pool of size n at most one of n, rounded
/// up for what it still held.
fn tiles(layers: &Layers<'_>) -> impl Iterator<Item = usize> {
    let mut tile = TILE;
    let stages = layers.stages.iter().map(move |stage| {
        let own = tile;
        if let Stage::MaxPool { size, .. } = stage {
            tile = tile.div_ceil(size.get());
        }
        own
    });
    let last = layers.stages.iter().fold(TILE, |tile, stage| match stage {
        Stage::MaxPool { size, .. } => tile.div_ceil(size.get()),
        Stage::Convolution(_) => tile,
    });
    stages.chain([last])
}

/// Rows that a stage keeps from one tile to the next at most.
fn kept_rows(stage: &Stage<'_>) -> usize {
    match stage {
        Stage::Convolution(convolution) => convolution.history(),
        Stage::MaxPool { size, .. } => size.get() - 1,
    }
}

/// Scratch memory in f32, from the sizes in which [`run`] cuts it up.
pub(crate) fn scratch_floats(layers: &Layers<'_>) -> Option<usize> {
    let mut total = 0_usize;
    let mut channels = layers.embedding.channels;
    let mut tiles = tiles(layers);
    for stage in &layers.stages {
        let rows = kept_rows(stage).checked_add(tiles.next()?)?;
        total = total.checked_add(round_up(rows.checked_mul(channels.get())?))?;
        if let Stage::Convolution(convolution) = stage {
            channels = convolution.outputs;
        }
    }
    let readout = round_up(tiles.next()?.checked_mul(channels.get())?);
    let widest =
        layers.dense.iter().map(|d| d.outputs.get()).fold(layers.readout_length(), usize::max);
    total.checked_add(readout)?.checked_add(2 * round_up(widest))
}

/// Rows waiting in front of a stage.
struct Buffer<'s> {
    values: &'s mut [f32],
    channels: NonZeroUsize,
    rows: usize,
}

impl Buffer<'_> {
    /// Appends `rows` rows, filled with zeros.
    fn extend(&mut self, rows: usize) -> Option<&mut [f32]> {
        let start = self.rows * self.channels.get();
        let end = start + rows * self.channels.get();
        let new = self.values.get_mut(start..end)?;
        new.fill(0.0);
        self.rows += rows;
        Some(new)
    }

    /// Drops the first `rows` rows.
    fn consume(&mut self, rows: usize) -> Option<()> {
        let from = rows * self.channels.get();
        let end = self.rows * self.channels.get();
        if from > end || end > self.values.len() {
            return None;
        }
        self.values.copy_within(from..end, 0);
        self.rows -= rows;
        Some(())
    }

    fn filled(&self) -> Option<&[f32]> {
        self.values.get(..self.rows * self.channels.get())
    }
}

/// Cuts `length` values, rounded up to whole blocks, off the front.
fn cut<'s>(scratch: &mut &'s mut [f32], length: usize) -> Option<&'s mut [f32]> {
    let (front, rest) = core::mem::take(scratch).split_at_mut_checked(round_up(length))?;
    *scratch = rest;
    front.get_mut(..length)
}

/// The outputs of the last dense layer. `scratch` has [`scratch_floats`] values.
pub(crate) fn run<'s, K: Kernel>(
    layers: &Layers<'_>,
    tokens: impl Iterator<Item = Token>,
    scratch: &'s mut [f32],
) -> Result<&'s [f32], Error> {
    run_checked::<K>(layers, tokens, scratch).ok_or(Error::Internal)
}

/// As [`run`]; `None` where a size does not fit, which would be a defect of this file.
fn run_checked<'s, K: Kernel>(
    layers: &Layers<'_>,
    tokens: impl Iterator<Item = Token>,
    mut scratch: &'s mut [f32],
) -> Option<&'s [f32]> {
    let mut buffers = heapless::Vec::<Buffer<'_>, { STAGES_MAX + 1 }>::new();
    let mut channels = layers.embedding.channels;
    let mut tiles = tiles(layers);
    for stage in &layers.stages {
        let rows = kept_rows(stage) + tiles.next()?;
        let values = cut(&mut scratch, rows * channels.get())?;
        let mut buffer = Buffer { values, channels, rows: 0 };
        if let Stage::Convolution(convolution) = stage {
            buffer.extend(convolution.padding_front())?;
            channels = convolution.outputs;
        }
        buffers.push(buffer).ok()?;
    }
    let values = cut(&mut scratch, tiles.next()? * channels.get())?;
    buffers.push(Buffer { values, channels, rows: 0 }).ok()?;
    let (mut vector, mut spare) = scratch.split_at_mut_checked(scratch.len() / 2)?;
    let mut sequence = Sequence::<'_, '_> { layers, buffers, readout: vector, positions: 0 };
    sequence.start()?;

    let mut pending = 0;
    for token in tokens {
        let row = sequence.buffers.first_mut()?.extend(1)?;
        layers.embedding.look_up(token.id, token.part, row)?;
        pending += 1;
        if pending == TILE {
            sequence.advance::<K>(0)?;
            pending = 0;
        }
    }
    sequence.advance::<K>(0)?;
    for stage in 0..layers.stages.len() {
        sequence.finish::<K>(stage)?;
    }
    vector = sequence.finish_readout()?;

    let mut length = layers.readout_length();
    for layer in &layers.dense {
        dense::<K>(layer, vector.get(..length)?, spare)?;
        length = layer.outputs.get();
        core::mem::swap(&mut vector, &mut spare);
    }
    vector.get(..length)
}

/// The layers that work on a sequence, with their state.
struct Sequence<'s, 'l> {
    layers: &'l Layers<'l>,
    /// In front of each stage, and of the readout.
    buffers: heapless::Vec<Buffer<'s>, { STAGES_MAX + 1 }>,
    readout: &'s mut [f32],
    /// Positions that the readout has seen.
    positions: usize,
}

impl<'s> Sequence<'s, '_> {
    fn start(&mut self) -> Option<()> {
        let channels = self.layers.channels.get();
        if let Readout::Pool { max, .. } = self.layers.readout {
            let vector = self.readout.get_mut(..self.layers.readout_length())?;
            vector.fill(0.0);
            if max {
                vector.get_mut(..channels)?.fill(f32::NEG_INFINITY);
            }
        }
        Some(())
    }

    /// Runs the stages from `first` on over what waits in front of them, then the readout.
    fn advance<K: Kernel>(&mut self, first: usize) -> Option<()> {
        for (i, stage) in self.layers.stages.iter().enumerate().skip(first) {
            let [input, output, ..] = self.buffers.get_mut(i..)? else { return None };
            match stage {
                Stage::Convolution(layer) => convolution::<K>(layer, input, output)?,
                Stage::MaxPool { size, .. } => max_pool(input, output, *size, input.rows / *size)?,
            }
        }
        self.read_out()
    }

    /// Ends the input of one stage: padding behind it, or an incomplete last window.
    fn finish<K: Kernel>(&mut self, stage: usize) -> Option<()> {
        match self.layers.stages.get(stage)? {
            Stage::Convolution(layer) => {
                for _ in 0..layer.padding_behind() {
                    self.buffers.get_mut(stage)?.extend(1)?;
                    self.advance::<K>(stage)?;
                }
            }
            Stage::MaxPool { size, ceil, .. } => {
                let [input, output, ..] = self.buffers.get_mut(stage..)? else { return None };
                if *ceil && input.rows > 0 {
                    let last = NonZeroUsize::new(input.rows)?.min(*size);
                    max_pool(input, output, last, 1)?;
                    self.advance::<K>(stage + 1)?;
                }
            }
        }
        Some(())
    }

    fn read_out(&mut self) -> Option<()> {
        let channels = self.layers.channels;
        let buffer = self.buffers.last_mut()?;
        let rows = buffer.filled()?.chunks_exact(channels.get());
        match self.layers.readout {
            Readout::Pool { max, average } => {
                let vector = self.readout.get_mut(..self.layers.readout_length())?;
                let (maxima, sums) =
                    vector.split_at_mut_checked(if max { channels.get() } else { 0 })?;
                for row in rows {
                    maxima.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(*v));
                    if average {
                        sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                    }
                }
            }
            Readout::Flatten { .. } => {
                let vector = self.readout.get_mut(self.positions * channels.get()..)?;
                for (out, row) in vector.chunks_exact_mut(channels.get()).zip(rows) {
                    out.iter_mut().zip(row).for_each(|(o, v)| *o = *v);
                }
            }
        }
        self.positions += buffer.rows;
        buffer.rows = 0;
        Some(())
    }

    fn finish_readout(self) -> Option<&'s mut [f32]> {
        if let Readout::Pool { max, average: true } = self.layers.readout {
            let skip = if max { self.layers.channels.get() } else { 0 };
            let count = self.positions as f32;
            self.readout.iter_mut().skip(skip).for_each(|sum| *sum /= count);
        }
        Some(self.readout)
    }
}

fn convolution<K: Kernel>(
    layer: &Convolution<'_>,
    input: &mut Buffer<'_>,
    output: &mut Buffer<'_>,
) -> Option<()> {
    let rows = input.rows.saturating_sub(layer.history());
    let (stride, columns) = (layer.inputs, layer.outputs);
    let x = input.filled()?;
    let y = output.extend(rows)?;
    for out in y.chunks_exact_mut(columns.get()) {
        out.iter_mut().zip(layer.bias).for_each(|(o, b)| *o = weight(b));
    }
    if layer.dilation == 1 {
        K::multiply_add(Product { x, stride, rows, w: layer.weight, columns }, y)?;
    } else {
        let taps = NonZeroUsize::new(layer.inputs.checked_mul(columns.get())?)?;
        for (tap, w) in layer.weight.chunks_exact(taps.get()).enumerate() {
            let x = x.get((tap * layer.dilation * stride).min(x.len())..)?;
            K::multiply_add(Product { x, stride, rows, w, columns }, y)?;
        }
    }
    layer.activation.apply(y);
    if layer.add {
        let centre = x.get((layer.padding_front() * stride).min(x.len())..)?;
        y.iter_mut().zip(centre).for_each(|(y, x)| *y += x);
    }
    input.consume(rows)
}

/// Pools the first `windows` windows of `size` rows.
fn max_pool(
    input: &mut Buffer<'_>,
    output: &mut Buffer<'_>,
    size: NonZeroUsize,
    windows: usize,
) -> Option<()> {
    let channels = input.channels;
    let window = NonZeroUsize::new(size.get() * channels.get())?;
    let x = input.filled()?.chunks_exact(window.get());
    let y = output.extend(windows)?.chunks_exact_mut(channels.get());
    for (window, y) in x.zip(y) {
        y.fill(f32::NEG_INFINITY);
        for row in window.chunks_exact(channels.get()) {
            y.iter_mut().zip(row).for_each(|(y, x)| *y = y.max(*x));
        }
    }
    input.consume(windows * size.get())
}

fn dense<K: Kernel>(layer: &Dense<'_>, x: &[f32], y: &mut [f32]) -> Option<()> {
    let y = y.get_mut(..layer.outputs.get())?;
    y.iter_mut().zip(layer.bias).for_each(|(y, b)| *y = weight(b));
    let product =
        Product { x, stride: layer.inputs, rows: 1, w: layer.weight, columns: layer.outputs };
    K::multiply_add(product, y)?;
    layer.activation.apply(y);
    Some(())
}
