//! Measures scores on demand, so that other engines can be measured in between: reads lines
//! `MODEL BACKEND LENGTH BATCH COUNT`, answers `NS FIRST LOGIT`: the median nanoseconds of scoring
//! BATCH URLs one after the other, those from the model's bytes to its first logit, and that
//! logit. With the arguments `once MODEL BACKEND LENGTH COUNT` it only scores, for instruction
//! counts; with `tokens MODEL LENGTH` it prints the ids of that logit's URL, then their parts.

use phishcnn_benches::{Aligned, urls};
use phishcnn_core::{Backend, Block, Model, as_bytes_mut};
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [once, model, backend, length, count] = arguments.as_slice()
        && once == "once"
    {
        run(&[model, backend, length, "1", count])?;
        return Ok(());
    }
    if let [tokens, model, length] = arguments.as_slice()
        && tokens == "tokens"
    {
        let file = std::fs::read(model)?;
        let model = Model::load(&file).map_err(|e| e.to_string())?;
        let urls = urls(length.parse()?);
        let tokens = model.tokens(urls.first().ok_or("no URLs")?)?;
        println!("{}", line(tokens.iter().map(|token| token.id)));
        println!("{}", line(tokens.iter().map(|token| token.part as u16)));
        return Ok(());
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        println!("{}", run(&line.split(' ').collect::<Vec<_>>())?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn line(numbers: impl Iterator<Item = u16>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

fn run(words: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let &[path, backend, length, batch, count] = words else {
        return Err("MODEL BACKEND LENGTH BATCH COUNT".into());
    };
    let file = Aligned::new(&std::fs::read(path)?);
    let urls = urls(length.parse()?);
    let url = urls.first().ok_or("no URLs")?;

    let start = Instant::now();
    let model = Model::load(file.bytes()).map_err(|e| e.to_string())?;
    let model = match Backend::ALL.into_iter().find(|b| b.as_str() == backend) {
        Some(backend) => model.with_backend(backend).ok_or("this machine lacks the backend")?,
        None => model,
    };
    let mut scratch = vec![Block::ZERO; model.scratch_len() / 16];
    let scratch = as_bytes_mut(&mut scratch);
    let logit = model.score(black_box(url), scratch)?.logit;
    let first = start.elapsed().as_nanos();

    let mut turn = urls.iter().cycle();
    let (batch, mut times) = (batch.parse()?, Vec::new());
    for _ in 0..count.parse()? {
        let start = Instant::now();
        for url in turn.by_ref().take(batch) {
            black_box(model.score(black_box(url), scratch)?);
        }
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(format!("{median} {first} {logit}"))
}
