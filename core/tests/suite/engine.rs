use crate::int8::backends;
use crate::scratch;
use crate::support::Random;
use crate::support::model_file::{Architecture, Input, Layer, ModelFile, conv, dense};
use crate::support::network::Network;
use crate::urls;
use phishcnn_core::{Backend, Error, MAX_URL_LEN, Model, as_bytes_mut};
use proptest::prelude::*;
use proptest::sample::select;

/// Longer URLs than one tile of positions (256).
const BYTES: Input = Input::Bytes { max: 530, tables: "bytes+parts" };

/// Together every layer kind and option, and the limits; `wide_layers` has what is wider.
pub(crate) fn architectures() -> Vec<Architecture> {
    use Layer::{Conv, Flatten, MaxPool, Ngrams, Pool};
    let url_bytes = |width, layers, output| Architecture { input: BYTES, width, layers, output };
    let dilated = |kernel, outputs, dilation, add| Conv {
        kernel,
        outputs,
        same: true,
        dilation,
        activation: "relu",
        add,
    };
    let valid = |kernel, outputs, dilation| Conv {
        kernel,
        outputs,
        same: false,
        dilation,
        activation: "tanh",
        add: false,
    };
    let ceil = |size| MaxPool { size, ceil: true };
    let floor = |size| MaxPool { size, ceil: false };
    let chars = |length, canonical| Input::Chars { length, canonical };
    let last = || dense(1, "");
    let mut deepest = vec![conv(3, 4, "relu"); 15];
    deepest.extend([ceil(2), Pool("max")]);
    deepest.extend([
        dense(5, "tanh"),
        dense(4, "relu"),
        dense(4, "sigmoid"),
        dense(3, ""),
        dense(9, "tanh"),
        last(),
    ]);
    vec![
        url_bytes(8, vec![Pool("max"), last()], "logit"),
        url_bytes(9, vec![Pool("avg"), dense(2, "")], "sigmoid2 positive=1"),
        url_bytes(
            8,
            vec![
                conv(5, 8, "relu"),
                ceil(2),
                conv(3, 17, "relu"),
                dilated(3, 17, 1, true),
                Pool("max+avg"),
                dense(8, "relu"),
                last(),
            ],
            "logit",
        ),
        url_bytes(
            3,
            vec![
                conv(4, 7, "tanh"),
                conv(2, 5, "sigmoid"),
                conv(1, 3, ""),
                Pool("avg"),
                dense(2, ""),
            ],
            "sigmoid2 positive=0",
        ),
        url_bytes(
            6,
            vec![
                dilated(3, 6, 3, true),
                dilated(4, 9, 7, false),
                dilated(2, 9, 16, true),
                Pool("max+avg"),
                last(),
            ],
            "logit",
        ),
        url_bytes(
            4,
            vec![
                conv(40, 6, "relu"),
                ceil(20),
                conv(17, 6, "relu"),
                ceil(3),
                Pool("max"),
                dense(2, ""),
            ],
            "softmax2 positive=0",
        ),
        url_bytes(
            4,
            vec![ceil(3), ceil(5), ceil(16), ceil(1), conv(3, 3, "tanh"), Pool("avg"), last()],
            "logit",
        ),
        url_bytes(
            2,
            vec![dilated(3, 4, 150, false), conv(300, 3, "relu"), Pool("max+avg"), last()],
            "logit",
        ),
        url_bytes(3, deepest, "logit"),
        Architecture {
            input: Input::Bytes { max: 530, tables: "bytes+parts+trigrams" },
            width: 7,
            layers: vec![conv(3, 9, "relu"), Pool("max+avg"), last()],
            output: "logit",
        },
        url_bytes(
            5,
            vec![conv(3, 4, "relu"), Pool("max"), last(), Ngrams { first: 2, last: 5 }],
            "logit",
        ),
        // URLs that are cut, and the longest n-grams.
        Architecture {
            input: Input::Bytes { max: 20, tables: "bytes" },
            width: 2,
            layers: vec![Pool("avg"), last(), Ngrams { first: 1, last: 8 }],
            output: "logit",
        },
        Architecture {
            input: Input::Bytes { max: 20, tables: "bytes" },
            width: 5,
            layers: vec![conv(3, 4, "relu"), Pool("max"), dense(3, "softmax"), dense(2, "")],
            output: "softmax2 positive=1",
        },
        Architecture {
            input: chars(200, false),
            width: 8,
            layers: vec![
                valid(5, 8, 1),
                floor(4),
                valid(3, 6, 2),
                floor(3),
                Flatten,
                dense(8, "sigmoid"),
                dense(2, ""),
            ],
            output: "sigmoid2 positive=1",
        },
        // Padding in front over many tiles, its first window of each pool beside the edge.
        Architecture {
            input: chars(150, false),
            width: 4,
            layers: vec![
                conv(3, 8, "relu"),
                ceil(2),
                dilated(5, 8, 3, true),
                ceil(2),
                conv(4, 5, "relu"),
                floor(3),
                Flatten,
                last(),
            ],
            output: "logit",
        },
        Architecture {
            input: chars(33, true),
            width: 3,
            layers: vec![conv(4, 5, "relu"), floor(5), valid(6, 3, 1), Flatten, last()],
            output: "logit",
        },
        Architecture {
            input: chars(7, false),
            width: 3,
            layers: vec![Flatten, last()],
            output: "logit",
        },
        Architecture {
            input: chars(31, true),
            width: 4,
            layers: vec![valid(15, 8, 2), ceil(2), Pool("max+avg"), dense(2, "")],
            output: "softmax2 positive=0",
        },
        Architecture {
            input: chars(50, false),
            width: 4,
            layers: vec![ceil(17), floor(2), valid(1, 8, 9), Pool("avg"), last()],
            output: "logit",
        },
    ]
}

/// A URL whose canonical form has exactly `length` bytes.
fn url_of_length(length: usize, random: &mut Random) -> String {
    let mut url = String::from("h.co.uk/");
    url.truncate(length);
    let alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789-._/=&";
    while url.len() < length {
        url.push(char::from(*random.pick(alphabet)));
    }
    // A lone slash or a trailing dot of the host would be removed.
    if url.ends_with(['/', '.']) && length < 9 {
        url.replace_range(length - 1.., "x");
    }
    url
}

fn close(got: f32, want: f64) -> bool {
    (f64::from(got) - want).abs() <= 1e-4 * want.abs().max(1.0)
}

/// All backends against the oracle; in bits, those that round a product before they add it against
/// each other, and those that do not.
fn check(file: &[u8], network: &Network, url: &[u8]) -> Result<(), TestCaseError> {
    let (mut apart, mut fused) = (None, None);
    for backend in backends() {
        let model = Model::load(file).unwrap().with_backend(backend).unwrap();
        let logit = check_model(&model, network, url)?;
        let others = match backend {
            Backend::Avx2 | Backend::Avx512Vnni | Backend::Neon | Backend::NeonDotprod => {
                &mut fused
            }
            _ => &mut apart,
        };
        let name = backend.as_str();
        prop_assert_eq!(*others.get_or_insert(logit), logit, "{} {}", name, model.layers());
    }
    Ok(())
}

/// The logit's bits, when there is one.
fn check_model(
    model: &Model<'_>,
    network: &Network,
    url: &[u8],
) -> Result<Option<u32>, TestCaseError> {
    let mut scratch = scratch(model);
    let got = model.score(url, as_bytes_mut(&mut scratch));
    let (tokens, truncated) = match network.tokens(url) {
        Ok(found) => found,
        Err(code) => {
            prop_assert_eq!(got.map_err(Error::code), Err(code));
            return Ok(None);
        }
    };
    let (got, want) = (got.unwrap(), network.logit(&tokens));
    prop_assert!(close(got.logit, want), "{} {want} {} {url:?}", got.logit, model.layers());
    prop_assert_eq!(got.truncated, truncated);
    prop_assert!((f64::from(got.probability) - network.probability(want)).abs() < 1e-3);
    prop_assert_eq!(got.verdict.as_str(), network.verdict(got.logit.into()));
    Ok(Some(got.logit.to_bits()))
}

#[test]
fn all_layers_at_all_lengths() {
    for (seed, architecture) in (1..).zip(architectures()) {
        let file = architecture.build(seed).bytes();
        Model::load(&file).unwrap_or_else(|e| panic!("{e} {architecture:?}"));
        let network = Network::read(&file);
        let mut random = Random(seed);
        let edges = [47, 48, 49, 63, 64, 65, 100, 199, 200, 201, 255, 256, 257, 300, 513, 600];
        for length in (1..=34).chain(edges) {
            let url = url_of_length(length, &mut random);
            let is_bytes = matches!(architecture.input, Input::Bytes { .. });
            let count = network.tokens(url.as_bytes()).unwrap().0.len();
            assert!(!is_bytes || count == length.min(count.max(530)) || count == 20, "{url}");
            check(&file, &network, url.as_bytes()).unwrap();
        }
        for url in [&b""[..], b" ", b"http://", b"http://u:p@A.b:81/\xff\0?q#f", "é😀".as_bytes()]
        {
            check(&file, &network, url).unwrap();
        }
    }
}

/// Columns and rows in all of the registers' tiles, windows of several blocks of weights, and
/// activations few of which are zero, or most.
#[test]
fn wide_layers() {
    let add = Layer::Conv {
        kernel: 3,
        outputs: 112,
        same: true,
        dilation: 1,
        activation: "relu",
        add: true,
    };
    for (seed, (first, activation)) in
        [(64, "relu"), (137, "relu"), (41, "tanh")].into_iter().enumerate()
    {
        let layers = vec![
            conv(5, first, activation),
            Layer::MaxPool { size: 2, ceil: true },
            conv(3, 112, "relu"),
            add.clone(),
            conv(2, 80, "relu"),
            Layer::Pool("max+avg"),
            dense(1, ""),
        ];
        let architecture = Architecture { input: BYTES, width: 13, layers, output: "logit" };
        let file = architecture.build(seed as u64).bytes();
        let network = Network::read(&file);
        let mut random = Random(seed as u64);
        for length in [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 45, 131, 530] {
            let url = url_of_length(length, &mut random);
            check(&file, &network, url.as_bytes()).unwrap();
        }
    }
}

fn stage(keras: bool) -> impl Strategy<Value = Layer> {
    let activation = select(vec!["", "relu", "tanh", "sigmoid"]);
    let convolution =
        (1_usize..7, 1_usize..19, 1_usize..10, activation, any::<bool>(), any::<bool>());
    prop_oneof![
        3 => convolution.prop_map(move |(kernel, outputs, dilation, activation, same, add)| {
            let dilation = if add { dilation } else { 1 };
            Layer::Conv { kernel, outputs, same: same || !keras, dilation, activation, add: false }
        }),
        1 => (1_usize..20, any::<bool>()).prop_map(move |(size, ceil)| Layer::MaxPool { size, ceil: ceil || !keras }),
        1 => (1_usize..5, select(vec!["", "relu"])).prop_map(|(kernel, activation)| {
            // Zero outputs: as many as inputs, filled in below.
            Layer::Conv { kernel, outputs: 0, same: true, dilation: 1, activation, add: true }
        }),
    ]
}

/// A layer of n-grams, or none.
pub(crate) fn any_ngrams() -> impl Strategy<Value = Option<Layer>> {
    let orders = (1_usize..=8, 1_usize..=8);
    prop::option::of(orders.prop_map(|(a, b)| Layer::Ngrams { first: a.min(b), last: a.max(b) }))
}

prop_compose! {
    fn architecture()(
        (input, mut layers) in any::<bool>().prop_flat_map(|keras| {
            let input = match keras {
                true => (1_usize..90, any::<bool>()).prop_map(|(length, canonical)| Input::Chars { length, canonical }).boxed(),
                false => (1_usize..90, select(vec!["bytes", "bytes+parts", "bytes+parts+trigrams"])).prop_map(|(max, tables)| Input::Bytes { max, tables }).boxed(),
            };
            (input, prop::collection::vec(stage(keras), 0..5))
        }),
        width in 1_usize..12,
        readout in select(vec!["max", "avg", "max+avg", "flatten"]),
        hidden in prop::collection::vec((1_usize..20, select(vec!["", "relu", "tanh", "sigmoid", "softmax"])), 0..3),
        output in select(vec!["logit", "sigmoid2 positive=0", "sigmoid2 positive=1", "softmax2 positive=0", "softmax2 positive=1"]),
        ngrams in any_ngrams(),
    ) -> Architecture {
        let mut channels = width;
        let mut length = match input {
            Input::Chars { length, .. } => Some(length),
            Input::Bytes { .. } => None,
        };
        // Drops layers that would leave no position.
        layers.retain_mut(|layer| {
            let left = match layer {
                Layer::Conv { outputs, kernel, dilation, same, .. } => {
                    let reach = (*kernel - 1) * *dilation;
                    if !*same && length.is_none_or(|n| n <= reach) {
                        return false;
                    }
                    if *outputs == 0 {
                        *outputs = channels;
                    }
                    channels = *outputs;
                    length.map(|n| if *same { n } else { n - reach })
                }
                Layer::MaxPool { size, ceil } => {
                    if !*ceil && length.is_none_or(|n| n < *size) {
                        return false;
                    }
                    length.map(|n| if *ceil { n.div_ceil(*size) } else { n / *size })
                }
                _ => length,
            };
            length = left;
            true
        });
        layers.push(match readout {
            "flatten" if length.is_some() => Layer::Flatten,
            "flatten" => Layer::Pool("max"),
            kind => Layer::Pool(kind),
        });
        layers.extend(hidden.into_iter().map(|(outputs, activation)| dense(outputs, activation)));
        layers.push(dense(if output == "logit" { 1 } else { 2 }, ""));
        layers.extend(ngrams.filter(|_| output == "logit" && length.is_none()));
        Architecture { input, width, layers, output }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_architectures(
        architecture in architecture(),
        seed in any::<u64>(),
        urls in prop::collection::vec(urls::any_url(), 1..5),
    ) {
        let file = architecture.build(seed).bytes();
        Model::load(&file).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let network = Network::read(&file);
        for url in urls {
            check(&file, &network, &url)?;
        }
    }
}

/// Several URLs of a model with all kinds of state.
fn small() -> (ModelFile, [&'static [u8]; 3]) {
    let urls: [&[u8]; 3] =
        [b"x", b"http://user@www.shop.example.co.uk:81/a/b/c?d=e&f=g#h", &[b'q'; 300]];
    (architectures().swap_remove(2).build(7), urls)
}

#[test]
fn content_of_the_scratch_does_not_matter() {
    for (seed, architecture) in (1..).zip(architectures()) {
        let file = architecture.build(seed).bytes();
        let model = Model::load(&file).unwrap();
        for url in small().1 {
            let (mut zeros, mut ones) = (scratch(&model), scratch(&model));
            as_bytes_mut(&mut ones).fill(0xff);
            let zeros = model.score(url, as_bytes_mut(&mut zeros)).unwrap();
            for _ in 0..2 {
                let ones = model.score(url, as_bytes_mut(&mut ones)).unwrap();
                assert_eq!(zeros.logit.to_bits(), ones.logit.to_bits(), "{architecture:?}");
            }
        }
    }
}

#[test]
fn scratch_too_small_or_misaligned() {
    let (file, urls) = small();
    let file = file.bytes();
    let model = Model::load(&file).unwrap();
    let length = model.scratch_len();
    assert_eq!(length % 16, 0);
    let mut blocks = scratch(&model);
    blocks.push(phishcnn_core::Block::ZERO);
    let bytes = as_bytes_mut(&mut blocks);
    for url in urls {
        assert!(model.score(url, &mut bytes[..length]).is_ok());
        assert_eq!(model.score(url, &mut bytes[..length - 1]), Err(Error::ScratchTooSmall));
        assert_eq!(model.score(url, &mut bytes[..0]), Err(Error::ScratchTooSmall));
        assert_eq!(
            model.explain(url, &mut bytes[..length - 1], &mut []).err(),
            Some(Error::ScratchTooSmall)
        );
        for shift in [1, 2, 4, 8, 15] {
            assert_eq!(model.score(url, &mut bytes[shift..]), Err(Error::Misaligned), "{shift}");
        }
    }
}

/// Neither with the URL nor with how much of it the model reads.
#[test]
fn scratch_does_not_grow_with_the_input() {
    let float = of_all_lengths(&architectures(), |architecture| architecture.build(1));
    let integer =
        of_all_lengths(&crate::int8::architectures(), |a| crate::support::int8::build(a, 1));
    for of_lengths in float.into_iter().chain(integer) {
        let models = of_lengths.each_ref().map(|file| Model::load(file).unwrap());
        let lengths = models.each_ref().map(|m| (m.scratch_len(), m.bare_metal_scratch_len()));
        assert_eq!(lengths, [lengths[0]; 3], "{}", models[0].layers());
        // Many tiles, in just that.
        let mut scratch = scratch(&models[2]);
        let score = models[2].score(&[b'x'; 5_000], as_bytes_mut(&mut scratch)).unwrap();
        assert!(!score.truncated);
    }
}

/// Models of bytes, each reading 1, 256 and 65,536 of them.
fn of_all_lengths(
    architectures: &[Architecture],
    build: impl Fn(&Architecture) -> ModelFile,
) -> Vec<[Vec<u8>; 3]> {
    let of_lengths = |architecture: &Architecture| match architecture.input {
        Input::Bytes { tables, .. } => Some([1, 256, MAX_URL_LEN].map(|max| {
            let input = Input::Bytes { max, tables };
            build(&Architecture { input, ..architecture.clone() }).bytes()
        })),
        Input::Chars { .. } => None,
    };
    architectures.iter().filter_map(of_lengths).collect()
}

#[test]
fn weights_at_any_address() {
    let (file, urls) = small();
    let file = file.bytes();
    let logits = |file: &[u8]| {
        let model = Model::load(file).unwrap();
        let mut scratch = scratch(&model);
        urls.map(|url| model.score(url, as_bytes_mut(&mut scratch)).unwrap().logit.to_bits())
    };
    let want = logits(&file);
    for shift in 1..17 {
        let moved = [&vec![0; shift], &file[..]].concat();
        assert_eq!(logits(&moved[shift..]), want, "{shift}");
    }
}

#[test]
fn counts_of_multiply_adds_and_parameters() {
    let file = architectures().swap_remove(2).build(1).bytes();
    let model = Model::load(&file).unwrap();
    let dense = 34 * 8 + 8;
    let convolutions = 100 * 5 * 8 * 8 + 50 * 3 * 8 * 17 + 50 * 3 * 17 * 17;
    assert_eq!(model.multiply_adds(100), convolutions + dense);
    assert_eq!(model.multiply_adds(usize::MAX), u64::MAX);
    let weights =
        (257 + 9) * 8 + 5 * 8 * 8 + 8 + 3 * 8 * 17 + 17 + 3 * 17 * 17 + 17 + 34 * 8 + 8 + 8 + 1;
    assert_eq!(model.parameters(), weights);
}
