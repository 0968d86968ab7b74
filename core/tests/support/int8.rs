//! int8 models: the forward pass in plain integers over whole sequences, straight from the
//! formulas of `docs/model-file.md`; and seeded models to try it on. Shares nothing with the
//! engine, not even the order of the loops.

use super::Random;
use super::model_file::{Architecture, Input, Layer, ModelFile, TRIGRAM_ROWS, Tensor};
use super::network::{Network, Orders, ngram_sums, trigram_row};
use super::tokens::Token;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

type Rows = Vec<Vec<i64>>;

pub struct Int8Network {
    tensors: HashMap<String, (Vec<usize>, Vec<i64>)>,
    scales: HashMap<String, Vec<f32>>,
    layers: String,
    output: String,
    /// Tokens come from the f32 oracle: they have nothing to do with numbers.
    tokens: Network,
}

impl Int8Network {
    pub fn read(file: &[u8]) -> Self {
        let tokens = Network::read(file);
        let (mut tensors, mut scales) = (HashMap::new(), HashMap::new());
        for (name, view) in SafeTensors::deserialize(file).unwrap().tensors() {
            let words = view.data().chunks_exact(4).map(|c| <[u8; 4]>::try_from(c).unwrap());
            let values = match view.dtype() {
                Dtype::I8 => view.data().iter().map(|&b| i64::from(b as i8)).collect(),
                Dtype::I32 => words.map(|w| i64::from(i32::from_le_bytes(w))).collect(),
                Dtype::F32 => {
                    scales.insert(name, words.map(f32::from_le_bytes).collect());
                    continue;
                }
                _ => continue,
            };
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        let line = |key: &str| tokens.metadata[key].clone();
        let (layers, output) = (line("phishcnn.layers"), line("phishcnn.output"));
        Self { tensors, scales, layers, output, tokens }
    }

    pub fn score(&self, url: &[u8]) -> Result<f32, u16> {
        Ok(self.logit(&self.tokens.tokens(url)?.0))
    }

    fn tensor(&self, layer: &str, kind: &str) -> Option<&[i64]> {
        Some(&self.tensors.get(&format!("{layer}.{kind}"))?.1)
    }

    fn logit(&self, tokens: &[Token]) -> f32 {
        let mut rows: Rows = (0..tokens.len()).map(|at| self.embed(tokens, at)).collect();
        let mut zero: Vec<i64> =
            self.tensor("embed", "zero").unwrap().iter().map(|z| (*z).max(0)).collect();
        let mut vector = Vec::new();
        let mut outputs = Vec::new();
        for layer in self.layers.split("; ").skip(1) {
            let words: Vec<&str> = layer.split(' ').collect();
            match words[0] {
                "conv" => {
                    rows = self.convolution(&words, &rows, &zero);
                    let z = self.tensor(words[1], "zero").map_or(0, |z| z[0]);
                    zero = vec![z; rows[0].len()];
                }
                "maxpool" => {
                    let size: usize = words[1].parse().unwrap();
                    let whole = |w: &&[Vec<i64>]| words.len() == 3 || w.len() == size;
                    rows = rows.chunks(size).filter(whole).map(maxima).collect();
                }
                "pool" => {
                    let n = rows.len() as i64;
                    if words[1].contains("max") {
                        vector.extend(maxima(&rows).iter().map(|v| v * 256));
                    }
                    if words[1].contains("avg") {
                        let sum = |c: usize| rows.iter().map(|row| row[c]).sum::<i64>();
                        vector.extend((0..rows[0].len()).map(|c| (sum(c) * 256 + n / 2) / n));
                    }
                }
                "flatten" => vector = rows.concat(),
                "ngrams" => outputs[0] += self.ngrams(&words, tokens),
                _ => (vector, outputs) = self.dense(&words, &vector),
            }
        }
        let positive = usize::from(self.output.ends_with('1'));
        match self.output.split(' ').next().unwrap() {
            "logit" => outputs[0],
            "sigmoid2" => outputs[positive],
            _ => outputs[positive] - outputs[1 - positive],
        }
    }

    fn embed(&self, tokens: &[Token], at: usize) -> Vec<i64> {
        let token = &tokens[at];
        let row = |name: &str, id: usize| {
            let (shape, values) = self.tensors.get(name)?;
            Some(&values[id * shape[1]..][..shape[1]])
        };
        let id = token.id as usize;
        let mut row_of = row("embed.bytes", id).or(row("embed.chars", id)).unwrap().to_vec();
        if let Some(part) = row("embed.parts", token.part.into()) {
            row_of.iter_mut().zip(part).for_each(|(v, p)| *v += p);
        }
        if let Some((shape, _)) = self.tensors.get("embed.trigrams") {
            let trigram = row("embed.trigrams", trigram_row(tokens, at, shape[0])).unwrap();
            row_of.iter_mut().zip(trigram).for_each(|(v, t)| *v += t);
        }
        row_of.iter().map(|v| (*v).clamp(0, 127)).collect()
    }

    fn convolution(&self, words: &[&str], x: &Rows, zero: &[i64]) -> Rows {
        let name = words[1];
        let weight = &self.tensor(name, "weight").unwrap();
        let bias = self.tensor(name, "bias").unwrap();
        let multiplier = self.tensor(name, "multiplier").unwrap();
        let (inputs, outputs) = (x[0].len(), bias.len());
        let kernel = weight.len() / inputs / outputs;
        let dilation = words.iter().find_map(|w| w.strip_prefix("dilation=")).unwrap_or("1");
        let dilation: usize = dilation.parse().unwrap();
        let reach = (kernel - 1) * dilation;
        let mut padded = x.clone();
        if words[2] == "same" {
            padded = vec![zero.to_vec(); reach / 2];
            padded.extend(x.iter().cloned());
            padded.extend(vec![zero.to_vec(); reach - reach / 2]);
        }
        let at = |tap: usize, input: usize, output: usize| {
            let depth = tap * inputs + input;
            let groups = kernel * inputs / 4;
            weight[((output / 16) * groups + depth / 4) * 64 + 4 * (output % 16) + depth % 4]
        };
        let mut y = Vec::new();
        for t in 0..padded.len() - reach {
            let mut row = Vec::new();
            for o in 0..outputs {
                let mut sum = bias[o];
                for tap in 0..kernel {
                    for (i, value) in padded[t + tap * dilation].iter().enumerate() {
                        sum += value * at(tap, i, o);
                    }
                }
                if words.contains(&"relu") {
                    sum = sum.max(0);
                }
                if words.contains(&"add") {
                    let residual = self.tensor(name, "residual").unwrap();
                    sum += x[t][o] * residual[o] + residual[outputs + o];
                }
                let q = requantise(sum, multiplier[o]);
                row.push(match self.tensor(name, "table") {
                    Some(table) => table[(q.clamp(-128, 127) + 128) as usize].max(0),
                    None => (q + self.tensor(name, "zero").map_or(0, |z| z[0])).clamp(0, 127),
                });
            }
            y.push(row);
        }
        y
    }

    fn ngrams(&self, words: &[&str], tokens: &[Token]) -> f32 {
        let (table, orders) = (self.tensor(words[1], "weight").unwrap(), Orders::read(words[2]));
        let table: Vec<f64> = table.iter().map(|weight| *weight as f64).collect();
        let scales = &self.scales[&format!("{}.scale", words[1])];
        let mut added = 0.0;
        for (region, sum, count) in ngram_sums(tokens, orders, &table) {
            let mine = sum as f32 / (count as f32).sqrt() * scales[region];
            added += if region == 0 { mine } else { mine.max(-1.0) };
        }
        added
    }

    fn dense(&self, words: &[&str], x: &[i64]) -> (Vec<i64>, Vec<f32>) {
        let name = words[1];
        let (weight, bias) = (self.tensor(name, "weight").unwrap(), self.tensor(name, "bias"));
        let (mut hidden, mut outputs) = (Vec::new(), Vec::new());
        for (o, bias) in bias.unwrap().iter().enumerate() {
            let row = &weight[o * x.len()..][..x.len()];
            let sum = bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<i64>();
            if let Some(scale) = self.scales.get(&format!("{name}.scale")) {
                outputs.push(i32::try_from(sum).unwrap() as f32 * scale[o]);
                continue;
            }
            let q = requantise(sum, self.tensor(name, "multiplier").unwrap()[o]);
            hidden.push(match (words.get(2), self.tensor(name, "table")) {
                (_, Some(table)) => table[(q.clamp(-128, 127) + 128) as usize].clamp(-32767, 32767),
                (Some(&"relu"), None) => q.clamp(0, 32767),
                (_, None) => q.clamp(-32767, 32767),
            });
        }
        (hidden, outputs)
    }
}

fn maxima(rows: &[Vec<i64>]) -> Vec<i64> {
    (0..rows[0].len()).map(|c| rows.iter().map(|row| row[c]).max().unwrap()).collect()
}

/// ⌊sum · multiplier / 2³² + ½⌋; the sums of these models fit 32 bits.
fn requantise(sum: i64, multiplier: i64) -> i64 {
    assert!(i32::try_from(sum).is_ok());
    (sum * multiplier + (1 << 31)).div_euclid(1 << 32)
}

/// An int8 model with the layers of an architecture, whose channels must be multiples of 16.
pub fn build(architecture: &Architecture, seed: u64) -> ModelFile {
    let mut file = architecture.build(seed);
    let random = &mut Random(seed);
    // What is the same in both kinds: the characters, and the layer of n-grams.
    file.tensors.retain(|t| t.name == "chars" || t.name.starts_with('n'));
    let add = |file: &mut ModelFile, name: String, dtype, shape: &[usize], data: Vec<u8>| {
        file.tensors.push(Tensor { name, dtype, shape: shape.into(), data });
    };
    let bytes = |n: usize, random: &mut Random, reach: f32| -> Vec<u8> {
        (0..n).map(|_| (random.symmetric() * reach) as i8 as u8).collect()
    };
    let integers = |values: Vec<i32>| values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let around = |n: usize, random: &mut Random, reach: f32| -> Vec<i32> {
        (0..n).map(|_| (random.symmetric() * reach) as i32).collect()
    };
    let width = architecture.width;
    match &architecture.input {
        Input::Bytes { tables, .. } => {
            let data = bytes(257 * width, random, 120.0);
            add(&mut file, "embed.bytes".into(), "I8", &[257, width], data);
            if tables.contains("parts") {
                let data = bytes(9 * width, random, 60.0);
                add(&mut file, "embed.parts".into(), "I8", &[9, width], data);
            }
            if tables.contains("trigrams") {
                let data = bytes(TRIGRAM_ROWS * width, random, 128.0);
                add(&mut file, "embed.trigrams".into(), "I8", &[TRIGRAM_ROWS, width], data);
            }
        }
        Input::Chars { .. } => {
            let n = super::model_file::characters().len();
            let data = bytes(n * width, random, 128.0);
            add(&mut file, "embed.chars".into(), "I8", &[n, width], data);
        }
    }
    let zero = bytes(width, random, 50.0);
    add(&mut file, "embed.zero".into(), "I8", &[width], zero);
    let mut channels = width;
    let mut length = match architecture.input {
        Input::Chars { length, .. } => length,
        Input::Bytes { .. } => 0,
    };
    let mut activations = 40.0_f32;
    let is_dense = |layer: &Layer| matches!(layer, Layer::Dense { .. });
    let last = architecture.layers.iter().rposition(is_dense).unwrap();
    for (i, layer) in architecture.layers.iter().enumerate() {
        match layer {
            Layer::Conv { kernel, outputs, same, dilation, activation, add: residual } => {
                let depth = kernel * channels;
                let data = bytes(depth * outputs, random, 127.9);
                let shape = [outputs / 16, depth / 4, 64];
                add(&mut file, format!("c{i}.weight"), "I8", &shape, data);
                let spread = 73.0 * 50.0 * (depth as f32).sqrt();
                let data = integers(around(*outputs, random, spread));
                add(&mut file, format!("c{i}.bias"), "I32", &[*outputs], data);
                let multipliers = (0..*outputs)
                    .map(|_| (2.0_f32.powi(32) / spread * 40.0 * (1.5 + random.symmetric())) as i32)
                    .collect();
                add(
                    &mut file,
                    format!("c{i}.multiplier"),
                    "I32",
                    &[*outputs],
                    integers(multipliers),
                );
                if *residual {
                    let values = around(2 * outputs, random, spread / 60.0);
                    add(
                        &mut file,
                        format!("c{i}.residual"),
                        "I32",
                        &[2, *outputs],
                        integers(values),
                    );
                }
                if ["tanh", "sigmoid"].contains(activation) {
                    let data = bytes(256, random, 127.9);
                    add(&mut file, format!("c{i}.table"), "I8", &[256], data);
                }
                if *activation != "relu" || *residual {
                    let zero = (random.symmetric().abs() * 120.0) as u8;
                    add(&mut file, format!("c{i}.zero"), "I8", &[1], vec![zero]);
                }
                channels = *outputs;
                if !same && length > 0 {
                    length -= (kernel - 1) * dilation;
                }
            }
            Layer::MaxPool { size, ceil } => {
                length = if *ceil { length.div_ceil(*size) } else { length / size };
            }
            Layer::Pool(kind) => {
                channels *= if *kind == "max+avg" { 2 } else { 1 };
                activations = 60.0 * 256.0;
            }
            Layer::Flatten => channels *= length,
            Layer::Dense { outputs, activation } => {
                let data = bytes(channels * outputs, random, 127.9);
                add(&mut file, format!("d{i}.weight"), "I8", &[*outputs, channels], data);
                let spread = 73.0 * activations * (channels as f32).sqrt();
                let data = integers(around(*outputs, random, spread));
                add(&mut file, format!("d{i}.bias"), "I32", &[*outputs], data);
                if i == last {
                    let scales: Vec<f32> = vec![3.0 / spread; *outputs];
                    let data = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
                    add(&mut file, format!("d{i}.scale"), "F32", &[*outputs], data);
                } else {
                    let curved = ["tanh", "sigmoid"].contains(activation);
                    // Some beyond the table's ends, or 16 bits.
                    let reach = if curved { 150.0 } else { 30_000.0 };
                    let multiplier = (2.0_f32.powi(32) / spread * reach) as i32;
                    let data = integers(vec![multiplier; *outputs]);
                    add(&mut file, format!("d{i}.multiplier"), "I32", &[*outputs], data);
                    if curved {
                        // Some beyond what 16 bits hold.
                        let data = integers(around(256, random, 40_000.0));
                        add(&mut file, format!("d{i}.table"), "I32", &[256], data);
                    }
                    activations = 12_000.0;
                }
                channels = *outputs;
            }
            Layer::Ngrams { .. } => {}
        }
    }
    file
}
