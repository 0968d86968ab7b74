//! Measures single scores on demand, so that other engines can be measured in between: reads
//! lines `MODEL BACKEND LENGTH COUNT`, answers the median nanoseconds of one score. With the
//! argument `once MODEL BACKEND LENGTH COUNT` it only scores, for instruction counts; with
//! `first MODEL` it loads, scores once and ends, for a process's memory.

use phishcnn_benches::{Aligned, urls};
use phishcnn_core::{Backend, Block, Model, as_bytes_mut};
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("once" | "first") => {
            let mut words = arguments.iter().skip(1).map(String::as_str).collect::<Vec<_>>();
            if words.len() == 1 {
                words.extend(["best", "64", "1"]);
            }
            run(&words)?;
        }
        _ => {
            for line in std::io::stdin().lock().lines() {
                let line = line?;
                println!("{}", run(&line.split(' ').collect::<Vec<_>>())?);
                std::io::stdout().flush()?;
            }
        }
    }
    Ok(())
}

/// The median nanoseconds of a score.
fn run(words: &[&str]) -> Result<u128, Box<dyn std::error::Error>> {
    let &[path, backend, length, count] = words else {
        return Err("MODEL BACKEND LENGTH COUNT".into());
    };
    let file = Aligned::new(&std::fs::read(path)?);
    let model = Model::load(file.bytes()).map_err(|e| e.to_string())?;
    let model = match Backend::ALL.into_iter().find(|b| b.as_str() == backend) {
        Some(backend) => model.with_backend(backend).ok_or("this machine lacks the backend")?,
        None => model,
    };
    let mut scratch = vec![Block::ZERO; model.scratch_len() / 16];
    let urls = urls(length.parse()?);
    let mut times = Vec::new();
    for url in urls.iter().cycle().take(count.parse()?) {
        let start = Instant::now();
        black_box(model.score(black_box(url), as_bytes_mut(&mut scratch))?);
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}
