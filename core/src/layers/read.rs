//! Reads the layers from the metadata line `phishcnn.layers`, with every shape checked against the
//! tensors.
//!
//! ```text
//! line   = embed *("; " stage) "; " readout 1*("; " dense) ["; " ngrams]
//! embed  = "embed bytes+parts+trigrams" / "embed bytes+parts" / "embed bytes" / "embed chars"
//! stage  = "conv" NAME ("same" / "valid") ["dilation=" D] [activation] ["add"] / "maxpool" N ["ceil"]
//! readout= "pool" ("max" / "avg" / "max+avg") / "flatten"
//! dense  = "dense" NAME [activation / "softmax"]
//! ngrams = "ngrams" NAME A ".." B
//! activation = "relu" / "tanh" / "sigmoid"
//! ```
//! Words are separated by one space. Tensors, F32 row-major: `embed.bytes` (257, E),
//! `embed.parts` (9, E) and `embed.trigrams` (2^n, E), or `embed.chars` (V, E) with `chars` (V) of
//! U32; `NAME.weight` (kernel, in, out) or (in, out), and `NAME.bias` (out). With I8 embeddings the model
//! is an int8 one, whose tensors `Builder::int8_convolution` and `Builder::int8_dense` list. Those of
//! n-grams are the same in both: `Builder::ngrams`.

use super::{
    Activation, Convolution, Dense, Embedding, Layers, Padding, Readout, STAGES_MAX, Stage, TWO,
};
use crate::file::{Dtype, File};
use crate::kernel::{integer, weight, weights};
use crate::ngrams::{Ngrams, REGIONS};
use crate::text::{Split, number, split};
use crate::tokens::{BYTE_IDS, CharTable, Input};
use crate::url::Part;
use crate::{Error, LoadError};
use core::num::NonZeroUsize;

/// No dimension is larger, so that sizes cannot overflow 32 bits unnoticed.
const DIMENSION_MAX: usize = 1 << 16;
/// Most rows of a table of n-grams.
const NGRAM_ROWS_MAX: usize = 1 << 24;

struct Builder<'f, 'a> {
    file: &'f File<'a>,
    int8: bool,
    /// What stands outside the sequence so far.
    padding: Padding<'a>,
    /// One bit for each tensor that a layer has taken.
    used: u64,
    /// Positions of the sequence; `None` when it depends on the URL and may be as short as 1.
    length: Option<usize>,
}

impl<'a> Layers<'a> {
    /// Reads the line and takes its tensors; none may be left over. `one_logit`: what the last layer
    /// gives is the logit.
    pub(crate) fn read(
        line: &'a str,
        input: Input,
        one_logit: bool,
        file: &File<'a>,
    ) -> Result<Self, LoadError<'a>> {
        let length = match input {
            Input::UrlBytes { .. } => None,
            Input::KerasChar { length, .. } => Some(length),
        };
        let embedding = file.tensors.iter().find(|t| t.name.starts_with("embed."));
        let int8 = embedding.is_some_and(|t| t.dtype == Dtype::I8);
        let mut builder = Builder { file, int8, padding: Padding::Value(0), used: 0, length };
        let mut texts = split(line, b';');
        let unsupported = |text| LoadError::new(Error::Unsupported, text);
        let embedding = builder.embedding(texts.next().unwrap_or_default(), input)?;
        let mut channels = embedding.channels;
        // Filled in place: this is most of a model, and stacks may be small.
        let mut layers = Self {
            int8,
            embedding,
            stages: heapless::Vec::new(),
            channels,
            readout: Readout::Flatten { length: 0 },
            dense: heapless::Vec::new(),
            ngrams: None,
        };
        let mut readout = None;
        // (Words are counted, not stages: an int8 convolution takes its pool in.)
        for (count, text) in (1..).zip(texts.by_ref()) {
            let text = text.strip_prefix(' ').ok_or(unsupported(text))?;
            let mut words = split(text, b' ');
            let stage = match words.next() {
                Some("conv") => builder.convolution(text, words, channels)?,
                Some("maxpool") => builder.max_pool(text, words)?,
                _ => {
                    readout = Some(builder.readout(text, channels)?);
                    break;
                }
            };
            if count > STAGES_MAX {
                return Err(unsupported(text));
            }
            if let Stage::Convolution(convolution) = stage {
                channels = convolution.outputs;
            }
            match (stage, layers.stages.last_mut()) {
                (Stage::MaxPool { size: TWO, ceil }, Some(Stage::Convolution(c)))
                    if int8 && c.pool.is_none() && c.table.is_none() =>
                {
                    c.pool = Some(ceil);
                }
                _ => layers.stages.push(stage).map_err(|_| unsupported(text))?,
            }
        }
        let readout = readout.ok_or(unsupported(line))?;
        let mut width = readout.length(channels);
        let mut texts = texts.peekable();
        while let Some(text) = texts.next() {
            let text = text.strip_prefix(' ').ok_or(unsupported(text))?;
            let next = texts.peek();
            if text.starts_with("ngrams") {
                if next.is_some() || !one_logit || !matches!(input, Input::UrlBytes { .. }) {
                    return Err(unsupported(text));
                }
                layers.ngrams = Some(builder.ngrams(text)?);
                break;
            }
            let last = next.is_none_or(|next| next.starts_with(" ngrams"));
            let layer = builder.dense(text, width, last)?;
            width = layer.outputs.get();
            layers.dense.push(layer).map_err(|_| unsupported(text))?;
        }
        if layers.dense.is_empty() {
            return Err(unsupported(line));
        }
        let mut tensors = (0..).zip(&file.tensors);
        if let Some((_, unused)) = tensors.find(|(i, _)| builder.used & (1 << i) == 0) {
            return Err(unsupported(unused.name));
        }
        (layers.channels, layers.readout) = (channels, readout);
        Ok(layers)
    }
}

impl<'a> Builder<'_, 'a> {
    /// Takes a tensor; a `None` in `shape` fits any dimension. Answers its shape and elements.
    fn tensor<const RANK: usize>(
        &mut self,
        text: &'a str,
        name: (&str, &str),
        dtype: Dtype,
        shape: [Option<usize>; RANK],
    ) -> Result<([usize; RANK], &'a [u8]), LoadError<'a>> {
        self.tensor_of(text, name, dtype, shape, |dim| dim <= DIMENSION_MAX)
    }

    /// As [`tensor`](Self::tensor), with another rule for its dimensions.
    fn tensor_of<const RANK: usize>(
        &mut self,
        text: &'a str,
        name: (&str, &str),
        dtype: Dtype,
        shape: [Option<usize>; RANK],
        allowed: fn(usize) -> bool,
    ) -> Result<([usize; RANK], &'a [u8]), LoadError<'a>> {
        let full = |t: &str| t.strip_prefix(name.0).is_some_and(|rest| rest == name.1);
        let tensor = (0..).zip(&self.file.tensors).find(|(_, t)| full(t.name));
        let (index, tensor) = tensor.ok_or(LoadError::new(Error::Shape, text))?;
        let refuse = |error| Err(LoadError::new(error, tensor.name));
        if tensor.dtype != dtype || self.used & (1 << index) != 0 {
            return refuse(Error::Unsupported);
        }
        let Ok(dims) = <[usize; RANK]>::try_from(tensor.shape.as_slice()) else {
            return refuse(Error::Shape);
        };
        let fits = |(dim, want): (&usize, &Option<usize>)| want.is_none_or(|want| want == *dim);
        if !dims.iter().zip(&shape).all(fits) || !dims.iter().all(|&dim| allowed(dim)) {
            return refuse(Error::Shape);
        }
        if dtype == Dtype::F32 && !weights(tensor.data).iter().all(|e| weight(e).is_finite()) {
            return refuse(Error::NonFinite);
        }
        self.used |= 1 << index;
        Ok((dims, tensor.data))
    }

    fn has(&self, name: (&str, &str)) -> bool {
        let full = |t: &str| t.strip_prefix(name.0).is_some_and(|rest| rest == name.1);
        self.file.tensors.iter().any(|t| full(t.name))
    }

    /// I32 values by output, none negative.
    fn multipliers(
        &mut self,
        text: &'a str,
        name: &'a str,
        outputs: usize,
    ) -> Result<&'a [[u8; 4]], LoadError<'a>> {
        let name = (name, ".multiplier");
        let multiplier = weights(self.tensor(text, name, Dtype::I32, [Some(outputs)])?.1);
        match multiplier.iter().all(|m| integer(m) >= 0) {
            true => Ok(multiplier),
            false => Err(LoadError::new(Error::Unsupported, text)),
        }
    }

    fn weights<const RANK: usize>(
        &mut self,
        text: &'a str,
        name: (&str, &str),
        shape: [Option<usize>; RANK],
    ) -> Result<([usize; RANK], &'a [u8]), LoadError<'a>> {
        self.tensor(text, name, Dtype::F32, shape)
    }

    fn embedding(&mut self, text: &'a str, input: Input) -> Result<Embedding<'a>, LoadError<'a>> {
        let unsupported = LoadError::new(Error::Unsupported, text);
        let tables = text.strip_prefix("embed ").ok_or(unsupported)?;
        let (name, rows, table) = match (tables, input) {
            ("bytes" | "bytes+parts" | "bytes+parts+trigrams", Input::UrlBytes { .. }) => {
                (".bytes", BYTE_IDS, CharTable::default())
            }
            ("chars", Input::KerasChar { .. }) => {
                let ([ids], chars) = self.tensor(text, ("chars", ""), Dtype::U32, [None])?;
                let table = CharTable::new(chars);
                (".chars", ids, table.map_err(|e| LoadError::new(e, "chars"))?)
            }
            _ => return Err(unsupported),
        };
        let dtype = if self.int8 { Dtype::I8 } else { Dtype::F32 };
        let shape = [Some(rows), None];
        let ([_, width], characters) = self.tensor(text, ("embed", name), dtype, shape)?;
        let mut parts = None;
        if tables.starts_with("bytes+parts") {
            let shape = [Some(Part::COUNT), Some(width)];
            parts = Some(self.tensor(text, ("embed", ".parts"), dtype, shape)?.1);
        }
        let (mut trigrams, mut trigram_bits) = (None, 0);
        if tables == "bytes+parts+trigrams" {
            let shape = [None, Some(width)];
            let ([rows, _], table) = self.tensor(text, ("embed", ".trigrams"), dtype, shape)?;
            if !rows.is_power_of_two() || !(2..=DIMENSION_MAX).contains(&rows) {
                return Err(LoadError::new(Error::Shape, "embed.trigrams"));
            }
            (trigrams, trigram_bits) = (Some(table), rows.trailing_zeros());
        }
        if self.int8 {
            if !width.is_multiple_of(4) {
                return Err(LoadError::new(Error::Shape, text));
            }
            let zero = self.tensor(text, ("embed", ".zero"), Dtype::I8, [Some(width)])?.1;
            self.padding = Padding::Row(zero);
        }
        let channels = NonZeroUsize::new(width).ok_or(unsupported)?;
        Ok(Embedding { characters, parts, trigrams, trigram_bits, table, channels })
    }

    fn convolution(
        &mut self,
        text: &'a str,
        mut words: Split<'a>,
        channels: NonZeroUsize,
    ) -> Result<Stage<'a>, LoadError<'a>> {
        let unsupported = LoadError::new(Error::Unsupported, text);
        let shape = LoadError::new(Error::Shape, text);
        let name = words.next().unwrap_or_default();
        let same = match words.next() {
            Some("same") => true,
            Some("valid") => false,
            _ => return Err(unsupported),
        };
        let mut word = words.next();
        let mut dilation = 1;
        if let Some(d) = word.and_then(|w| w.strip_prefix("dilation=")) {
            dilation = number(d).filter(|d| (1..=DIMENSION_MAX).contains(d)).ok_or(unsupported)?;
            word = words.next();
        }
        let mut activation = Activation::Linear;
        if let Some(parsed) = word.and_then(Activation::parse) {
            activation = parsed;
            word = words.next();
        }
        let add = word == Some("add");
        if add {
            word = words.next();
        }
        if word.is_some() || activation == Activation::Softmax {
            return Err(unsupported);
        }
        let inputs = channels.get();
        let mut convolution = Convolution {
            weight: &[],
            bias: &[],
            multiplier: &[],
            residual: &[],
            table: None,
            zero: 0,
            padding: self.padding,
            pool: None,
            kernel: 0,
            inputs,
            outputs: channels,
            dilation,
            same,
            activation,
            add,
        };
        if self.int8 {
            self.int8_convolution(text, name, &mut convolution)?;
        } else {
            let dims = [None, Some(inputs), None];
            let ([kernel, _, outputs], weight) = self.weights(text, (name, ".weight"), dims)?;
            let bias = self.weights(text, (name, ".bias"), [Some(outputs)])?.1;
            convolution.outputs = NonZeroUsize::new(outputs).ok_or(shape)?;
            (convolution.kernel, convolution.weight) = (kernel, weight);
            convolution.bias = weights(bias);
        }
        let Convolution { kernel, outputs, .. } = convolution;
        // A sequence must keep at least one position, whatever the URL.
        if kernel == 0
            || convolution.history() > DIMENSION_MAX
            || (add && (!same || outputs != channels))
        {
            return Err(shape);
        }
        if !same {
            let left = self.length.and_then(|n| n.checked_sub(convolution.history()));
            self.length = Some(left.filter(|&n| n > 0).ok_or(shape)?);
        }
        Ok(Stage::Convolution(convolution))
    }

    /// `NAME.weight` I8 (out / 16, kernel · in / 4, 64), in the order of `kernel/int8.rs`;
    /// `NAME.bias` and `NAME.multiplier` I32 (out); with tanh or sigmoid `NAME.table` I8 (256);
    /// with `add` `NAME.residual` I32 (2, out); `NAME.zero` I8 (1) where zero is not 0.
    fn int8_convolution(
        &mut self,
        text: &'a str,
        name: &'a str,
        convolution: &mut Convolution<'a>,
    ) -> Result<(), LoadError<'a>> {
        let shape = LoadError::new(Error::Shape, text);
        let dims = [None, None, Some(64)];
        let ([blocks, groups, _], weight) =
            self.tensor(text, (name, ".weight"), Dtype::I8, dims)?;
        let outputs = blocks.checked_mul(16).filter(|&n| n <= DIMENSION_MAX).ok_or(shape)?;
        // (Channels are a multiple of four: the embedding's are, and a convolution's of 16.)
        let depth = groups * 4;
        convolution.kernel = depth.checked_div(convolution.inputs).unwrap_or_default();
        if convolution.kernel * convolution.inputs != depth {
            return Err(shape);
        }
        convolution.outputs = NonZeroUsize::new(outputs).ok_or(shape)?;
        convolution.weight = weight;
        let bias = self.tensor(text, (name, ".bias"), Dtype::I32, [Some(outputs)])?.1;
        convolution.bias = weights(bias);
        convolution.multiplier = self.multipliers(text, name, outputs)?;
        let curved = matches!(convolution.activation, Activation::Tanh | Activation::Sigmoid);
        if curved {
            if convolution.add {
                return Err(LoadError::new(Error::Unsupported, text));
            }
            let table = self.tensor(text, (name, ".table"), Dtype::I8, [Some(256)])?.1;
            convolution.table = table.first_chunk();
        }
        if convolution.add {
            let dims = [Some(2), Some(outputs)];
            let residual = self.tensor(text, (name, ".residual"), Dtype::I32, dims)?.1;
            convolution.residual = weights(residual);
        }
        if self.has((name, ".zero")) {
            let zero = self.tensor(text, (name, ".zero"), Dtype::I8, [Some(1)])?.1;
            convolution.zero = zero.first().copied().filter(|&z| z < 128).ok_or(shape)?;
        }
        self.padding = Padding::Value(convolution.zero);
        Ok(())
    }

    fn max_pool(
        &mut self,
        text: &'a str,
        mut words: Split<'a>,
    ) -> Result<Stage<'a>, LoadError<'a>> {
        let unsupported = LoadError::new(Error::Unsupported, text);
        let size = words.next().and_then(number).and_then(NonZeroUsize::new);
        let size = size.filter(|s| s.get() <= DIMENSION_MAX).ok_or(unsupported)?;
        let ceil = match words.next() {
            None => false,
            Some("ceil") => true,
            Some(_) => return Err(unsupported),
        };
        if words.next().is_some() {
            return Err(unsupported);
        }
        match &mut self.length {
            Some(length) if ceil => *length = length.div_ceil(size.get()),
            Some(length) => *length /= size,
            None => {}
        }
        if self.length == Some(0) || (self.length.is_none() && !ceil) {
            return Err(LoadError::new(Error::Shape, text));
        }
        Ok(Stage::MaxPool { size, ceil })
    }

    fn readout(&mut self, text: &'a str, channels: NonZeroUsize) -> Result<Readout, LoadError<'a>> {
        let (max, average) = match text {
            "pool max" => (true, false),
            "pool avg" => (false, true),
            "pool max+avg" => (true, true),
            "flatten" => {
                let length = self.length.and_then(|n| n.checked_mul(channels.get()));
                let length = length.filter(|&n| n <= DIMENSION_MAX);
                return match length {
                    Some(length) => Ok(Readout::Flatten { length }),
                    None => Err(LoadError::new(Error::Shape, text)),
                };
            }
            _ => return Err(LoadError::new(Error::Unsupported, text)),
        };
        Ok(Readout::Pool { max, average })
    }

    fn dense(
        &mut self,
        text: &'a str,
        width: usize,
        last: bool,
    ) -> Result<Dense<'a>, LoadError<'a>> {
        let unsupported = LoadError::new(Error::Unsupported, text);
        let mut words = split(text, b' ');
        let (Some("dense"), Some(name)) = (words.next(), words.next()) else {
            return Err(unsupported);
        };
        let activation = match words.next() {
            None => Activation::Linear,
            Some(word) => Activation::parse(word).ok_or(unsupported)?,
        };
        if words.next().is_some() {
            return Err(unsupported);
        }
        if self.int8 {
            return self.int8_dense(text, name, activation, width, last);
        }
        let ([inputs, outputs], weight) =
            self.weights(text, (name, ".weight"), [Some(width), None])?;
        let bias = weights(self.weights(text, (name, ".bias"), [Some(outputs)])?.1);
        let outputs = NonZeroUsize::new(outputs).ok_or(unsupported)?;
        Ok(Dense { weight, bias, multiplier: &[], table: &[], inputs, outputs, activation })
    }

    /// `NAME.weight` I8 (out, in); `NAME.bias` I32 (out); in the last layer `NAME.scale` F32
    /// (out), else `NAME.multiplier` I32 (out); with tanh or sigmoid `NAME.table` I32 (256).
    fn int8_dense(
        &mut self,
        text: &'a str,
        name: &'a str,
        activation: Activation,
        width: usize,
        last: bool,
    ) -> Result<Dense<'a>, LoadError<'a>> {
        let unsupported = LoadError::new(Error::Unsupported, text);
        let dims = [None, Some(width)];
        let ([outputs, inputs], weight) = self.tensor(text, (name, ".weight"), Dtype::I8, dims)?;
        let bias = weights(self.tensor(text, (name, ".bias"), Dtype::I32, [Some(outputs)])?.1);
        let multiplier = match last {
            true => weights(self.weights(text, (name, ".scale"), [Some(outputs)])?.1),
            false => self.multipliers(text, name, outputs)?,
        };
        let table: &[u8] = match activation {
            Activation::Linear | Activation::Relu => &[],
            Activation::Softmax => return Err(unsupported),
            Activation::Tanh | Activation::Sigmoid => {
                self.tensor(text, (name, ".table"), Dtype::I32, [Some(256)])?.1
            }
        };
        let outputs = NonZeroUsize::new(outputs).ok_or(unsupported)?;
        Ok(Dense { weight, bias, multiplier, table, inputs, outputs, activation })
    }

    /// `NAME.weight` I8 (2^n); `NAME.scale` F32 (4).
    fn ngrams(&mut self, text: &'a str) -> Result<Ngrams<'a>, LoadError<'a>> {
        let unsupported = LoadError::new(Error::Unsupported, text);
        let mut words = split(text, b' ');
        let (Some("ngrams"), Some(name), Some(orders), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(unsupported);
        };
        let [shortest @ b'1'..=b'8', b'.', b'.', longest @ b'1'..=b'8'] = *orders.as_bytes() else {
            return Err(unsupported);
        };
        if shortest > longest {
            return Err(unsupported);
        }
        let allowed = |rows: usize| rows.is_power_of_two() && (2..=NGRAM_ROWS_MAX).contains(&rows);
        let (_, table) = self.tensor_of(text, (name, ".weight"), Dtype::I8, [None], allowed)?;
        let (_, scales) = self.weights(text, (name, ".scale"), [Some(REGIONS)])?;
        Ok(Ngrams { table, scales: weights(scales), orders: [shortest - b'0', longest - b'0'] })
    }
}
