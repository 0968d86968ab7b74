//! The core's answers to the URLs of `core/tests/vectors`, as lines that C reads with `fscanf`:
//!
//! ```text
//! model PATH                  the following lines are its answers; PATH `-`: the embedded model
//! LENGTH HEX STATUS VERDICT LOGIT PROBABILITY TRUNCATED COUNT {START END PART CONTRIBUTION}
//! ```
//! HEX is `-` for an empty URL; floats are their bits in hexadecimal.

use phishcnn_core::{Block, Error, Model, Score, Segment, as_bytes_mut};
use serde_json::Value;
use std::error;
use std::path::PathBuf;

pub fn print() -> Result<(), Box<dyn error::Error>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../core/tests/vectors");
    let folder = folder.canonicalize()?;
    for name in ["url-bytes", "keras-char", "int8-url-bytes", "int8-keras-char"] {
        let urls =
            urls(&serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json")))?)?)
                .ok_or("a vector is not as its README says")?;
        let path = folder.join(format!("{name}.safetensors"));
        println!("model {}", path.display());
        answers(&std::fs::read(&path)?, &urls)?;
        if name == "url-bytes" {
            println!("model -");
            answers(phishcnn_weights::COMPACT, &urls)?;
        }
    }
    Ok(())
}

fn urls(document: &Value) -> Option<Vec<Vec<u8>>> {
    let vectors = document["vectors"].as_array()?.iter();
    vectors
        .map(|vector| {
            let mut url = match &vector["url_hex"] {
                Value::String(hex) => {
                    let pairs = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).ok());
                    let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok());
                    bytes.collect::<Option<_>>()?
                }
                _ => vector["url"].as_str()?.as_bytes().to_vec(),
            };
            if let Value::Object(repeat) = &vector["repeat"] {
                let times = usize::try_from(repeat["times"].as_u64()?).ok()?;
                url.extend(repeat["text"].as_str()?.repeat(times).bytes());
            }
            Some(url)
        })
        .collect()
}

fn answers(file: &[u8], urls: &[Vec<u8>]) -> Result<(), Box<dyn error::Error>> {
    let model = Model::load(file).map_err(|e| e.to_string())?;
    let mut scratch = vec![Block::ZERO; model.scratch_len() / 16];
    let mut segments = vec![Segment::default(); model.max_segments()];
    for url in urls {
        let hex: String = url.iter().map(|byte| format!("{byte:02x}")).collect();
        print!("{} {} ", url.len(), if hex.is_empty() { "-" } else { &hex });
        let answer = model.explain(url, as_bytes_mut(&mut scratch), &mut segments);
        match answer {
            Ok((score, count)) => score_and_segments(&score, segments.get(..count)),
            Err(error) => println!("{} -1 0 0 0 0", Error::code(error)),
        }
    }
    Ok(())
}

fn score_and_segments(score: &Score, segments: Option<&[Segment]>) {
    let segments = segments.unwrap_or_default();
    print!(
        "0 {} {:x} {:x} {} {}",
        score.verdict as u8,
        score.logit.to_bits(),
        score.probability.to_bits(),
        u8::from(score.truncated),
        segments.len()
    );
    for s in segments {
        print!(" {} {} {} {:x}", s.start, s.end, s.part as u8, s.contribution.to_bits());
    }
    println!();
}
