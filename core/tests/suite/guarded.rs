//! Whole models, with file, URL and scratch memory beside pages that may not be touched. (The
//! kernels alone, each of their slices there: `src/kernel/guarded.rs`.)

// (Not of `support`, which fuzzing takes over, without libc.)
#[allow(unreachable_pub)]
#[path = "../support/guard.rs"]
mod guard;

use crate::int8::backends;
use crate::support::Random;
use crate::support::int8;
use crate::{engine, scratch};
use guard::{EDGES, Edge, Guarded};
use phishcnn_core::{Model, as_bytes_mut};

fn check(file: &[u8], lengths: &[usize]) {
    let mut random = Random(1);
    let text: Vec<u8> = (0..300).map(|_| *random.pick(b"abcxyz0189-._/?=&%~@:#\xc3\xa9")).collect();
    for backend in backends() {
        let model = Model::load(file).unwrap().with_backend(backend).unwrap();
        let mut memory = scratch(&model);
        for edge in EDGES {
            let (file, text) = (Guarded::new(file, edge), Guarded::new(&text, edge));
            let guarded = Model::load(&file).unwrap().with_backend(backend).unwrap();
            let mut scratch = Guarded::new(&memory, edge);
            for &length in lengths {
                let url = match edge {
                    Edge::Start => &text[..length],
                    Edge::End => &text[text.len() - length..],
                };
                let want = model.score(url, as_bytes_mut(&mut memory));
                let got = guarded.score(url, as_bytes_mut(&mut scratch));
                assert_eq!(got, want, "{} {edge:?} {}", backend.as_str(), model.layers());
            }
        }
    }
}

#[test]
fn models_of_all_layers() {
    let lengths: Vec<_> = (1..40).chain((40..300).step_by(13)).chain(255..259).collect();
    for (seed, architecture) in (1..).zip(crate::int8::architectures()) {
        check(&int8::build(&architecture, seed).bytes(), &lengths);
    }
    for (seed, architecture) in (1..).zip(engine::architectures()) {
        check(&architecture.build(seed).bytes(), &lengths);
    }
    check(&crate::int8::compact().build(1).bytes(), &lengths);
}

#[test]
fn the_embedded_model() {
    let file = crate::int8::released("phishcnn-compact");
    check(&file, &(1..=300).collect::<Vec<_>>());
}
