//! Any bytes as a model file: if it loads, it scores and explains within what it promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phishcnn_core::{Block, Error, Model, Segment, as_bytes_mut};

fuzz_target!(|file: &[u8]| {
    let Ok(model) = Model::load(file) else { return };
    assert!(model.scratch_len() <= 16 << 20);
    assert!(model.scratch_len().is_multiple_of(16));
    // Beyond, a URL takes too long for fuzzing.
    if model.scratch_len() > 1 << 20 || model.multiply_adds(model.max_segments()) > 1 << 22 {
        return;
    }
    let mut scratch = vec![Block::ZERO; model.scratch_len() / 16];
    let scratch = as_bytes_mut(&mut scratch);
    scratch.fill(0xff);
    for url in [&b"http://u@www.A.co.uk:81/b/c?d=e#f"[..], &[b'/'; 40], b"x\xff\0", b"http://"] {
        let score = match model.score(url, scratch) {
            Ok(score) => score,
            // Huge weights overflow.
            Err(error) => {
                assert_eq!(error, Error::NonFinite);
                continue;
            }
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
});
