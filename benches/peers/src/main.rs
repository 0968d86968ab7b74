//! Rust engines beside ours, measured on demand in turn with it: reads lines
//! `ENGINE NETWORK LENGTH BATCH COUNT`, answers `NS FIRST LOGIT`: the median nanoseconds of a call,
//! those from the model's bytes to its first logit, and the first row's logit.
//!
//! `BENCH_MODELS` holds `NETWORK.safetensors`, `peer-NETWORK.onnx` and, of each shape,
//! `peer-NETWORK-LENGTH-BATCH.ids`: i64, the shape `[tables of the embedding, BATCH, positions]`, then
//! their rows.

mod candle;

use anyhow::{Context, Result, bail};
use rten::{ModelOptions, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::{AsView, Layout, NdTensor};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tract_onnx::prelude::*;

/// A network with its inputs: each call gives the first row's logit.
pub type Call = Box<dyn FnMut() -> Result<f32>>;

/// One input for each table of the embedding.
pub struct Inputs {
    pub shape: [usize; 2],
    pub ids: Vec<Vec<i64>>,
}

impl Inputs {
    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let numbers: Vec<i64> =
            bytes.as_chunks().0.iter().map(|number| i64::from_le_bytes(*number)).collect();
        let [_, batch, positions, ids @ ..] = numbers.as_slice() else {
            bail!("{}: no shape", path.display());
        };
        let shape = [usize::try_from(*batch)?, usize::try_from(*positions)?];
        let ids = ids.chunks_exact(shape[0] * shape[1]).map(<[i64]>::to_vec).collect();
        Ok(Self { shape, ids })
    }
}

fn tract(file: &[u8], inputs: &Inputs) -> Result<Call> {
    let mut model = tract_onnx::onnx().model_for_read(&mut &*file)?;
    let mut values = tvec!();
    for (at, ids) in inputs.ids.iter().enumerate() {
        model = model.with_input_fact(at, i64::fact(inputs.shape).into())?;
        values.push(Tensor::from_shape(&inputs.shape, ids)?.into_tvalue());
    }
    let plan = model.into_optimized()?.into_runnable()?;
    let row = move |out: TVec<TValue>| -> Result<f32> {
        let width = *out[0].shape().last().context("no output")?;
        Ok(out[0]
            .to_plain_array_view::<f32>()?
            .iter()
            .nth(width - 1)
            .copied()
            .context("no output")?)
    };
    Ok(Box::new(move || row(plan.run(values.clone())?)))
}

fn rten(file: &[u8], inputs: &Inputs) -> Result<Call> {
    let model = ModelOptions::with_all_ops().prepack_weights(true).load(file.to_vec())?;
    let values = inputs
        .ids
        .iter()
        .map(|ids| {
            let ids = ids.iter().map(|&id| i32::try_from(id)).collect::<Result<Vec<_>, _>>()?;
            Ok(NdTensor::from_data(inputs.shape, ids))
        })
        .collect::<Result<Vec<_>>>()?;
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    Ok(Box::new(move || {
        let given = model.input_ids().iter().zip(&values);
        let given = given.map(|(&id, ids)| (id, ValueOrView::from(ids.view()))).collect();
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        let [out] = model.run_n(given, [model.output_ids()[0]], Some(options))?;
        let out: NdTensor<f32, 2> = out.try_into()?;
        Ok(out[[0, out.size(1) - 1]])
    }))
}

/// The call, and the nanoseconds from the model's bytes to its first logit.
fn first(engine: &str, network: &str, length: &str, batch: &str) -> Result<(Call, u128)> {
    let folder = std::env::var("BENCH_MODELS").context("BENCH_MODELS")?;
    let path = |name: String| Path::new(&folder).join(name);
    let inputs = Inputs::read(&path(format!("peer-{network}-{length}-{batch}.ids")))?;
    let onnx = std::fs::read(path(format!("peer-{network}.onnx")))?;
    let tensors = std::fs::read(path(format!("{network}.safetensors")))?;
    let start = Instant::now();
    let mut call = match engine {
        "tract" => tract(&onnx, &inputs)?,
        "rten" => rten(&onnx, &inputs)?,
        "candle" => candle::network(&tensors, &inputs)?,
        _ => bail!("no engine {engine}"),
    };
    call()?;
    Ok((call, start.elapsed().as_nanos()))
}

fn main() -> Result<()> {
    let mut engines = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let [engine, network, length, batch, count] = *line.split(' ').collect::<Vec<_>>() else {
            bail!("ENGINE NETWORK LENGTH BATCH COUNT");
        };
        let key = [engine, network, length, batch].map(str::to_owned);
        if !engines.contains_key(&key) {
            let made = first(engine, network, length, batch)?;
            engines.insert(key.clone(), made);
        }
        let (call, first) = engines.get_mut(&key).context("just made")?;
        let (mut times, mut logit) = (vec![], 0.0);
        for _ in 0..count.parse()? {
            let start = Instant::now();
            logit = call()?;
            times.push(start.elapsed().as_nanos());
        }
        times.sort_unstable();
        println!("{} {first} {logit}", times[times.len() / 2]);
        std::io::stdout().flush()?;
    }
    Ok(())
}
