//! The network in candle, layer by layer: it is a library of tensors, which its users call so.

use crate::{Call, Inputs};
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

/// A layer behind the embedding, with its weights.
enum Layer {
    Conv { weight: Tensor, bias: Tensor, padding: usize, curve: String, add: bool },
    MaxPool { size: usize, ceil: bool },
    MaxAndMean,
    Flatten,
    Dense { weight: Tensor, bias: Tensor, relu: bool },
}

/// Of a model file in f32.
pub fn network(file: &[u8], inputs: &Inputs) -> Result<Call> {
    let (_, header) = SafeTensors::read_metadata(file)?;
    let line = header.metadata().as_ref().and_then(|m| m.get("phishcnn.layers"));
    let tensors = candle_core::safetensors::load_buffer(file, &Device::Cpu)?;
    let tensor = |name: &str| tensors.get(name).cloned().with_context(|| name.to_owned());
    let words = line.context("no layers")?.split("; ").map(|l| l.split(' ').collect::<Vec<_>>());
    let (mut tables, mut layers) = (vec![], vec![]);
    for layer in words {
        match *layer {
            ["embed", names] => {
                for name in names.split('+') {
                    tables.push(tensor(&format!("embed.{name}"))?);
                }
            }
            ["conv", name, padding, curve, ref add @ ..] => {
                let weight = tensor(&format!("{name}.weight"))?;
                let kernel = weight.dim(0)?;
                let padding = if padding == "same" { (kernel - 1) / 2 } else { 0 };
                layers.push(Layer::Conv {
                    weight: weight.permute((2, 1, 0))?.contiguous()?,
                    bias: tensor(&format!("{name}.bias"))?.reshape((1, (), 1))?,
                    padding,
                    curve: curve.to_owned(),
                    add: add == ["add"],
                });
            }
            ["maxpool", size, ref ceil @ ..] => {
                layers.push(Layer::MaxPool { size: size.parse()?, ceil: ceil == ["ceil"] });
            }
            ["pool", "max+avg"] => layers.push(Layer::MaxAndMean),
            ["flatten"] => layers.push(Layer::Flatten),
            ["dense", name, ref relu @ ..] => layers.push(Layer::Dense {
                weight: tensor(&format!("{name}.weight"))?,
                bias: tensor(&format!("{name}.bias"))?,
                relu: relu == ["relu"],
            }),
            _ => bail!("no layer {layer:?}"),
        }
    }
    let [batch, length] = inputs.shape;
    let ids = inputs
        .ids
        .iter()
        .map(|ids| Tensor::new(ids.as_slice(), &Device::Cpu))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move || {
        let mut sum: Option<Tensor> = None;
        for (table, ids) in tables.iter().zip(&ids) {
            let rows = table.index_select(ids, 0)?;
            sum = Some(sum.map_or(Ok(rows.clone()), |before| before + rows)?);
        }
        let x = sum.context("no tables")?.reshape((batch, length, ()))?;
        let mut x = x.transpose(1, 2)?.contiguous()?;
        for layer in &layers {
            x = layer.apply(&x)?;
        }
        let row = x.get(0)?.to_vec1::<f32>()?;
        row.last().copied().context("no output")
    }))
}

impl Layer {
    /// `[batch, channels, positions]`, behind the pooling `[batch, features]`.
    fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Conv { weight, bias, padding, curve, add } => {
                let y = x.conv1d(weight, *padding, 1, 1, 1)?.broadcast_add(bias)?;
                let y = if curve == "tanh" { y.tanh()? } else { y.relu()? };
                if *add { y + x } else { Ok(y) }
            }
            Self::MaxPool { size, ceil } => {
                // (Behind ReLU: a zero changes no maximum.)
                let missing =
                    if *ceil { x.dim(2)?.next_multiple_of(*size) - x.dim(2)? } else { 0 };
                let x = x.pad_with_zeros(2, 0, missing)?.unsqueeze(2)?;
                x.max_pool2d((1, *size))?.squeeze(2)
            }
            Self::MaxAndMean => Tensor::cat(&[x.max(2)?, x.mean(2)?], 1),
            Self::Flatten => x.transpose(1, 2)?.flatten_from(1),
            Self::Dense { weight, bias, relu } => {
                let y = x.matmul(weight)?.broadcast_add(bias)?;
                if *relu { y.relu() } else { Ok(y) }
            }
        }
    }
}
