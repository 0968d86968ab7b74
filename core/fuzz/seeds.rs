//! Writes the seed corpora: `seeds FOLDER`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use support::int8;
use support::model_file::{Architecture, Input, Layer, ModelFile, conv, dense};

fn models() -> Vec<ModelFile> {
    let bytes = |layers, output| Architecture {
        input: Input::Bytes { max: 8, tables: "bytes+parts" },
        width: 1,
        layers,
        output,
    };
    let chars = |layers, output| Architecture {
        input: Input::Chars { length: 9, canonical: true },
        width: 1,
        layers,
        output,
    };
    let add = Layer::Conv {
        kernel: 3,
        outputs: 1,
        same: true,
        dilation: 2,
        activation: "tanh",
        add: true,
    };
    let valid =
        Layer::Conv { kernel: 2, outputs: 2, same: false, dilation: 3, activation: "", add: false };
    let pool = |kind| vec![Layer::Pool(kind), dense(2, "softmax"), dense(1, "")];
    let ceil = Layer::MaxPool { size: 3, ceil: true };
    let floor = Layer::MaxPool { size: 2, ceil: false };
    let f32s = [
        bytes(pool("max+avg"), "logit"),
        bytes([pool("max"), vec![Layer::Ngrams { first: 2, last: 5 }]].concat(), "logit"),
        bytes([vec![conv(4, 1, "relu"), ceil.clone(), add], pool("avg")].concat(), "logit"),
        chars(vec![valid, floor.clone(), Layer::Flatten, dense(2, "")], "softmax2 positive=1"),
        chars(pool("max"), "logit"),
    ];
    // int8 has groups of four channels and blocks of 16. Embedding tables take most of a file.
    let wide = |architecture| Architecture { width: 4, ..architecture };
    let with = |kernel, same, dilation, activation, add| Layer::Conv {
        kernel,
        outputs: 16,
        same,
        dilation,
        activation,
        add,
    };
    let pair = Layer::MaxPool { size: 2, ceil: true };
    let int8s = [
        Architecture {
            input: Input::Bytes { max: 8, tables: "bytes+parts+trigrams" },
            ..wide(bytes(vec![Layer::Pool("max+avg"), dense(3, "sigmoid"), dense(1, "")], "logit"))
        },
        wide(bytes(
            vec![Layer::Pool("avg"), dense(1, ""), Layer::Ngrams { first: 1, last: 8 }],
            "logit",
        )),
        wide(bytes(
            vec![
                conv(4, 16, "relu"),
                pair,
                with(3, true, 2, "relu", true),
                ceil,
                Layer::Pool("avg"),
                dense(1, ""),
            ],
            "logit",
        )),
        wide(chars(
            vec![
                with(2, false, 3, "tanh", false),
                floor,
                Layer::Flatten,
                dense(2, "relu"),
                dense(2, ""),
            ],
            "softmax2 positive=1",
        )),
    ];
    let f32s = (0..).zip(f32s).map(|(seed, architecture)| architecture.build(seed));
    let int8s = (0..).zip(int8s).map(|(seed, architecture)| int8::build(&architecture, seed));
    f32s.chain(int8s).collect()
}

fn main() {
    let folder = std::env::args().nth(1).expect("usage: seeds FOLDER");
    let write = |target: &str, i: usize, bytes: &[u8]| {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join(format!("seed{i}")), bytes).expect("seed");
    };
    for (i, model) in models().iter().enumerate() {
        let file = model.bytes();
        assert!(file.len() <= 8192, "longer than run.sh's -max_len: {}", file.len());
        phishcnn_core::Model::load(&file).expect("a model");
        write("model", i, &file);
        write("reader_differential", i, &file);
    }
    let small =
        r#"{"__metadata__":{"k":"v"},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    write("reader_differential", 99, &support::model_file::assemble(small, &[0; 8]));
    let urls = include_str!("../tests/vectors/url-bytes.json").split("\"url\":\"").skip(1);
    for (i, url) in urls.filter_map(|rest| rest.split('"').next()).enumerate() {
        write("url", i, url.as_bytes());
    }
}
