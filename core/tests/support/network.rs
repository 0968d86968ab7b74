//! The forward pass in f64 over whole sequences. Reads the file with the reference crate.

use super::tokens::{self, Token};
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

type Matrix = Vec<Vec<f64>>;

/// A model file as the reference crate reads it.
pub struct Network {
    pub metadata: HashMap<String, String>,
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
    chars: Vec<u32>,
}

impl Network {
    pub fn read(file: &[u8]) -> Self {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let metadata = serde_json::from_value(header["__metadata__"].clone()).unwrap();
        let (mut tensors, mut chars) = (HashMap::new(), Vec::new());
        for (name, view) in SafeTensors::deserialize(file).unwrap().tensors() {
            let words = view.data().chunks_exact(4).map(|c| <[u8; 4]>::try_from(c).unwrap());
            if name == "chars" {
                chars = words.map(u32::from_le_bytes).collect();
            } else {
                let values = match view.dtype() {
                    Dtype::I8 => view.data().iter().map(|&b| f64::from(b as i8)).collect(),
                    _ => words.map(|w| f32::from_le_bytes(w).into()).collect(),
                };
                tensors.insert(name, (view.shape().to_vec(), values));
            }
        }
        Self { metadata, tensors, chars }
    }

    /// The value of `KEY=value` in the input line.
    fn input(&self, key: &str) -> Option<&str> {
        let line = &self.metadata["phishcnn.input"];
        line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    pub fn tokens(&self, url: &[u8]) -> Result<(Vec<Token>, bool), u16> {
        match self.input("max") {
            Some(max) => tokens::url_bytes(url, max.parse().unwrap()),
            None => {
                let length = self.input("length").unwrap().parse().unwrap();
                let canonical = self.input("canonical") == Some("yes");
                tokens::keras_char(url, length, canonical, &self.chars)
            }
        }
    }

    /// The logit of a URL.
    pub fn score(&self, url: &[u8]) -> Result<f64, u16> {
        Ok(self.logit(&self.tokens(url)?.0))
    }

    /// Segments with a token, each with logit − logit without it.
    pub fn explain(&self, url: &[u8]) -> Result<Vec<(usize, usize, u8, f64)>, u16> {
        let tokens = self.tokens(url)?.0;
        let logit = self.logit(&tokens);
        let mask = if self.chars.is_empty() { 256 } else { 0 };
        let mut out = Vec::new();
        for (start, end, part) in tokens::segments(url) {
            let mut masked = tokens.clone();
            for token in &mut masked {
                if token.at.is_some_and(|at| (start..end).contains(&at)) {
                    token.id = mask;
                }
            }
            if tokens.iter().any(|t| t.at.is_some_and(|at| (start..end).contains(&at))) {
                out.push((start, end, part, logit - self.logit(&masked)));
            }
        }
        Ok(out)
    }

    /// probability = sigmoid(a · logit + b), at base rate 0.5.
    pub fn probability(&self, logit: f64) -> f64 {
        let (a, b) = self.metadata["phishcnn.calibration"].split_once(' ').unwrap();
        let (a, b): (f64, f64) = (a.parse().unwrap(), b.parse().unwrap());
        1.0 / (1.0 + (-(a * logit + b)).exp())
    }

    pub fn verdict(&self, logit: f64) -> &'static str {
        let threshold = |key| {
            let words = self.metadata["phishcnn.thresholds"].split(' ');
            let value = words.filter_map(|w| w.strip_prefix(key)?.strip_prefix('=')).next();
            value.unwrap().parse::<f64>().unwrap()
        };
        match logit {
            x if x >= threshold("phishing") => "phishing",
            x if x >= threshold("suspicious") => "suspicious",
            _ => "benign",
        }
    }

    pub fn logit(&self, tokens: &[Token]) -> f64 {
        let mut sequence: Matrix = (0..tokens.len()).map(|at| self.embed(tokens, at)).collect();
        let mut vector = Vec::new();
        for layer in self.metadata["phishcnn.layers"].split("; ").skip(1) {
            let words: Vec<&str> = layer.split(' ').collect();
            match words[0] {
                "conv" => sequence = self.convolution(&words, &sequence),
                "maxpool" => {
                    let size: usize = words[1].parse().unwrap();
                    let ceil = words.contains(&"ceil");
                    let windows = sequence.chunks(size).filter(|w| ceil || w.len() == size);
                    sequence = windows.map(column_max).collect();
                }
                "pool" => {
                    let count = sequence.len() as f64;
                    let average = || {
                        (0..sequence[0].len())
                            .map(|c| sequence.iter().map(|row| row[c]).sum::<f64>() / count)
                            .collect::<Vec<f64>>()
                    };
                    vector = match words[1] {
                        "max" => column_max(&sequence),
                        "avg" => average(),
                        _ => [column_max(&sequence), average()].concat(),
                    };
                }
                "flatten" => vector = sequence.concat(),
                "dense" => {
                    let (weight, bias) = (self.weights(words[1], "weight"), &self.bias(words[1]));
                    let columns = bias.len();
                    assert_eq!(weight.len(), vector.len() * columns);
                    vector = (0..columns)
                        .map(|o| {
                            let products = vector.iter().enumerate();
                            bias[o]
                                + products.map(|(i, x)| x * weight[i * columns + o]).sum::<f64>()
                        })
                        .collect();
                    activate(words.get(2).copied(), &mut vector);
                }
                "ngrams" => {
                    let (table, orders) =
                        (self.weights(words[1], "weight"), Orders::read(words[2]));
                    let scales = self.weights(words[1], "scale");
                    for (region, sum, count) in ngram_sums(tokens, orders, table) {
                        let mine = sum / (count as f64).sqrt() * scales[region];
                        vector[0] += if region == 0 { mine } else { mine.max(-1.0) };
                    }
                }
                other => panic!("{other}"),
            }
        }
        let output: Vec<&str> = self.metadata["phishcnn.output"].split(' ').collect();
        let positive = || output[1].strip_prefix("positive=").unwrap().parse::<usize>().unwrap();
        match output[0] {
            "logit" => vector[0],
            "sigmoid2" => vector[positive()],
            "softmax2" => vector[positive()] - vector[1 - positive()],
            other => panic!("{other}"),
        }
    }

    fn weights(&self, layer: &str, kind: &str) -> &[f64] {
        &self.tensors[&format!("{layer}.{kind}")].1
    }

    fn bias(&self, layer: &str) -> Vec<f64> {
        self.weights(layer, "bias").to_vec()
    }

    fn embed(&self, tokens: &[Token], at: usize) -> Vec<f64> {
        let token = &tokens[at];
        let row = |name: &str, i: usize| {
            let (shape, values) = self.tensors.get(name)?;
            Some(values[i * shape[1]..][..shape[1]].to_vec())
        };
        let id = token.id as usize;
        let mut vector = row("embed.bytes", id).or_else(|| row("embed.chars", id)).unwrap();
        if let Some(part) = row("embed.parts", token.part.into()) {
            vector.iter_mut().zip(part).for_each(|(v, p)| *v += p);
        }
        if let Some((shape, _)) = self.tensors.get("embed.trigrams") {
            let trigram = row("embed.trigrams", trigram_row(tokens, at, shape[0])).unwrap();
            vector.iter_mut().zip(trigram).for_each(|(v, t)| *v += t);
        }
        vector
    }

    /// y[t, o] = act(bias[o] + Σ_j Σ_i x[t + j·dilation − padding, i] · w[j, i, o]) (+ x[t, o]).
    fn convolution(&self, words: &[&str], x: &Matrix) -> Matrix {
        let (shape, weight) = &self.tensors[&format!("{}.weight", words[1])];
        let bias = self.bias(words[1]);
        let &[kernel, inputs, outputs] = &shape[..] else { panic!("{shape:?}") };
        let dilation = words.iter().find_map(|w| w.strip_prefix("dilation=")).unwrap_or("1");
        let dilation: usize = dilation.parse().unwrap();
        let reach = (kernel - 1) * dilation;
        let mut padded = x.clone();
        if words[2] == "same" {
            padded = vec![vec![0.0; inputs]; reach / 2];
            padded.extend(x.iter().cloned());
            padded.extend(vec![vec![0.0; inputs]; reach - reach / 2]);
        }
        let activation = words.iter().find(|w| ["relu", "tanh", "sigmoid"].contains(w)).copied();
        let mut y = Vec::new();
        for t in 0..padded.len() - reach {
            let mut row = bias.clone();
            for j in 0..kernel {
                for i in 0..inputs {
                    for (o, sum) in row.iter_mut().enumerate() {
                        *sum +=
                            padded[t + j * dilation][i] * weight[(j * inputs + i) * outputs + o];
                    }
                }
            }
            activate(activation, &mut row);
            if words.contains(&"add") {
                row.iter_mut().zip(&x[t]).for_each(|(y, x)| *y += x);
            }
            y.push(row);
        }
        y
    }
}

fn column_max(rows: &[Vec<f64>]) -> Vec<f64> {
    let column = |c: usize| rows.iter().map(|row| row[c]).fold(f64::NEG_INFINITY, f64::max);
    (0..rows[0].len()).map(column).collect()
}

fn activate(name: Option<&str>, values: &mut [f64]) {
    let sum: f64 = values.iter().map(|v| v.exp()).sum();
    for v in values {
        *v = match name {
            None => *v,
            Some("relu") => v.max(0.0),
            Some("tanh") => v.tanh(),
            Some("sigmoid") => 1.0 / (1.0 + (-*v).exp()),
            Some("softmax") => v.exp() / sum,
            Some(other) => panic!("{other}"),
        };
    }
}

/// Row of the trigram that ends at this token, as docs/model-file.md has it, in whole numbers without wrapping.
pub fn trigram_row(tokens: &[Token], at: usize, rows: usize) -> usize {
    let mut hash = 0_u64;
    for back in [2, 1, 0] {
        let id = at.checked_sub(back).map_or(0, |i| u64::from(tokens[i].id));
        hash = (hash ^ id) * 16_777_619 % (1 << 32);
    }
    hash ^= hash / (1 << 15);
    (hash * 2_654_435_761 % (1 << 32)) as usize / ((1 << 32) / rows)
}

/// `A..B` of a layer of n-grams.
#[derive(Clone, Copy)]
pub struct Orders(usize, usize);

impl Orders {
    pub fn read(word: &str) -> Self {
        let (first, last) = word.split_once("..").unwrap();
        Self(first.parse().unwrap(), last.parse().unwrap())
    }
}

/// Each region that has n-grams, with its S and c, as docs/model-file.md has them.
pub fn ngram_sums(tokens: &[Token], orders: Orders, table: &[f64]) -> Vec<(usize, f64, usize)> {
    let rows = ngram_rows(tokens, orders, table.len());
    let regions = [&[0, 3, 4, 5][..], &[1, 2], &[6], &[7, 8]].map(|parts| {
        let inside = |at: usize| parts.contains(&tokens[at.min(tokens.len() - 1)].part);
        let inside: Vec<_> = (0..rows.len()).filter(|at| inside(*at)).collect();
        let sum: f64 = inside.iter().flat_map(|at| &rows[*at]).map(|row| table[*row]).sum();
        (sum, inside.len() * (orders.1 - orders.0 + 1))
    });
    let found = regions.into_iter().enumerate().filter(|(_, (_, count))| *count > 0);
    found.map(|(region, (sum, count))| (region, sum, count)).collect()
}

/// The rows of the n-grams without a mask that end at each position, and behind the last, as
/// docs/model-file.md has them, in whole numbers without wrapping.
fn ngram_rows(tokens: &[Token], orders: Orders, rows: usize) -> Vec<Vec<usize>> {
    const TWO_32: u64 = 1 << 32;
    // As many NULs in front as the longest n-gram may reach, and one behind.
    let mut ids = vec![0_u64; orders.1 - 1];
    ids.extend(tokens.iter().map(|token| u64::from(token.id)));
    ids.push(0);
    let mut found = Vec::new();
    for end in orders.1..=ids.len() {
        let mut here = Vec::new();
        for order in orders.0..=orders.1 {
            let ngram = &ids[end - order..end];
            if ngram.contains(&256) {
                continue;
            }
            // The part of the token that it ends at; behind the last there is none.
            let last = tokens.get(end - orders.1);
            let mut h = last.map_or(0, |token| 65_536 * (u64::from(token.part) + 1));
            for id in ngram.iter().rev() {
                h = (h ^ id) * 16_777_619 % TWO_32;
            }
            h = (h ^ (h / (1 << 16))) * 0x85EB_CA6B % TWO_32;
            h = (h ^ (h / (1 << 13))) * 0xC2B2_AE35 % TWO_32;
            h ^= h / (1 << 16);
            here.push((h % rows as u64) as usize);
        }
        found.push(here);
    }
    found
}
