//! Any bytes as a model file: if it loads, it scores and explains within what it promises, on every
//! backend of this machine; an int8 model with the same bits on all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phishcnn_core::file::{Dtype, File};
use phishcnn_core::{Backend, Block, Error, Model, Score, Segment, as_bytes_mut};

fuzz_target!(|file: &[u8]| {
    let Ok(model) = Model::load(file) else { return };
    assert!(model.scratch_len() <= 16 << 20);
    assert!(model.scratch_len().is_multiple_of(16));
    // Beyond, a URL takes too long for fuzzing.
    if model.scratch_len() > 1 << 20 || model.multiply_adds(model.max_segments()) > 1 << 22 {
        return;
    }
    let tensors = File::read(file).expect("it has loaded").tensors;
    let embedding = tensors.iter().find(|t| t.name.starts_with("embed."));
    let int8 = embedding.is_some_and(|t| t.dtype == Dtype::I8);
    let mut scratch = vec![Block::ZERO; model.scratch_len() / 16];
    let scratch = as_bytes_mut(&mut scratch);
    for url in [&b"http://u@www.A.co.uk:81/b/c?d=e#f"[..], &[b'/'; 40], b"x\xff\0", b"http://"] {
        let mut first = None;
        for backend in Backend::ALL {
            let Some(model) = model.clone().with_backend(backend) else { continue };
            scratch.fill(0xff);
            let score = model.score(url, scratch);
            if int8 {
                let bits = score.map(|score| score.logit.to_bits());
                assert_eq!(*first.get_or_insert(bits), bits, "{}", backend.as_str());
            }
            check(&model, url, scratch, score);
        }
    }
});

fn check(model: &Model<'_>, url: &[u8], scratch: &mut [u8], score: Result<Score, Error>) {
    let score = match score {
        Ok(score) => score,
        // Huge weights overflow.
        Err(error) => return assert_eq!(error, Error::NonFinite),
    };
    assert!(score.logit.is_finite());
    assert!((0.0..=1.0).contains(&score.probability));
    if model.max_segments() < 100 {
        let mut out = [Segment::default(); 100];
        match model.explain(url, scratch, &mut out) {
            Ok((again, count)) => {
                assert_eq!(again, score);
                assert!(count <= model.max_segments());
            }
            Err(error) => assert_eq!(error, Error::NonFinite),
        }
    }
}
