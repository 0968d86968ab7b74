//! Loading, scoring and explaining allocate nothing, measured.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use phishcnn_core::{Block, Model, Segment, as_bytes_mut};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::model_file::{Architecture, Input, Layer, conv, dense};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() -> u64 {
    COUNT.with(Cell::get)
}

// SAFETY: forwards to `System` unchanged; the counter is a plain thread-local without drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        COUNT.with(|n| n.set(n.get() + 1));
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn load_score_and_explain_do_not_allocate() {
    let bytes = || Input::Bytes { max: 256, tables: "bytes+parts" };
    let chars = Input::Chars { length: 64, canonical: true };
    for (input, int8) in [(bytes(), false), (chars, false), (bytes(), true)] {
        let mut layers = vec![
            conv(3, 16, "relu"),
            Layer::MaxPool { size: 2, ceil: true },
            Layer::Pool("max+avg"),
            dense(4, "tanh"),
            dense(1, ""),
        ];
        if matches!(input, Input::Bytes { .. }) {
            layers.push(Layer::Ngrams { first: 2, last: 5 });
        }
        let architecture = Architecture { input, width: 4, layers, output: "logit" };
        let file = match int8 {
            true => support::int8::build(&architecture, 1),
            false => architecture.build(1),
        };
        let file = file.bytes();
        let before = count();
        let mut scratch = vec![Block::ZERO; Model::load(&file).unwrap().scratch_len() / 16];
        assert!(count() > before, "the counter counts");
        let mut out = [Segment::default(); 256];

        let before = count();
        let model = Model::load(&file);
        let broken = Model::load(&file[..file.len() - 1]).is_err();
        let model = model.unwrap();
        let scratch = as_bytes_mut(&mut scratch);
        let mut scored = 0;
        for url in [&b"http://u@www.a.co.uk:81/b/c?d=e#f"[..], &[b'/'; 300], b"\xff\0", b" "] {
            scored += usize::from(model.score(url, scratch).is_ok());
            scored += usize::from(model.explain(url, scratch, &mut out).is_ok());
        }
        let after = count();
        assert_eq!(after - before, 0);
        assert!(broken && scored == 6);
    }
}
