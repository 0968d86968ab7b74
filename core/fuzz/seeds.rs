//! Writes the seed corpora: `seeds FOLDER`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
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
    vec![
        bytes(pool("max+avg"), "logit"),
        bytes([vec![conv(4, 2, "relu"), ceil, add], pool("avg")].concat(), "logit"),
        chars(vec![valid, floor, Layer::Flatten, dense(2, "")], "softmax2 positive=1"),
        chars(pool("max"), "logit"),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, mut architecture)| {
        // A layer's added input must have as many channels.
        if i == 1 {
            architecture.layers[0] = conv(4, 1, "relu");
        }
        architecture.build(i as u64)
    })
    .collect()
}

fn main() {
    let folder = std::env::args().nth(1).expect("usage: seeds FOLDER");
    let write = |target: &str, i: usize, bytes: &[u8]| {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join(format!("seed{i}")), bytes).expect("seed");
    };
    for (i, model) in models().iter().enumerate() {
        write("model", i, &model.bytes());
        write("reader_differential", i, &model.bytes());
    }
    let small =
        r#"{"__metadata__":{"k":"v"},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    write("reader_differential", 99, &support::model_file::assemble(small, &[0; 8]));
    let urls = include_str!("../tests/vectors/url-bytes.json").split("\"url\":\"").skip(1);
    for (i, url) in urls.filter_map(|rest| rest.split('"').next()).enumerate() {
        write("url", i, url.as_bytes());
    }
}
