//! Runs the layers over a URL's tokens, a tile of positions at a time.
//!
//! Each stage has a buffer of input rows (time-major, one row of channels per position) that
//! holds the history its kernel looks back on and one tile. A tile of tokens is embedded into
//! the first buffer and flows through all stages; what a stage has read for the last time is
//! dropped. Scratch memory therefore depends on the model and not on the URL.
//!
//! Padding in front (`keras-char`) gives rows that are all alike, and so do windows that see nothing
//! else: each stage keeps where they lie ([`Buffer::alike`]) and computes one row of them per tile.
//!
//! The way is the same for f32 and int8 models; [`Numbers`] is what differs.

use crate::Error;
use crate::layers::{Convolution, Dense, Embedding, Layers, Padding, Readout, STAGES_MAX, Stage};
use crate::scratch::round_up;
use crate::tokens::Token;
use crate::trigrams::Trigrams;
use core::cell::Cell;
use core::mem::size_of;
use core::num::NonZeroUsize;
use core::ops::Range;

/// The arithmetic of a model's layers.
pub(crate) trait Numbers: Copy {
    /// Activations of the sequence.
    type Value: bytemuck::Pod;
    /// Sums over all positions.
    type Sum: bytemuck::Pod;
    /// Activations of the dense layers.
    type Wide: bytemuck::Pod;
    /// Not above any other value.
    const LOWEST: Self::Value;

    /// Writes one token's vector; `trigram` is its row in that table. `None` when one has no such
    /// row, which loading excludes.
    fn embed(
        self,
        table: &Embedding<'_>,
        token: Token,
        trigram: usize,
        row: &mut [Self::Value],
    ) -> Option<()>;
    /// What stands at positions outside the sequence.
    fn pad(self, padding: Padding<'_>, rows: &mut [Self::Value]);
    /// `rows` output rows from `x` on; each `pool` of them become one row of `y`, their maximum.
    fn convolve(
        self,
        layer: &Convolution<'_>,
        x: &[Self::Value],
        rows: usize,
        pool: usize,
        y: &mut [Self::Value],
    ) -> Option<()>;
    /// The larger of two.
    fn larger(a: Self::Value, b: Self::Value) -> Self::Value;
    /// Global pooling: takes more rows into maxima and sums.
    fn pool(self, rows: &[Self::Value], maxima: &mut [Self::Value], sums: &mut [Self::Sum]);
    /// A value as the dense layers take it, behind pooling or flattening.
    fn widen(value: Self::Value, pooled: bool) -> Self::Wide;
    /// Means over positions as the dense layers take them.
    fn means(sums: &[Self::Sum], positions: NonZeroUsize, means: &mut [Self::Wide]);
    /// A hidden dense layer.
    fn dense(self, layer: &Dense<'_>, x: &[Self::Wide], y: &mut [Self::Wide]) -> Option<()>;
    /// The last dense layer.
    fn output(
        self,
        layer: &Dense<'_>,
        x: &[Self::Wide],
        spare: &mut [Self::Wide],
    ) -> Option<[f32; 2]>;
}

/// Positions that are embedded before the stages run on a microcontroller.
pub(crate) const SMALL_TILE: usize = 16;

/// A microcontroller, where flash and RAM are dearer than time.
pub(crate) const SMALL: bool = cfg!(all(target_os = "none", not(target_arch = "wasm32")));

/// Positions that are embedded before the stages run: more read the weights less often.
const TILE: usize = match SMALL {
    true => SMALL_TILE,
    false => 256,
};

/// Rows in each stage's buffer, then in the readout's.
///
/// In front of a stage wait what it still holds (at most its history, and for a pool an
/// incomplete window), what the stage before gives at once, and its padding behind the end.
fn capacities(layers: &Layers<'_>, tile: usize) -> impl Iterator<Item = Option<usize>> {
    let mut incoming = Some(tile);
    let mut stages = layers.stages.iter();
    let mut done = false;
    core::iter::from_fn(move || {
        let Some(stage) = stages.next() else {
            return (!core::mem::replace(&mut done, true)).then_some(incoming);
        };
        let (held, behind, window) = match stage {
            Stage::Convolution(c) => (c.history(), c.padding_behind(), c.window()),
            Stage::MaxPool { size, .. } => (0, 0, *size),
        };
        let new = incoming.and_then(|n| n.checked_add(behind)?.checked_add(window.get() - 1));
        incoming = new.map(|n| n.div_ceil(window.get()));
        Some(new.and_then(|n| n.checked_add(held)))
    })
}

/// Values that the readout keeps: all positions, or the maxima of each channel.
fn readout_values(layers: &Layers<'_>) -> usize {
    match layers.readout {
        Readout::Flatten { length } => length,
        Readout::Pool { .. } => layers.channels.get(),
    }
}

/// Scratch memory in bytes, from the sizes in which [`run`] cuts it up.
pub(crate) fn scratch_len<N: Numbers>(layers: &Layers<'_>) -> Option<usize> {
    scratch_len_of::<N>(layers, TILE)
}

/// The same for tiles of another size.
pub(crate) fn scratch_len_of<N: Numbers>(layers: &Layers<'_>, tile: usize) -> Option<usize> {
    let bytes = |count: usize, size| round_up(count.checked_mul(size)?);
    let mut total = 0_usize;
    let mut channels = layers.embedding.channels.get();
    let mut stages = layers.stages.iter();
    for rows in capacities(layers, tile) {
        let values = rows?.checked_mul(channels)?;
        total = total.checked_add(bytes(values, size_of::<N::Value>())?)?;
        if let Some(Stage::Convolution(convolution)) = stages.next() {
            channels = convolution.outputs.get();
        }
    }
    let readout = bytes(readout_values(layers), size_of::<N::Value>())?;
    let sums = bytes(channels, size_of::<N::Sum>())?;
    let wide = bytes(layers.widest(), size_of::<N::Wide>())?;
    total.checked_add(readout)?.checked_add(sums)?.checked_add(wide.checked_mul(2)?)
}

/// Rows waiting in front of a stage.
struct Buffer<'s, V> {
    values: &'s mut [V],
    channels: NonZeroUsize,
    rows: usize,
    /// Rows that are all the same, because they come from padding alone.
    alike: Range<usize>,
}

impl<V: Copy> Buffer<'_, V> {
    /// Appends `rows` rows, whose content is for the caller to write.
    fn extend(&mut self, rows: usize) -> Option<&mut [V]> {
        let start = self.rows * self.channels.get();
        let end = start + rows * self.channels.get();
        let new = self.values.get_mut(start..end)?;
        self.rows += rows;
        Some(new)
    }

    /// Drops the first `rows` rows.
    fn consume(&mut self, rows: usize) -> Option<()> {
        let from = rows * self.channels.get();
        let end = self.rows * self.channels.get();
        // (Optimised for size, `copy_within` would keep a panic.)
        let values = Cell::from_mut(&mut *self.values).as_slice_of_cells();
        for (to, value) in values.iter().zip(values.get(from..end)?) {
            to.set(value.get());
        }
        self.rows -= rows;
        self.alike = self.alike.start.saturating_sub(rows)..self.alike.end.saturating_sub(rows);
        Some(())
    }

    /// What the stage before has appended at `rows` is all the same, too.
    fn add_alike(&mut self, rows: Range<usize>) {
        if self.alike.is_empty() {
            self.alike = rows;
        } else if self.alike.end == rows.start {
            self.alike.end = rows.end;
        }
    }

    /// Appends the last row `count` times more.
    fn repeat_last(&mut self, count: usize) -> Option<()> {
        let width = self.channels.get();
        let last = self.rows.checked_sub(1)? * width;
        self.extend(count)?;
        let (row, copies) =
            self.values.get_mut(last..self.rows * width)?.split_at_mut_checked(width)?;
        for copy in copies.chunks_exact_mut(width) {
            copy.iter_mut().zip(&*row).for_each(|(to, value)| *to = *value);
        }
        Some(())
    }

    fn filled(&self) -> Option<&[V]> {
        self.values.get(..self.rows * self.channels.get())
    }
}

/// Cuts `length` values, rounded up to whole blocks, off the front.
fn cut<'s, T: bytemuck::Pod>(scratch: &mut &'s mut [u8], length: usize) -> Option<&'s mut [T]> {
    let bytes = length.checked_mul(size_of::<T>())?;
    let (front, rest) = core::mem::take(scratch).split_at_mut_checked(round_up(bytes)?)?;
    *scratch = rest;
    bytemuck::try_cast_slice_mut(front.get_mut(..bytes)?).ok()
}

/// The first two outputs of the last dense layer. `scratch` has [`scratch_len`] bytes.
pub(crate) fn run<N: Numbers>(
    numbers: N,
    layers: &Layers<'_>,
    tokens: impl Iterator<Item = Token>,
    scratch: &mut [u8],
) -> Result<[f32; 2], Error> {
    run_checked(numbers, layers, tokens, scratch).ok_or(Error::Internal)
}

/// As [`run`]; `None` where a size does not fit, which would be a defect of this file.
fn run_checked<N: Numbers>(
    numbers: N,
    layers: &Layers<'_>,
    tokens: impl Iterator<Item = Token>,
    mut scratch: &mut [u8],
) -> Option<[f32; 2]> {
    let mut buffers = heapless::Vec::<Buffer<'_, N::Value>, { STAGES_MAX + 1 }>::new();
    let mut channels = layers.embedding.channels;
    let mut stages = layers.stages.iter();
    for rows in capacities(layers, TILE) {
        let values = cut(&mut scratch, rows? * channels.get())?;
        let mut buffer = Buffer { values, channels, rows: 0, alike: 0..0 };
        if let Some(Stage::Convolution(convolution)) = stages.next() {
            numbers.pad(convolution.padding, buffer.extend(convolution.padding_front())?);
            channels = convolution.outputs;
        }
        buffers.push(buffer).ok()?;
    }
    let readout = cut(&mut scratch, readout_values(layers))?;
    let sums = cut(&mut scratch, channels.get())?;
    let mut vector = cut(&mut scratch, layers.widest())?;
    let mut spare = cut(&mut scratch, layers.widest())?;
    readout.fill(N::LOWEST);
    sums.fill(bytemuck::Zeroable::zeroed());
    let mut sequence = Sequence { numbers, layers, buffers, readout, sums, positions: 0 };

    let mut pending = 0;
    let mut trigrams = Trigrams::default();
    // (Not a `for` loop: from inside, a chain of iterators is a loop for each.)
    let mut tokens = tokens;
    tokens.try_for_each(|token| {
        if pending == TILE {
            sequence.advance()?;
            pending = 0;
        }
        let buffer = sequence.buffers.first_mut()?;
        if token.at == usize::MAX {
            buffer.add_alike(buffer.rows..buffer.rows + 1); // padding
        }
        let row = buffer.extend(1)?;
        pending += 1;
        let trigram = trigrams.next(token.id, layers.embedding.trigram_bits);
        numbers.embed(&layers.embedding, token, trigram, row)
    })?;
    sequence.finish()?;
    sequence.widen(vector)?;

    let mut length = layers.readout_length();
    let (last, hidden) = layers.dense.split_last()?;
    for layer in hidden {
        numbers.dense(layer, vector.get(..length)?, spare)?;
        length = layer.outputs.get();
        core::mem::swap(&mut vector, &mut spare);
    }
    numbers.output(last, vector.get(..length)?, spare)
}

/// The layers that work on a sequence, with their state.
struct Sequence<'s, 'l, N: Numbers> {
    numbers: N,
    layers: &'l Layers<'l>,
    /// In front of each stage, and of the readout.
    buffers: heapless::Vec<Buffer<'s, N::Value>, { STAGES_MAX + 1 }>,
    /// Maxima of each channel, or all positions.
    readout: &'s mut [N::Value],
    sums: &'s mut [N::Sum],
    /// Positions that the readout has seen.
    positions: usize,
}

impl<N: Numbers> Sequence<'_, '_, N> {
    /// Runs all stages over what waits in front of them, then the readout.
    fn advance(&mut self) -> Option<()> {
        for stage in 0..self.layers.stages.len() {
            self.run(stage, false)?;
        }
        self.read_out()
    }

    /// Ends the sequence: each stage's padding behind it, and an incomplete last window.
    fn finish(&mut self) -> Option<()> {
        for (i, stage) in self.layers.stages.iter().enumerate() {
            if let Stage::Convolution(layer) = stage {
                let rows = self.buffers.get_mut(i)?.extend(layer.padding_behind())?;
                self.numbers.pad(layer.padding, rows);
            }
            self.run(i, true)?;
        }
        self.read_out()
    }

    /// Runs one stage over what waits in front of it; at the end, over an incomplete window too.
    fn run(&mut self, stage: usize, end: bool) -> Option<()> {
        let [input, output, ..] = self.buffers.get_mut(stage..)? else { return None };
        match self.layers.stages.get(stage)? {
            Stage::Convolution(layer) => {
                let window = layer.window();
                let rows = input.rows.saturating_sub(layer.history());
                let left = rows % window;
                self.convolve(stage, rows - left, window.get())?;
                if end && left > 0 && layer.pool == Some(true) {
                    self.convolve(stage, left, left)?;
                }
            }
            Stage::MaxPool { size, ceil } => {
                max_pool::<N>(input, output, *size, input.rows / *size)?;
                if let Some(last) = NonZeroUsize::new(input.rows).filter(|_| end && *ceil) {
                    max_pool::<N>(input, output, last, 1)?;
                }
            }
        }
        Some(())
    }

    /// `rows` output rows, each `pool` of them pooled into one.
    fn convolve(&mut self, stage: usize, rows: usize, pool: usize) -> Option<()> {
        let [input, output, ..] = self.buffers.get_mut(stage..)? else { return None };
        let Stage::Convolution(layer) = self.layers.stages.get(stage)? else { return None };
        let (numbers, old) = (self.numbers, output.rows);
        let part = |from: usize, to: usize, output: &mut Buffer<'_, N::Value>| {
            let y = output.extend((to - from).checked_div(pool)?)?;
            let x = input.filled()?.get(from * input.channels.get()..)?;
            if to > from { numbers.convolve(layer, x, to - from, pool, y) } else { Some(()) }
        };
        // Pools of windows that see nothing but rows that are alike.
        let start = input.alike.start.div_ceil(pool);
        let end = input.alike.end.saturating_sub(layer.history()).min(rows) / pool;
        if end > start + 1 {
            part(0, (start + 1) * pool, output)?;
            output.repeat_last(end - start - 1)?;
            part(end * pool, rows, output)?;
            output.add_alike(old + start..old + end);
        } else {
            part(0, rows, output)?;
        }
        input.consume(rows)
    }

    fn read_out(&mut self) -> Option<()> {
        let channels = self.layers.channels;
        let buffer = self.buffers.last_mut()?;
        match self.layers.readout {
            // (Both, whatever the model reads: it costs next to nothing.)
            Readout::Pool { .. } => self.numbers.pool(buffer.filled()?, self.readout, self.sums),
            Readout::Flatten { .. } => {
                let rows = buffer.filled()?.chunks_exact(channels.get());
                let all = self.readout.get_mut(self.positions * channels.get()..)?;
                for (out, row) in all.chunks_exact_mut(channels.get()).zip(rows) {
                    out.iter_mut().zip(row).for_each(|(o, v)| *o = *v);
                }
            }
        }
        self.positions += buffer.rows;
        buffer.rows = 0;
        Some(())
    }

    /// The vector that the dense layers read.
    fn widen(&self, vector: &mut [N::Wide]) -> Option<()> {
        let (pooled, max, average) = match self.layers.readout {
            Readout::Pool { max, average } => (true, max, average),
            Readout::Flatten { .. } => (false, true, false),
        };
        let count = match (max, pooled) {
            (false, _) => 0,
            (_, true) => self.layers.channels.get(),
            (_, false) => self.readout.len(),
        };
        let (maxima, means) = vector.split_at_mut_checked(count)?;
        for (wide, value) in maxima.iter_mut().zip(&*self.readout) {
            *wide = N::widen(*value, pooled);
        }
        if average {
            N::means(self.sums, NonZeroUsize::new(self.positions)?, means);
        }
        Some(())
    }
}

/// Pools the first `windows` windows of `size` rows.
fn max_pool<N: Numbers>(
    input: &mut Buffer<'_, N::Value>,
    output: &mut Buffer<'_, N::Value>,
    size: NonZeroUsize,
    windows: usize,
) -> Option<()> {
    let channels = input.channels;
    let window = NonZeroUsize::new(size.get() * channels.get())?;
    let x = input.filled()?.chunks_exact(window.get());
    let alike = input.alike.start.div_ceil(size.get())..(input.alike.end / size).min(windows);
    let old = output.rows;
    if !alike.is_empty() {
        output.add_alike(old + alike.start..old + alike.end);
    }
    let y = output.extend(windows)?.chunks_exact_mut(channels.get());
    for (window, y) in x.zip(y) {
        y.fill(N::LOWEST);
        for row in window.chunks_exact(channels.get()) {
            y.iter_mut().zip(row).for_each(|(y, x)| *y = N::larger(*y, *x));
        }
    }
    input.consume(windows * size.get())
}
