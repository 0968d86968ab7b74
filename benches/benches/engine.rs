//! `cargo bench`: loading, one URL at each length, a batch, on each backend of the machine, and the
//! compact network cut off behind each layer.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use phishcnn_benches::{Aligned, model_file, urls};
use phishcnn_core::{Backend, Block, Model, as_bytes_mut};
use std::hint::black_box;

const MODELS: [&str; 2] = ["f32.safetensors", "int8.safetensors"];

fn scratch(model: &Model<'_>) -> Vec<Block> {
    vec![Block::ZERO; model.scratch_len() / 16]
}

fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("load, and to the first score");
    for name in MODELS {
        let file = Aligned::new(&model_file(name));
        let mut scratch = scratch(&Model::load(file.bytes()).unwrap());
        let url = urls(64).swap_remove(0);
        group.bench_function(BenchmarkId::new("load", name), |b| {
            b.iter(|| black_box(Model::load(black_box(file.bytes())).unwrap().scratch_len()));
        });
        group.bench_function(BenchmarkId::new("load and score", name), |b| {
            b.iter(|| {
                let model = Model::load(black_box(file.bytes())).unwrap();
                black_box(model.score(&url, as_bytes_mut(&mut scratch)).unwrap())
            });
        });
    }
}

fn score(c: &mut Criterion) {
    for name in MODELS {
        let file = Aligned::new(&model_file(name));
        for backend in Backend::ALL {
            let Some(model) = Model::load(file.bytes()).unwrap().with_backend(backend) else {
                continue;
            };
            let mut scratch = scratch(&model);
            let mut group = c.benchmark_group(format!("{name} {}", backend.as_str()));
            for length in [16, 32, 64, 128, 256, 512] {
                let urls = urls(length);
                let mut urls = urls.iter().cycle();
                group.throughput(Throughput::Bytes(length as u64));
                group.bench_function(BenchmarkId::from_parameter(length), |b| {
                    b.iter(|| {
                        let url = urls.next().unwrap();
                        model.score(black_box(url), as_bytes_mut(&mut scratch)).unwrap()
                    });
                });
            }
            let urls: Vec<_> = (16..80).flat_map(urls).take(1000).collect();
            group.throughput(Throughput::Elements(1000));
            group.bench_function("1000 URLs of 16 to 79 bytes", |b| {
                b.iter(|| {
                    for url in &urls {
                        black_box(model.score(url, as_bytes_mut(&mut scratch)).unwrap());
                    }
                });
            });
        }
    }
}

/// The network up to a layer, pooled; what one more layer takes is the difference to the next.
fn layers(c: &mut Criterion) {
    for kind in ["f32", "int8"] {
        let mut group = c.benchmark_group(format!("64 bytes, {kind}, up to"));
        let cut = ["embed", "c1", "c2"]
            .map(|layer| (layer, format!("layers/{kind}/{layer}.safetensors")));
        for (layer, name) in cut.into_iter().chain([("the logit", format!("{kind}.safetensors"))]) {
            let file = Aligned::new(&model_file(&name));
            let model = Model::load(file.bytes()).unwrap();
            let mut scratch = scratch(&model);
            let urls = urls(64);
            let mut urls = urls.iter().cycle();
            group.bench_function(layer, |b| {
                b.iter(|| {
                    let url = urls.next().unwrap();
                    model.score(black_box(url), as_bytes_mut(&mut scratch)).unwrap()
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots().sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(500));
    targets = load, score, layers
}
criterion_main!(benches);
