//! Writes model files with any layers and seeded weights.

use super::Random;

/// Of the trigram tables of these models.
pub const TRIGRAM_ROWS: usize = 64;
/// Of their tables of n-grams.
pub const NGRAM_ROWS: usize = 256;

/// Marks id 0, padding, and the unknown id in the tensor `chars`.
pub const NO_CHARACTER: u32 = 0xffff_ffff;
pub const UNKNOWN: u32 = 0xffff_fffe;

#[derive(Clone, Debug)]
pub enum Input {
    /// `tables`: "bytes", "bytes+parts" or "bytes+parts+trigrams".
    Bytes {
        max: usize,
        tables: &'static str,
    },
    Chars {
        length: usize,
        canonical: bool,
    },
}

#[derive(Clone, Debug)]
pub enum Layer {
    Conv {
        kernel: usize,
        outputs: usize,
        same: bool,
        dilation: usize,
        activation: &'static str,
        add: bool,
    },
    MaxPool {
        size: usize,
        ceil: bool,
    },
    Pool(&'static str),
    Flatten,
    Dense {
        outputs: usize,
        activation: &'static str,
    },
    /// Behind the last dense layer.
    Ngrams {
        first: usize,
        last: usize,
    },
}

/// A network without its weights.
#[derive(Clone, Debug)]
pub struct Architecture {
    pub input: Input,
    /// Of the embedding.
    pub width: usize,
    pub layers: Vec<Layer>,
    pub output: &'static str,
}

#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// The content of a model file, to be spoiled at will.
#[derive(Clone, Debug, Default)]
pub struct ModelFile {
    pub metadata: Vec<(String, String)>,
    pub tensors: Vec<Tensor>,
}

impl ModelFile {
    /// The JSON header, without padding.
    pub fn header(&self) -> String {
        let pairs: Vec<String> =
            self.metadata.iter().map(|(k, v)| format!("\"{k}\":\"{v}\"")).collect();
        let mut members = vec![format!("\"__metadata__\":{{{}}}", pairs.join(","))];
        let mut end = 0;
        for t in &self.tensors {
            let begin = end;
            end += t.data.len();
            members.push(format!(
                "\"{}\":{{\"dtype\":\"{}\",\"shape\":{:?},\"data_offsets\":[{begin},{end}]}}",
                t.name, t.dtype, t.shape
            ));
        }
        format!("{{{}}}", members.join(","))
    }

    pub fn data(&self) -> Vec<u8> {
        self.tensors.iter().flat_map(|t| t.data.iter().copied()).collect()
    }

    /// The file; its data begin at a multiple of 16.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = self.header();
        while !(8 + header.len()).is_multiple_of(16) {
            header.push(' ');
        }
        assemble(&header, &self.data())
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.metadata.retain(|(k, _)| k != key);
        self.metadata.push((key.into(), value.into()));
    }

    pub fn tensor_mut(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }

    fn add(&mut self, name: String, shape: &[usize], scale: f64, random: &mut Random) {
        let count: usize = shape.iter().product();
        let value = |random: &mut Random| random.symmetric() * scale as f32;
        let data = (0..count).flat_map(|_| value(random).to_le_bytes()).collect();
        self.tensors.push(Tensor { name, dtype: "F32", shape: shape.into(), data });
    }
}

/// Length, header and data.
pub fn assemble(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Code points of a small `keras-char` table.
pub fn characters() -> Vec<u32> {
    let listed = "abcdefghijklmnopqrstuvwxyz0123456789/:.-_?=&%@#AW é€😀\0";
    [NO_CHARACTER, UNKNOWN].into_iter().chain(listed.chars().map(u32::from)).collect()
}

impl Architecture {
    /// The file, with weights from a seed that keep activations around one.
    pub fn build(&self, seed: u64) -> ModelFile {
        let random = &mut Random(seed);
        let mut file = ModelFile::default();
        let mut line = Vec::new();
        let width = self.width;
        let (input, mut length) = match &self.input {
            Input::Bytes { max, tables } => {
                file.add("embed.bytes".into(), &[257, width], 1.0, random);
                line.push(format!("embed {tables}"));
                if tables.contains("parts") {
                    file.add("embed.parts".into(), &[9, width], 1.0, random);
                }
                if tables.contains("trigrams") {
                    file.add("embed.trigrams".into(), &[TRIGRAM_ROWS, width], 1.0, random);
                }
                (format!("url-bytes/1 max={max}"), None)
            }
            Input::Chars { length, canonical } => {
                let chars = characters();
                file.add("embed.chars".into(), &[chars.len(), width], 1.0, random);
                let data = chars.iter().flat_map(|c| c.to_le_bytes()).collect();
                let shape = vec![chars.len()];
                file.tensors.push(Tensor { name: "chars".into(), dtype: "U32", shape, data });
                line.push("embed chars".to_string());
                let canonical = if *canonical { "yes" } else { "no" };
                let text = format!(
                    "keras-char/1 length={length} pad=pre truncate=pre canonical={canonical}"
                );
                (text, Some(*length))
            }
        };
        let mut channels = width;
        for (i, layer) in self.layers.iter().enumerate() {
            let gain = |inputs: usize| (3.0 / inputs as f64).sqrt();
            line.push(match layer {
                Layer::Conv { kernel, outputs, same, dilation, activation, add } => {
                    let scale = gain(kernel * channels);
                    file.add(format!("c{i}.weight"), &[*kernel, channels, *outputs], scale, random);
                    file.add(format!("c{i}.bias"), &[*outputs], 0.3, random);
                    channels = *outputs;
                    if !same {
                        length = length.map(|n| n - (kernel - 1) * dilation);
                    }
                    let mut words = vec![format!("conv c{i}")];
                    words.push(if *same { "same".into() } else { "valid".into() });
                    words.extend((*dilation > 1).then(|| format!("dilation={dilation}")));
                    words.extend((!activation.is_empty()).then(|| activation.to_string()));
                    words.extend(add.then(|| "add".into()));
                    words.join(" ")
                }
                Layer::MaxPool { size, ceil: true } => {
                    length = length.map(|n| n.div_ceil(*size));
                    format!("maxpool {size} ceil")
                }
                Layer::MaxPool { size, ceil: false } => {
                    length = length.map(|n| n / size);
                    format!("maxpool {size}")
                }
                Layer::Pool(kind) => {
                    channels *= if *kind == "max+avg" { 2 } else { 1 };
                    format!("pool {kind}")
                }
                Layer::Flatten => {
                    channels *= length.unwrap();
                    "flatten".into()
                }
                Layer::Dense { outputs, activation } => {
                    let scale = gain(channels);
                    file.add(format!("d{i}.weight"), &[channels, *outputs], scale, random);
                    file.add(format!("d{i}.bias"), &[*outputs], 0.3, random);
                    channels = *outputs;
                    format!("dense d{i} {activation}").trim_end().into()
                }
                Layer::Ngrams { first, last } => {
                    let table = (0..NGRAM_ROWS).map(|_| random.next() as u8).collect();
                    // No powers of two, which would hide how products are rounded.
                    let scales = [0.03_f32, 0.019, 0.021, 0.017];
                    let scales = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
                    for (kind, dtype, count, data) in
                        [("weight", "I8", NGRAM_ROWS, table), ("scale", "F32", 4, scales)]
                    {
                        let name = format!("n{i}.{kind}");
                        file.tensors.push(Tensor { name, dtype, shape: vec![count], data });
                    }
                    format!("ngrams n{i} {first}..{last}")
                }
            });
        }
        for (key, value) in [
            ("phishcnn.format", "1"),
            ("phishcnn.name", "test"),
            ("phishcnn.version", "0.0.1"),
            ("phishcnn.input", &input),
            ("phishcnn.layers", &line.join("; ")),
            ("phishcnn.output", self.output),
            ("phishcnn.calibration", "0.9 -0.25"),
            ("phishcnn.thresholds", "phishing=0.5 suspicious=-0.25"),
        ] {
            file.set(key, value);
        }
        file
    }
}

/// A short way to write a convolution with padding `same`.
pub fn conv(kernel: usize, outputs: usize, activation: &'static str) -> Layer {
    Layer::Conv { kernel, outputs, same: true, dilation: 1, activation, add: false }
}

pub fn dense(outputs: usize, activation: &'static str) -> Layer {
    Layer::Dense { outputs, activation }
}
