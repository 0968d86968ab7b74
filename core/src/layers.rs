//! The layers of a model. `layers/read.rs` reads them from a file.

mod read;

use crate::kernel::tanh;
use crate::ngrams::Ngrams;
use crate::tokens::CharTable;
use core::num::NonZeroUsize;

/// Most convolutions and max-pools of a model.
pub(crate) const STAGES_MAX: usize = 16;
/// Most dense layers of a model.
pub(crate) const DENSE_MAX: usize = 6;

/// Element-wise function behind a convolution or dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Linear,
    Relu,
    Tanh,
    Sigmoid,
    /// Over the whole output vector; dense layers only.
    Softmax,
}

impl Activation {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "relu" => Some(Self::Relu),
            "tanh" => Some(Self::Tanh),
            "sigmoid" => Some(Self::Sigmoid),
            "softmax" => Some(Self::Softmax),
            _ => None,
        }
    }

    /// Applies itself in place, the same bits on every target: `exp` is libm's.
    #[inline(always)]
    pub(crate) fn apply(self, values: &mut [f32]) {
        match self {
            Self::Linear => {}
            Self::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
            Self::Tanh => values.iter_mut().for_each(|v| *v = tanh(*v)),
            Self::Sigmoid => values.iter_mut().for_each(|v| *v = 1.0 / (1.0 + libm::expf(-*v))),
            Self::Softmax => {
                let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                values.iter_mut().for_each(|v| *v = libm::expf(*v - max));
                let sum: f32 = values.iter().sum();
                values.iter_mut().for_each(|v| *v /= sum);
            }
        }
    }
}

/// Sum of a row of the character table, of the part table and of the trigram table. (Of f32 or of
/// signed bytes: `Numbers::embed` reads them.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embedding<'a> {
    pub(crate) characters: &'a [u8],
    pub(crate) parts: Option<&'a [u8]>,
    pub(crate) trigrams: Option<&'a [u8]>,
    /// The trigram table has 2^`trigram_bits` rows.
    pub(crate) trigram_bits: u32,
    pub(crate) table: CharTable<'a>,
    pub(crate) channels: NonZeroUsize,
}

/// What stands at positions outside the sequence: the activations that mean zero. (f32: 0.)
#[derive(Clone, Copy, Debug)]
pub(crate) enum Padding<'a> {
    /// Signed bytes, by channel: behind an int8 embedding.
    Row(&'a [u8]),
    /// The same in all channels.
    Value(u8),
}

/// A 1-D convolution over time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution<'a> {
    /// f32 (kernel, in, out); or signed bytes in the order of `kernel/int8.rs`.
    pub(crate) weight: &'a [u8],
    /// f32 or i32.
    pub(crate) bias: &'a [[u8; 4]],
    /// int8 only: of the sums, by column; not negative.
    pub(crate) multiplier: &'a [[u8; 4]],
    /// int8 with `add` only: factors, then offsets, by column.
    pub(crate) residual: &'a [[u8; 4]],
    /// int8 with tanh or sigmoid only: activations by requantised sum.
    pub(crate) table: Option<&'a [u8; 256]>,
    /// int8 only: the output that means zero.
    pub(crate) zero: u8,
    /// What stands outside the input.
    pub(crate) padding: Padding<'a>,
    /// A `maxpool 2` behind it, if it is computed together (int8), and whether that keeps an
    /// incomplete window.
    pub(crate) pool: Option<bool>,
    pub(crate) kernel: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: NonZeroUsize,
    pub(crate) dilation: usize,
    pub(crate) same: bool,
    pub(crate) activation: Activation,
    /// Adds the input behind the activation.
    pub(crate) add: bool,
}

impl Convolution<'_> {
    /// Positions that an output sees beyond its first one.
    pub(crate) const fn history(&self) -> usize {
        (self.kernel - 1) * self.dilation
    }

    /// Zero rows in front: the smaller half, as Keras.
    pub(crate) const fn padding_front(&self) -> usize {
        if self.same { self.history() / 2 } else { 0 }
    }

    /// Output positions that become one.
    pub(crate) const fn window(&self) -> NonZeroUsize {
        if self.pool.is_some() { TWO } else { NonZeroUsize::MIN }
    }

    /// Zero rows behind.
    pub(crate) const fn padding_behind(&self) -> usize {
        if self.same { self.history() - self.history() / 2 } else { 0 }
    }
}

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// A layer that turns a sequence into a sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage<'a> {
    Convolution(Convolution<'a>),
    /// Window and stride are `size`; `ceil` keeps an incomplete last window.
    MaxPool {
        size: NonZeroUsize,
        ceil: bool,
    },
}

/// How the sequence becomes one vector.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readout {
    /// Global pooling; maxima first.
    Pool { max: bool, average: bool },
    /// All positions, time-major; `length` values.
    Flatten { length: usize },
}

impl Readout {
    fn length(self, channels: NonZeroUsize) -> usize {
        match self {
            Self::Flatten { length } => length,
            Self::Pool { max, average } => {
                channels.get() * (usize::from(max) + usize::from(average))
            }
        }
    }
}

/// A fully connected layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dense<'a> {
    /// f32 (in, out); or signed bytes (out, in).
    pub(crate) weight: &'a [u8],
    /// f32 or i32.
    pub(crate) bias: &'a [[u8; 4]],
    /// int8 only: of the sums, by output, i32; in the last layer f32.
    pub(crate) multiplier: &'a [[u8; 4]],
    /// int8 with tanh or sigmoid only: 256 i32 by requantised sum.
    pub(crate) table: &'a [u8],
    pub(crate) inputs: usize,
    pub(crate) outputs: NonZeroUsize,
    pub(crate) activation: Activation,
}

/// All layers of a model, in the order in which they run.
#[derive(Clone, Debug)]
pub(crate) struct Layers<'a> {
    /// Weights and activations are integers.
    pub(crate) int8: bool,
    pub(crate) embedding: Embedding<'a>,
    pub(crate) stages: heapless::Vec<Stage<'a>, STAGES_MAX>,
    /// Channels behind the last stage.
    pub(crate) channels: NonZeroUsize,
    pub(crate) readout: Readout,
    pub(crate) dense: heapless::Vec<Dense<'a>, DENSE_MAX>,
    /// Beside the network: adds to the logit.
    pub(crate) ngrams: Option<Ngrams<'a>>,
}

impl Layers<'_> {
    /// Values of the vector that the readout gives.
    pub(crate) fn readout_length(&self) -> usize {
        self.readout.length(self.channels)
    }

    /// The longest vector that a dense layer reads or writes.
    pub(crate) fn widest(&self) -> usize {
        self.dense.iter().map(|d| d.outputs.get()).fold(self.readout_length(), usize::max)
    }

    /// The last dense layer's number of outputs and activation.
    pub(crate) fn last(&self) -> Option<(usize, Activation)> {
        self.dense.last().map(|d| (d.outputs.get(), d.activation))
    }

    /// Multiply-adds for an input of so many tokens, padding of `same` included.
    pub(crate) fn multiply_adds(&self, tokens: usize) -> u64 {
        let mut positions = tokens;
        let mut total = 0_u64;
        for stage in &self.stages {
            match stage {
                Stage::Convolution(c) => {
                    if !c.same {
                        positions = positions.saturating_sub(c.history());
                    }
                    let weights = c.kernel * c.inputs * c.outputs.get();
                    let products = (positions as u64).saturating_mul(weights as u64);
                    total = products.saturating_add(total);
                    match c.pool {
                        Some(true) => positions = positions.div_ceil(2),
                        Some(false) => positions /= 2,
                        None => {}
                    }
                }
                Stage::MaxPool { size, ceil: true, .. } => {
                    positions = positions.div_ceil(size.get())
                }
                Stage::MaxPool { size, ceil: false, .. } => positions /= *size,
            }
        }
        let dense = self.dense.iter().map(|d| d.inputs as u64 * d.outputs.get() as u64);
        dense.fold(total, u64::saturating_add)
    }
}
