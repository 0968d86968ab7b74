//! int8 models: every backend of this machine gives the bits of the plain integer oracle.

use crate::engine::any_ngrams;
use crate::scratch;
use crate::support::Random;
use crate::support::int8::{Int8Network, build};
use crate::support::model_file::{Architecture, Input, Layer, ModelFile, conv, dense};
use crate::urls;
use phishcnn_core::{Backend, Error, Model, as_bytes_mut};
use proptest::prelude::*;
use proptest::sample::select;
use std::io::Write as _;

fn bytes(width: usize, layers: Vec<Layer>, output: &'static str) -> Architecture {
    // Longer URLs than one tile of positions (256).
    Architecture { input: Input::Bytes { max: 530, tables: "bytes+parts" }, width, layers, output }
}

/// The compact model's tables and layers.
pub(crate) fn compact() -> Architecture {
    let pool = || Layer::MaxPool { size: 2, ceil: true };
    let add = |kernel, outputs| Layer::Conv {
        kernel,
        outputs,
        same: true,
        dilation: 1,
        activation: "relu",
        add: true,
    };
    let layers = vec![
        conv(5, 64, "relu"),
        pool(),
        conv(5, 112, "relu"),
        pool(),
        add(5, 112),
        Layer::Pool("max+avg"),
        dense(64, "relu"),
        dense(1, ""),
    ];
    let input = Input::Bytes { max: 530, tables: "bytes+parts+trigrams" };
    Architecture { input, ..bytes(16, layers, "logit") }
}

/// The file of a released model.
pub(crate) fn released(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../weights/models");
    std::fs::read(format!("{folder}/{name}.safetensors")).unwrap()
}

/// Together every layer kind and option, and sizes around the tiles (16 to 112 columns; 1 to 6 rows).
pub(crate) fn architectures() -> Vec<Architecture> {
    use Layer::{Conv, Flatten, MaxPool, Ngrams, Pool};
    let with = |kernel, outputs, same, dilation, activation, add| Conv {
        kernel,
        outputs,
        same,
        dilation,
        activation,
        add,
    };
    let ceil = |size| MaxPool { size, ceil: true };
    let floor = |size| MaxPool { size, ceil: false };
    let chars = |length, canonical| Input::Chars { length, canonical };
    vec![
        compact(),
        bytes(4, vec![Pool("max"), dense(1, "")], "logit"),
        bytes(12, vec![Pool("avg"), dense(2, "")], "sigmoid2 positive=1"),
        bytes(
            8,
            vec![
                conv(4, 16, "tanh"),
                ceil(2),
                conv(2, 32, "sigmoid"),
                ceil(3),
                conv(1, 48, ""),
                ceil(2),
                Pool("max+avg"),
                dense(7, "tanh"),
                dense(5, "sigmoid"),
                dense(3, ""),
                dense(2, ""),
            ],
            "softmax2 positive=0",
        ),
        bytes(
            16,
            vec![
                with(3, 16, true, 3, "relu", true),
                with(3, 16, true, 1, "", true),
                ceil(2),
                ceil(2),
                with(4, 80, true, 7, "relu", false),
                Pool("avg"),
                dense(1, ""),
            ],
            "logit",
        ),
        bytes(
            4,
            vec![ceil(3), ceil(2), conv(3, 16, "relu"), ceil(2), Pool("max+avg"), dense(1, "")],
            "logit",
        ),
        bytes(
            4,
            vec![
                with(3, 16, true, 150, "relu", false),
                conv(299, 16, "relu"),
                Pool("max"),
                dense(2, ""),
            ],
            "softmax2 positive=1",
        ),
        Architecture {
            input: Input::Bytes { max: 200, tables: "bytes+parts+trigrams" },
            width: 8,
            layers: vec![conv(5, 32, "relu"), ceil(2), Pool("max+avg"), dense(1, "")],
            output: "logit",
        },
        bytes(
            4,
            vec![conv(3, 16, "relu"), Pool("avg"), dense(1, ""), Ngrams { first: 2, last: 5 }],
            "logit",
        ),
        // URLs that are cut, and the longest n-grams.
        Architecture {
            input: Input::Bytes { max: 20, tables: "bytes" },
            width: 4,
            layers: vec![Pool("max"), dense(1, ""), Ngrams { first: 1, last: 8 }],
            output: "logit",
        },
        Architecture {
            input: Input::Bytes { max: 70, tables: "bytes" },
            width: 8,
            layers: vec![
                conv(6, 112, "relu"),
                ceil(2),
                Pool("max"),
                dense(4, "relu"),
                dense(1, ""),
            ],
            output: "logit",
        },
        // Padding in front over many tiles, its first window of each pool beside the edge.
        Architecture {
            input: chars(150, false),
            width: 4,
            layers: vec![
                conv(3, 16, "relu"),
                ceil(2),
                with(5, 16, true, 3, "relu", true),
                ceil(2),
                conv(4, 16, "relu"),
                floor(3),
                Flatten,
                dense(1, ""),
            ],
            output: "logit",
        },
        Architecture {
            input: chars(200, true),
            width: 8,
            layers: vec![
                with(3, 32, false, 1, "tanh", false),
                floor(3),
                with(5, 32, true, 1, "tanh", false),
                floor(2),
                with(2, 16, false, 2, "relu", false),
                floor(2),
                Flatten,
                dense(2, ""),
            ],
            output: "sigmoid2 positive=1",
        },
        Architecture {
            input: chars(65, false),
            width: 4,
            layers: vec![
                with(15, 16, false, 2, "relu", false),
                ceil(2),
                Pool("max+avg"),
                dense(1, ""),
            ],
            output: "logit",
        },
    ]
}

/// Backends of this machine; the portable one is always among them.
pub(crate) fn backends() -> Vec<Backend> {
    let found: Vec<_> = Backend::ALL.into_iter().filter(|b| b.is_available()).collect();
    assert_eq!(found[0], Backend::Portable);
    assert_eq!(found.last(), Some(&Backend::detect()));
    #[cfg(target_arch = "x86_64")]
    {
        // The standard library detects on its own.
        assert_eq!(found.contains(&Backend::Sse41), is_x86_feature_detected!("sse4.1"));
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        assert_eq!(found.contains(&Backend::Avx2), avx2);
        assert_eq!(found.contains(&Backend::Avx512Vnni), is_x86_feature_detected!("avx512vnni"));
    }
    #[cfg(target_arch = "aarch64")]
    {
        let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
        assert_eq!(found.contains(&Backend::NeonDotprod), dotprod);
    }
    // Whoever chose the processor says what must be there (`make targets`).
    if let Ok(expected) = std::env::var("PHISHCNN_TEST_BACKENDS") {
        let names: Vec<_> = found.iter().map(|backend| backend.as_str()).collect();
        assert_eq!(names.join(" "), expected);
    }
    found
}

/// All backends against each other and the oracle.
fn check(file: &[u8], network: &Int8Network, url: &[u8]) -> Result<f32, TestCaseError> {
    let mut logit = 0.0;
    for backend in backends() {
        let model = Model::load(file).unwrap().with_backend(backend).unwrap();
        prop_assert_eq!(model.backend(), backend);
        let mut scratch = scratch(&model);
        as_bytes_mut(&mut scratch).fill(0xff);
        let got = model.score(url, as_bytes_mut(&mut scratch));
        let got = got.map(|s| s.logit.to_bits()).map_err(Error::code);
        let want = network.score(url).map(f32::to_bits);
        prop_assert_eq!(got, want, "{} {} {:?}", backend.as_str(), model.layers(), url);
        logit = want.map(f32::from_bits).unwrap_or_default();
    }
    Ok(logit)
}

#[test]
fn all_layers_at_all_lengths() {
    for (seed, architecture) in (1..).zip(architectures()) {
        let file = build(&architecture, seed).bytes();
        Model::load(&file).unwrap_or_else(|e| panic!("{e} {architecture:?}"));
        let network = Int8Network::read(&file);
        let mut random = Random(seed);
        let mut logits = Vec::new();
        let edges = [
            30, 31, 32, 33, 34, 62, 63, 64, 65, 66, 127, 128, 129, 200, 255, 256, 257, 300, 513,
            600,
        ];
        for length in (1..=20).chain(edges) {
            let mut url = String::new();
            (0..length).for_each(|_| url.push(char::from(*random.pick(b"abcxyz0189-._/?=&%~"))));
            logits.push(check(&file, &network, url.as_bytes()).unwrap());
        }
        for url in [&b""[..], b"http://", b"http://u:p@A.b:81/\xff\0?q#f", "é😀".as_bytes()] {
            check(&file, &network, url).unwrap();
        }
        // A network that says the same of everything would agree by accident.
        logits.sort_by(f32::total_cmp);
        logits.dedup();
        assert!(logits.len() > 8, "{logits:?} {architecture:?}");
    }
}

/// The models of `all_layers_at_all_lengths`, into the folder PHISHCNN_TEST_MODELS.
#[test]
#[ignore = "no test: `ffi/tests` runs these models on other targets"]
fn write_models() {
    let folder = std::path::PathBuf::from(std::env::var_os("PHISHCNN_TEST_MODELS").unwrap());
    for (seed, architecture) in (1..).zip(architectures()) {
        let file = build(&architecture, seed).bytes();
        std::fs::write(folder.join(format!("{seed:02}.safetensors")), file).unwrap();
    }
}

prop_compose! {
    fn architecture()(
        width in 1_usize..6,
        stages in prop::collection::vec(
            (1_usize..7, 1_usize..9, 1_usize..4, select(vec!["", "relu", "tanh", "sigmoid"]),
             any::<bool>(), 0_usize..4), 1..4),
        readout in select(vec!["max", "avg", "max+avg"]),
        hidden in prop::collection::vec((1_usize..20, select(vec!["", "relu", "tanh", "sigmoid"])), 0..3),
        ngrams in any_ngrams(),
    ) -> Architecture {
        let mut layers = Vec::new();
        let mut channels = 4 * width;
        for (kernel, blocks, dilation, activation, add, pool) in stages {
            let add = add && channels.is_multiple_of(16) && ["", "relu"].contains(&activation);
            let outputs = if add { channels } else { 16 * blocks };
            channels = outputs;
            layers.push(Layer::Conv { kernel, outputs, same: true, dilation, activation, add });
            if pool > 0 {
                layers.push(Layer::MaxPool { size: pool, ceil: true });
            }
        }
        layers.push(Layer::Pool(readout));
        layers.extend(hidden.into_iter().map(|(outputs, activation)| dense(outputs, activation)));
        layers.push(dense(1, ""));
        layers.extend(ngrams);
        bytes(4 * width, layers, "logit")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_architectures(
        architecture in architecture(),
        seed in any::<u64>(),
        urls in prop::collection::vec(urls::any_url(), 1..4),
    ) {
        let file = build(&architecture, seed).bytes();
        let network = Int8Network::read(&file);
        for url in urls {
            check(&file, &network, &url)?;
        }
    }
}

/// A hash of the logits of `count` made-up URLs.
fn hash(model: &Model<'_>, count: u64) -> u64 {
    let mut scratch = scratch(model);
    let mut random = Random(1);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut url = Vec::new();
    for _ in 0..count {
        url.clear();
        let longest = if random.below(8) == 0 { 300 } else { 80 };
        let length = 1 + random.below(longest);
        url.extend((0..length).map(|_| match random.below(16) {
            0 => random.next() as u8,
            1..4 => *random.pick(b"/.?=&-"),
            _ => *random.pick(b"abcdefghijklmnopqrstuvwxyz0123456789"),
        }));
        let bits = model.score(&url, as_bytes_mut(&mut scratch)).map_or(0, |s| s.logit.to_bits());
        for byte in bits.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// The hash that all backends of this machine have in common.
fn every_backend_agrees(name: &str, file: &[u8], count: u64) -> u64 {
    let (names, hashes): (Vec<_>, Vec<_>) = backends()
        .into_iter()
        .map(|backend| {
            let model = Model::load(file).unwrap().with_backend(backend).unwrap();
            (backend.as_str(), hash(&model, count))
        })
        .unzip();
    // Past the harness, which would keep it: which backends there are depends on the machine.
    let _ = writeln!(std::io::stderr(), "{name}, {count} URLs: {names:?} {hashes:016x?}");
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    hashes[0]
}

/// A network whose hashes are known; the plain oracle gives the same.
fn seeded() -> Vec<u8> {
    build(&compact(), 5).bytes()
}

#[test]
fn every_backend_on_2_000_urls() {
    assert_eq!(every_backend_agrees("seeded", &seeded(), 2_000), 0x0eb4_c715_cbee_1842);
}

#[test]
fn every_backend_on_2_000_urls_of_the_released_model() {
    every_backend_agrees("released", &released("phishcnn-compact"), 2_000);
}

#[test]
#[ignore = "a minute on two cores: `make engine`, a part of `make test`, runs it"]
fn every_backend_on_100_000_urls() {
    assert_eq!(every_backend_agrees("seeded", &seeded(), 100_000), 0x00c8_31c0_1866_eb59);
}

#[test]
#[ignore = "as the above"]
fn every_backend_on_100_000_urls_of_the_released_model() {
    every_backend_agrees("released", &released("phishcnn-compact"), 100_000);
}

/// What their files say that they must answer (`docs/model-file.md`), and the oracle's bits.
#[test]
fn released_models_meet_their_golden_logits() {
    for name in ["phishcnn-compact", "phishcnn-large"] {
        let file = released(name);
        let network = Int8Network::read(&file);
        let golden = Model::load(&file).unwrap().metadata().get("phishcnn.golden").unwrap();
        let words: Vec<_> = golden.split_ascii_whitespace().collect();
        assert!(words.len() >= 4, "{name}");
        for pair in words.chunks(2) {
            let want: f32 = pair[0].parse().unwrap();
            let got = check(&file, &network, pair[1].as_bytes()).unwrap();
            assert!((got - want).abs() < 1e-3, "{name} {pair:?} {got}");
        }
    }
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let good = || build(&architectures()[4], 1);
    let refused = |file: ModelFile| {
        let bytes = file.bytes();
        Model::load(&bytes).map(|_| ()).map_err(|e| e.error.code())
    };
    assert_eq!(refused(good()), Ok(()));
    for name in ["embed.zero", "c0.bias", "c0.multiplier", "c0.residual", "c1.weight", "d6.scale"] {
        let mut file = good();
        file.tensors.retain(|t| t.name != name);
        assert_eq!(refused(file), Err(105), "{name} is missing");
        let mut file = good();
        file.tensor_mut(name).dtype = match file.tensor_mut(name).dtype {
            "I8" => continue,
            _ => "U32",
        };
        assert_eq!(refused(file), Err(104), "{name} of another type");
    }
    let mut file = good();
    file.tensor_mut("c0.multiplier").data[3] = 0x80;
    assert_eq!(refused(file), Err(104), "negative multiplier");
    let mut file = good();
    file.tensor_mut("d6.scale").data = f32::NAN.to_le_bytes().to_vec();
    assert_eq!(refused(file), Err(106), "scale");
    let mut file = good();
    file.tensor_mut("c0.zero").data = vec![0x80];
    assert_eq!(refused(file), Err(105), "zero");
    let mut file = good();
    file.tensor_mut("c0.weight").shape = vec![2, 6, 64];
    assert_eq!(refused(file), Err(105), "weight");
}

#[test]
fn at_most_16_words_of_stages() {
    // A convolution and the pool behind it run as one, and count as two.
    let stages = |n: usize| {
        let pairs = [conv(1, 16, "relu"), Layer::MaxPool { size: 2, ceil: true }];
        let layers = pairs.into_iter().cycle().take(n);
        let layers = layers.chain([Layer::Pool("max"), dense(1, "")]).collect();
        let file = build(&bytes(4, layers, "logit"), 1).bytes();
        Model::load(&file).map(|_| ()).map_err(|e| (e.error, e.item.to_string()))
    };
    assert_eq!(stages(16), Ok(()));
    assert_eq!(stages(17), Err((Error::Unsupported, "conv c16 same relu".into())));
}
