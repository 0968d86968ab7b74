//! The core's own scores and time, without any surface: what the wheel is compared with.
//!
//!     core_scores FILE [MODEL]
//!
//! FILE has one URL a line, in hexadecimal. A line for each URL: the bits of its logit, or its error
//! number. On standard error: the seconds that scoring alone took, on one thread: of the processor
//! (Linux), and of the clock.
#![allow(clippy::unwrap_used, reason = "a tool for tests and measurements")]

use std::hint::black_box;
use std::time::Instant;

use phishcnn_core::{Block, Model, as_bytes_mut};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let text = std::fs::read_to_string(arguments.next().unwrap()).unwrap();
    let file = arguments.next().map(|path| std::fs::read(path).unwrap());
    let model = Model::load(file.as_deref().unwrap_or(phishcnn_weights::COMPACT)).unwrap();
    let urls: Vec<Vec<u8>> = text.lines().map(bytes).collect();

    let mut scratch = vec![Block::ZERO; model.scratch_len().div_ceil(size_of::<Block>())];
    let mut scores = Vec::with_capacity(urls.len());
    let (start, worked) = (Instant::now(), processor_seconds());
    for url in &urls {
        scores.push(black_box(model.score(url, as_bytes_mut(&mut scratch))));
    }
    eprintln!("{} {}", processor_seconds() - worked, start.elapsed().as_secs_f64());
    let line = |score: Result<phishcnn_core::Score, phishcnn_core::Error>| match score {
        Ok(score) => format!("{:08x}", score.logit.to_bits()),
        Err(error) => error.code().to_string(),
    };
    println!("{}", scores.into_iter().map(line).collect::<Vec<_>>().join("\n"));
}

/// What this thread has had of the processor.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
