//! Malformed files and their numbers; and that nothing is accepted that the reference rejects.

use crate::support::Random;
use crate::support::model_file::{Architecture, Input, Layer, ModelFile, assemble, conv, dense};
use phishcnn_core::file::{Dtype, File};
use phishcnn_core::{Error, Model};
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::collections::HashMap;

fn bytes_model() -> ModelFile {
    let layers = vec![conv(3, 4, "relu"), Layer::Pool("max"), dense(1, "")];
    let input = Input::Bytes { max: 32, tables: "bytes+parts" };
    Architecture { input, width: 2, layers, output: "logit" }.build(1)
}

fn chars_model() -> ModelFile {
    let layers = vec![conv(3, 4, "relu"), Layer::Flatten, dense(2, "")];
    let input = Input::Chars { length: 8, canonical: true };
    Architecture { input, width: 2, layers, output: "softmax2 positive=1" }.build(1)
}

/// A file of one tensor and one metadata pair, small enough to try everything on.
const SMALL: &str =
    r#"{"__metadata__":{"k":"v"},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

#[track_caller]
fn refused(file: &[u8], error: Error, item: &str) {
    let got = Model::load(file).err().map(|e| (e.error, e.item.to_string()));
    assert_eq!(got, Some((error, item.to_string())));
}

#[test]
fn good_files_load() {
    assert!(Model::load(&bytes_model().bytes()).is_ok());
    assert!(Model::load(&chars_model().bytes()).is_ok());
    assert!(File::read(&assemble(SMALL, &[0; 8])).is_ok());
}

#[test]
fn truncated_at_every_byte() {
    for model in [bytes_model(), chars_model()] {
        let file = model.bytes();
        for length in 0..file.len() {
            assert!(Model::load(&file[..length]).is_err(), "{length}");
        }
        let trailing = [&file[..], b"\0"].concat();
        refused(&trailing, Error::TensorLayout, "");
    }
}

#[test]
fn every_byte_of_a_small_file_replaced() {
    let file = assemble(SMALL, &[0; 8]);
    for at in 0..file.len() - 8 {
        for value in 0..=255 {
            let mut changed = file.clone();
            changed[at] = value;
            agrees_with_the_reference(&changed);
        }
    }
}

#[test]
fn not_a_model() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let html = b"<!doctype html><html>{</html>";
    for file in
        [&b""[..], b"{}", b"1234567", b"\x02\0\0\0\0\0\0\0", png, html, b"{\"a\": 1, \"bcd\": 2}"]
    {
        refused(file, Error::NotSafetensors, "");
    }
    refused(&assemble("[]", b""), Error::NotSafetensors, "");
    // Leading junk, which the format forbids.
    let model = bytes_model();
    refused(&assemble(&format!(" {}", model.header()), &model.data()), Error::NotSafetensors, "");
    refused(&[&b"\n"[..], &model.bytes()].concat(), Error::NotSafetensors, "");
}

#[test]
fn metadata_keys_are_limited() {
    let header = |n: usize| {
        let pairs: Vec<String> = (0..n).map(|i| format!("\"k{i}\":\"\"")).collect();
        assemble(&format!("{{\"__metadata__\":{{{}}}}}", pairs.join(",")), b"")
    };
    assert!(File::read(&header(64)).is_ok());
    refused(&header(65), Error::Unsupported, "k64");
}

#[test]
fn malformed_headers() {
    let entry = r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    for (header, error, item) in [
        ("{", Error::Header, ""),
        ("{}x", Error::Header, ""),
        ("{}\n", Error::Header, ""),
        ("{}\0", Error::Header, ""),
        ("{}{}", Error::Header, ""),
        ("{,}", Error::Header, ""),
        ("{\"t\"}", Error::Header, ""),
        ("{t:1}", Error::Header, ""),
        ("{\"t\":1}", Error::Header, "t"),
        ("{\"t\":{}}", Error::Header, "t"),
        ("{\"t\":null}", Error::Header, "t"),
        (r#"{"__metadata__":null}"#, Error::Header, "__metadata__"),
        (r#"{"__metadata__":{"k":1}}"#, Error::Header, "k"),
        (r#"{"__metadata__":{"k":"v","k":"w"}}"#, Error::Header, "k"),
        (r#"{"__metadata__":{"k":"v\n"}}"#, Error::Header, "k"),
        (r#"{"__metadata__":{"k":"v",}}"#, Error::Header, "__metadata__"),
        (r#"{"__metadata__":{"k":"v"}}}"#, Error::Header, ""),
        (r#"{"__metadata__":{},"__metadata__":{}}"#, Error::Header, "__metadata__"),
        (r#"{"a\u0062":ENTRY}"#, Error::Header, ""),
        ("{\"a\tb\":ENTRY}", Error::Header, ""),
        (r#"{"t":ENTRY,"t":ENTRY}"#, Error::Header, "t"),
        (r#"{"t":ENTRY,}"#, Error::Header, ""),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}"#, Error::Header, "t"),
        (
            r#"{"t":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            Error::Header,
            "t",
        ),
        (r#"{"t":{"dtype":"F32","shape":[2]}}"#, Error::Header, "t"),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#, Error::Header, "t"),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}"#, Error::Header, "t"),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[00,8]}}"#, Error::Header, "t"),
        (r#"{"t":{"dtype":"F32","shape":[+2],"data_offsets":[0,8]}}"#, Error::Header, "t"),
        (r#"{"t":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, Error::Header, "t"),
        (
            r#"{"t":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]}}"#,
            Error::Header,
            "t",
        ),
        (r#"{"t":{"dtype":"F32","shape":[],"data_offsets":[0,8]}}"#, Error::Shape, "t"),
        (r#"{"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, Error::Shape, "t"),
        (r#"{"t":{"dtype":"F32","shape":[1,1,1,2],"data_offsets":[0,8]}}"#, Error::Shape, "t"),
        (r#"{"t":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#, Error::Unsupported, "t"),
        (r#"{"t":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}"#, Error::Unsupported, "t"),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, Error::TensorLayout, "t"),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#, Error::TensorLayout, "t"),
        (r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#, Error::TensorLayout, "t"),
        (
            r#"{"t":{"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[0,8]}}"#,
            Error::TensorLayout,
            "t",
        ),
        // A hole in front, a hole behind, the same bytes twice, an overlap.
        (r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, Error::TensorLayout, "t"),
        (r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, Error::TensorLayout, ""),
        (r#"{"t":ENTRY,"u":ENTRY}"#, Error::TensorLayout, ""),
        (
            r#"{"t":ENTRY,"u":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            Error::TensorLayout,
            "",
        ),
        ("{}", Error::TensorLayout, ""),
        // Well-formed, but no model.
        (r#"{"t":ENTRY}"#, Error::MetadataMissing, "phishcnn.format"),
    ] {
        let header = header.replace("ENTRY", entry);
        let file = assemble(&header, &[0; 8]);
        let got = Model::load(&file).err().map(|e| (e.error, e.item));
        assert_eq!(got, Some((error, item)), "{header}");
        agrees_with_the_reference(&file);
    }
    let invalid_utf8 = [&6_u64.to_le_bytes()[..], b"{\"\xff\":}"].concat();
    refused(&invalid_utf8, Error::Header, "");
}

#[test]
fn header_cap() {
    let model = bytes_model();
    let padded = |length: usize| {
        let header = model.header();
        let spaces = " ".repeat(length - header.len());
        assemble(&(header + &spaces), &model.data())
    };
    assert!(Model::load(&padded(65_536)).is_ok());
    refused(&padded(65_537), Error::Header, "");
    for length in [u64::MAX, 1 << 63, 1 << 32, 65_536] {
        let mut file = model.bytes();
        file[..8].copy_from_slice(&length.to_le_bytes());
        refused(&file, Error::Header, "");
    }
    let tensors = |n: usize| {
        let entry = |i| {
            format!(
                r#""t{i}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#,
                4 * i,
                4 * i + 4
            )
        };
        let entries: Vec<String> = (0..n).map(entry).collect();
        assemble(&format!("{{{}}}", entries.join(",")), &vec![0; 4 * n])
    };
    assert!(File::read(&tensors(48)).is_ok());
    refused(&tensors(49), Error::Unsupported, "t48");
}

#[test]
fn metadata() {
    let good = chars_model();
    for (key, _) in &good.metadata {
        let mut model = good.clone();
        model.metadata.retain(|(k, _)| k != key);
        refused(&model.bytes(), Error::MetadataMissing, key);
    }
    for (key, values) in [
        ("phishcnn.format", &["", "2", "1 ", "01"][..]),
        (
            "phishcnn.input",
            &[
                "",
                "url-bytes/2 max=8",
                "url-bytes/1 max=+8",
                "url-bytes/1 max=08",
                "keras-char/1 length=8",
                "keras-char/1 length=8 pad=pre truncate=pre canonical=YES",
            ],
        ),
        (
            "phishcnn.output",
            &["", "Logit", "logit ", "softmax2", "softmax2 positive=2", "sigmoid2  positive=1"],
        ),
        (
            "phishcnn.calibration",
            &["", "1", "1 ", "1 0 0", "0 0", "-1 0", "nan 0", "1 inf", "1e0 0", "1  0"],
        ),
        (
            "phishcnn.thresholds",
            &[
                "",
                "1 2",
                "phishing=1",
                "phishing=1 suspicious=2",
                "phishing=nan suspicious=0",
                "suspicious=0 phishing=1",
            ],
        ),
    ] {
        for value in values {
            let mut model = good.clone();
            model.set(key, value);
            refused(&model.bytes(), Error::Unsupported, key);
        }
    }
    let mut model = good.clone();
    model.set("phishcnn.output", "logit");
    refused(&model.bytes(), Error::Shape, "phishcnn.output");
    let mut model = good;
    model.set("phishcnn.input", "url-bytes/1 max=8");
    refused(&model.bytes(), Error::Unsupported, "embed chars");
}

#[test]
fn a_trigram_table_has_a_power_of_two_of_rows() {
    let layers = vec![Layer::Pool("max"), dense(1, "")];
    let input = Input::Bytes { max: 32, tables: "bytes+parts+trigrams" };
    let mut model = Architecture { input, width: 2, layers, output: "logit" }.build(1);
    let mut with_rows = |rows: usize| {
        let table = model.tensors.iter_mut().find(|t| t.name == "embed.trigrams").unwrap();
        (table.shape[0], table.data) = (rows, vec![0; rows * 2 * 4]);
        model.bytes()
    };
    for rows in [2, 64, 65_536] {
        assert!(Model::load(&with_rows(rows)).is_ok(), "{rows}");
    }
    for rows in [1, 3, 63, 65_535] {
        refused(&with_rows(rows), Error::Shape, "embed.trigrams");
    }
}

/// The layer `n2`, f32 or int8.
fn ngrams_model(int8: bool) -> ModelFile {
    let layers = vec![Layer::Pool("max"), dense(1, ""), Layer::Ngrams { first: 2, last: 5 }];
    let input = Input::Bytes { max: 32, tables: "bytes" };
    let architecture = Architecture { input, width: 4, layers, output: "logit" };
    match int8 {
        true => crate::support::int8::build(&architecture, 1),
        false => architecture.build(1),
    }
}

#[test]
fn a_table_of_ngrams_has_a_power_of_two_of_rows() {
    for int8 in [false, true] {
        let mut model = ngrams_model(int8);
        let mut with_rows = |rows: usize| {
            let table = model.tensor_mut("n2.weight");
            (table.shape, table.data) = (vec![rows], vec![0; rows]);
            model.bytes()
        };
        for rows in [2, 256, 1 << 24] {
            assert!(Model::load(&with_rows(rows)).is_ok(), "{rows}");
        }
        for rows in [1, 3, 255, (1 << 24) - 1, 1 << 25] {
            refused(&with_rows(rows), Error::Shape, "n2.weight");
        }
    }
    // No other tensor is longer for it.
    let mut model = bytes_model();
    let weight = model.tensor_mut("c0.weight");
    weight.shape = vec![65_537, 2, 4];
    weight.data = vec![0; 65_537 * 2 * 4 * 4];
    refused(&model.bytes(), Error::Shape, "c0.weight");
}

#[test]
fn tensors_of_ngrams() {
    for int8 in [false, true] {
        let good = ngrams_model(int8);
        assert!(Model::load(&good.bytes()).is_ok());
        let without = |name: &str| {
            let mut model = good.clone();
            model.tensors.retain(|t| t.name != name);
            model
        };
        for name in ["n2.weight", "n2.scale"] {
            refused(&without(name).bytes(), Error::Shape, "ngrams n2 2..5");
        }
        for (name, dtype, shape, error) in [
            ("n2.weight", "I8", vec![2, 128], Error::Shape),
            ("n2.weight", "F32", vec![64], Error::Unsupported),
            ("n2.scale", "F32", vec![1, 4], Error::Shape),
            ("n2.scale", "I32", vec![4], Error::Unsupported),
            ("n2.scale", "I8", vec![16], Error::Unsupported),
        ] {
            let mut model = good.clone();
            let tensor = model.tensor_mut(name);
            (tensor.dtype, tensor.shape) = (dtype, shape);
            refused(&model.bytes(), error, name);
        }
        for (scale, error) in [
            (vec![0.5, 0.5, 0.5, f32::INFINITY], Error::NonFinite),
            (vec![0.5; 3], Error::Shape),
            (vec![0.5; 5], Error::Shape),
        ] {
            let mut model = good.clone();
            let tensor = model.tensor_mut("n2.scale");
            tensor.shape = vec![scale.len()];
            tensor.data = scale.iter().flat_map(|s| s.to_le_bytes()).collect();
            refused(&model.bytes(), error, "n2.scale");
        }
        // Tensors of which no layer speaks.
        let mut model = good.clone();
        model.set("phishcnn.layers", "embed bytes; pool max; dense d1");
        refused(&model.bytes(), Error::Unsupported, "n2.weight");
        // One table cannot serve two layers.
        let mut model = without("n2.weight");
        model.set("phishcnn.layers", "embed bytes; pool max; dense d1; ngrams d1 2..5");
        let file = model.bytes();
        assert_eq!(Model::load(&file).err().map(|e| e.item), Some("d1.weight"));
    }
}

#[test]
fn layer_lines_of_ngrams() {
    let refused_in = |good: &ModelFile, line: &str, item: &str| {
        let mut model = good.clone();
        model.set("phishcnn.layers", line);
        refused(&model.bytes(), Error::Unsupported, item);
    };
    for int8 in [false, true] {
        let good = ngrams_model(int8);
        for orders in ["1..1", "8..8", "1..8"] {
            let mut model = good.clone();
            model.set(
                "phishcnn.layers",
                &format!("embed bytes; pool max; dense d1; ngrams n2 {orders}"),
            );
            assert!(Model::load(&model.bytes()).is_ok(), "{orders}");
        }
        for layer in [
            "ngrams",
            "ngrams ",
            "ngrams n2",
            "ngrams n2 ",
            "ngrams n2 2",
            "ngrams n2 2..",
            "ngrams n2 ..5",
            "ngrams n2 ..",
            "ngrams n2 2.5",
            "ngrams n2 2...5",
            "ngrams n2 2..=5",
            "ngrams n2 2-5",
            "ngrams n2 2 5",
            "ngrams n2 0..5",
            "ngrams n2 5..2",
            "ngrams n2 2..9",
            "ngrams n2 9..9",
            "ngrams n2 2..257",
            "ngrams n2 02..5",
            "ngrams n2 2..05",
            "ngrams n2 +2..5",
            "ngrams n2 2..5 ",
            "ngrams n2 2..5 relu",
            "ngrams  n2 2..5",
            "ngramsn2 2..5",
        ] {
            refused_in(&good, &format!("embed bytes; pool max; dense d1; {layer}"), layer);
        }
        let layer = "ngrams n2 2..5";
        for line in [
            "ngrams n2 2..5",
            "embed bytes; ngrams n2 2..5",
            "embed bytes; ngrams n2 2..5; pool max; dense d1",
            "embed bytes; pool max; ngrams n2 2..5; dense d1",
            "embed bytes; pool max; ngrams n2 2..5; ngrams n2 2..5",
            // Behind it nothing stands, nor another one.
            "embed bytes; pool max; dense d1; ngrams n2 2..5; ngrams n2 1..2",
            "embed bytes; pool max; dense d1; ngrams n2 2..5; dense d1",
            "embed bytes; pool max; dense d1; ngrams n2 2..5;",
        ] {
            refused_in(&good, line, layer);
        }
        let line = "embed bytes; pool max; ngrams n2 2..5";
        refused_in(&good, line, line);
    }
    let good = ngrams_model(false);
    refused_in(&good, "embed bytes; pool max; dense d1;ngrams n2 2..5", "ngrams n2 2..5");
    refused_in(&good, "embed bytes; pool max; dense d1; Ngrams n2 2..5", "Ngrams n2 2..5");
    // Another input, another output.
    let ngrams = Layer::Ngrams { first: 2, last: 5 };
    let bytes = || Input::Bytes { max: 32, tables: "bytes" };
    let chars = || Input::Chars { length: 8, canonical: true };
    for (input, outputs, output) in [
        (chars(), 1, "logit"),
        (bytes(), 2, "softmax2 positive=1"),
        (bytes(), 2, "sigmoid2 positive=0"),
    ] {
        let layers = vec![Layer::Pool("max"), dense(outputs, ""), ngrams.clone()];
        let architecture = Architecture { input, width: 4, layers, output };
        refused(&architecture.build(1).bytes(), Error::Unsupported, "ngrams n2 2..5");
        let int8 = crate::support::int8::build(&architecture, 1);
        refused(&int8.bytes(), Error::Unsupported, "ngrams n2 2..5");
    }
}

#[test]
fn layer_lines_of_url_bytes() {
    let good = bytes_model();
    let with = |line: &str| {
        let mut model = good.clone();
        model.set("phishcnn.layers", line);
        model.bytes()
    };
    let whole = "embed bytes+parts; conv c0 same relu; pool max; dense d2";
    assert!(Model::load(&with(whole)).is_ok());
    for line in ["", "embed", "embed chars", "embed bytes+trigrams", "conv c0 same", "embed  bytes"]
    {
        refused(&with(line), Error::Unsupported, line);
    }
    for line in [
        "embed bytes+parts",
        "embed bytes+parts; conv c0 same relu",
        "embed bytes+parts; conv c0 same relu; pool max",
    ] {
        refused(&with(line), Error::Unsupported, line);
    }
    for stage in [
        "",
        "conv",
        "conv c0",
        "conv c0 SAME",
        "conv c0 full",
        "conv c0 same softmax",
        "conv c0 same elu",
        "conv c0 same add relu",
        "conv c0 same relu relu",
        "conv c0 same relu add add",
        "conv c0 same relu ",
        "conv c0 same dilation=0",
        "conv c0 same dilation=-1",
        "conv c0 same dilation=+1",
        "conv c0 same dilation=01",
        "conv c0 same dilation=",
        "conv c0 same dilation=65537",
        "conv c0 same relu dilation=1",
        "maxpool",
        "maxpool 0",
        "maxpool +2 ceil",
        "maxpool x",
        "maxpool 2 floor",
        "maxpool 2 ceil ceil",
        "maxpool 65537 ceil",
        "pool",
        "pool min",
        "pool max ",
        "pool avg+max",
        "dense d2",
        "flatten 2",
        "dropout 0.5",
    ] {
        refused(
            &with(&format!("embed bytes+parts; {stage}; pool max; dense d2")),
            Error::Unsupported,
            stage,
        );
    }
    for dense in
        ["", "dense", "dense d2 elu", "dense d2 relu relu", "dense d2 ", "pool max", "flatten"]
    {
        let line = format!("embed bytes+parts; conv c0 same relu; pool max; {dense}");
        refused(&with(&line), Error::Unsupported, dense);
    }
    // Separators are exactly "; ".
    refused(
        &with("embed bytes+parts;conv c0 same relu; pool max; dense d2"),
        Error::Unsupported,
        "conv c0 same relu",
    );
    refused(&with(&format!("{whole};")), Error::Unsupported, "");
    // A layer without its tensors, and tensors of which no layer speaks.
    for (line, item) in [
        ("embed bytes+parts; conv c9 same; pool max; dense d2", "conv c9 same"),
        ("embed bytes+parts; conv  same; pool max; dense d2", "conv  same"),
        ("embed bytes+parts; conv c0 same relu; pool max; dense d9", "dense d9"),
        // Sequences of a URL may be one token long.
        ("embed bytes+parts; conv c0 valid relu; pool max; dense d2", "conv c0 valid relu"),
        ("embed bytes+parts; maxpool 2; conv c0 same relu; pool max; dense d2", "maxpool 2"),
        ("embed bytes+parts; conv c0 same relu; flatten; dense d2", "flatten"),
        ("embed bytes+parts; conv c0 same relu add; pool max; dense d2", "conv c0 same relu add"),
        (
            "embed bytes+parts; conv c0 same dilation=60000; pool max; dense d2",
            "conv c0 same dilation=60000",
        ),
        // The width does not fit what follows.
        ("embed bytes+parts; pool max; dense d2", "d2.weight"),
        ("embed bytes+parts; conv c0 same relu; pool max+avg; dense d2", "d2.weight"),
    ] {
        refused(&with(line), Error::Shape, item);
    }
    for (line, item) in [
        ("embed bytes; conv c0 same relu; pool max; dense d2", "embed.parts"),
        (
            "embed bytes+parts; conv c0 same relu; conv c0 same relu; pool max; dense d2",
            "c0.weight",
        ),
        ("embed bytes+parts; conv c0 same relu; pool max; dense d2; dense d2", "d2.weight"),
    ] {
        let file = with(line);
        let error = Model::load(&file).unwrap_err();
        assert!(matches!(error.error, Error::Unsupported | Error::Shape), "{line}");
        assert_eq!(error.item, item);
    }
    let stages = |n| {
        format!(
            "embed bytes+parts{}; conv c0 same relu; pool max; dense d2",
            "; maxpool 2 ceil".repeat(n)
        )
    };
    assert!(Model::load(&with(&stages(15))).is_ok());
    refused(&with(&stages(16)), Error::Unsupported, "conv c0 same relu");
}

#[test]
fn tensors_against_the_layers() {
    for good in [bytes_model(), chars_model()] {
        for tensor in &good.tensors {
            let name = &tensor.name;
            // One row more or fewer, another rank, another type, or gone.
            let mut model = good.clone();
            let t = model.tensor_mut(name);
            t.shape[0] += 1;
            let row = t.data.len() / (t.shape[0] - 1);
            t.data.extend(vec![0; row]);
            let free = matches!(name.as_str(), "c0.weight" | "chars" | "embed.chars");
            if !free {
                refused(&model.bytes(), Error::Shape, name);
            } else {
                // A free dimension: whatever depends on it does not fit, or it is a longer kernel.
                let file = model.bytes();
                let error = Model::load(&file).err();
                assert!(name == "c0.weight" || error.is_some_and(|e| e.error == Error::Shape));
            }
            let mut model = good.clone();
            model.tensor_mut(name).shape.insert(0, 1);
            if model.tensor_mut(name).shape.len() <= 3 {
                refused(&model.bytes(), Error::Shape, name);
            }
            let mut model = good.clone();
            let t = model.tensor_mut(name);
            t.dtype = if t.dtype == "F32" { "U32" } else { "F32" };
            refused(&model.bytes(), Error::Unsupported, name);
            let mut model = good.clone();
            model.tensors.retain(|t| t.name != *name);
            let file = model.bytes();
            assert_eq!(Model::load(&file).unwrap_err().error, Error::Shape);
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut model = good.clone();
                let t = model.tensor_mut(name);
                if t.dtype == "F32" {
                    let last = t.data.len() - 4;
                    t.data[last..].copy_from_slice(&value.to_le_bytes());
                    refused(&model.bytes(), Error::NonFinite, name);
                }
            }
        }
        let mut model = good.clone();
        let mut extra = model.tensors[0].clone();
        extra.name = "extra".into();
        model.tensors.push(extra);
        refused(&model.bytes(), Error::Unsupported, "extra");
        // Any order of the tensors will do.
        let mut model = good.clone();
        model.tensors.reverse();
        assert!(Model::load(&model.bytes()).is_ok());
    }
    let mut model = chars_model();
    model.tensor_mut("chars").data[4..8].fill(0);
    refused(&model.bytes(), Error::Unsupported, "chars");
}

#[test]
fn too_much_scratch_is_refused() {
    let mut model = bytes_model();
    let line = "embed bytes+parts; maxpool 65536 ceil; maxpool 65536 ceil; conv c0 same relu; pool max; dense d2";
    model.set("phishcnn.layers", line);
    assert!(Model::load(&model.bytes()).is_ok());
    let line = "embed bytes+parts; conv c0 same dilation=32768; pool max; dense d2";
    model.set("phishcnn.layers", line);
    assert!(Model::load(&model.bytes()).is_ok());
    let layers = vec![
        conv(3, 64, "relu"),
        Layer::MaxPool { size: 65_536, ceil: true },
        Layer::Pool("max"),
        dense(1, ""),
    ];
    let input = Input::Bytes { max: 32, tables: "bytes+parts" };
    let model = Architecture { input, width: 2, layers, output: "logit" }.build(1);
    let line = "embed bytes+parts; conv c0 same relu; maxpool 65536 ceil; pool max; dense d3";
    refused(&model.bytes(), Error::Unsupported, line);
}

/// Whatever `File::read` accepts, the reference accepts with the same content.
fn agrees_with_the_reference(file: &[u8]) -> bool {
    let Ok(ours) = File::read(file) else { return false };
    let theirs = SafeTensors::deserialize(file).unwrap();
    assert_eq!(ours.tensors.len(), theirs.len());
    for tensor in &ours.tensors {
        let view = theirs.tensor(tensor.name).unwrap();
        let dtype = match tensor.dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::U32 => safetensors::Dtype::U32,
            Dtype::I32 => safetensors::Dtype::I32,
            Dtype::I8 => safetensors::Dtype::I8,
        };
        assert_eq!(
            (dtype, &tensor.shape[..], tensor.data),
            (view.dtype(), view.shape(), view.data())
        );
    }
    let (_, theirs) = SafeTensors::read_metadata(file).unwrap();
    let theirs = theirs.metadata().clone().unwrap_or_default();
    let ours: HashMap<String, String> =
        ours.metadata.iter().map(|(k, v)| (k.into(), v.into())).collect();
    assert_eq!(ours, theirs);
    true
}

/// Replaces, removes, doubles or inserts pieces of a header that mean something.
fn mutate(header: &str, data: &mut Vec<u8>, random: &mut Random) -> String {
    let mut pieces = vec![String::new()];
    for c in header.chars() {
        if !c.is_ascii_alphanumeric()
            || pieces.last().is_some_and(|p| !p.ends_with(|c: char| c.is_ascii_alphanumeric()))
        {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push(c);
    }
    let words = [
        "",
        " ",
        "\n",
        "\t",
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\\u0041",
        "0",
        "00",
        "1",
        "4",
        "8",
        "12",
        "-1",
        "1.0",
        "1e1",
        "null",
        "true",
        "F32",
        "U32",
        "F64",
        "shape",
        "dtype",
        "data_offsets",
        "__metadata__",
        "\"x\":\"y\"",
        "\u{7f}",
        "é",
        "/*",
        "18446744073709551616",
        "{}",
        "[]",
    ];
    for _ in 0..1 + random.below(3) {
        let at = random.below(pieces.len());
        match random.below(5) {
            0 => pieces[at] = pieces[random.below(pieces.len())].clone(),
            1 => pieces[at] = random.pick(&words).to_string(),
            2 => drop(pieces.remove(at)),
            3 => pieces.insert(at, random.pick(&words).to_string()),
            _ => match random.below(4) {
                0 => drop(data.pop()),
                1 => data.extend([0; 4]),
                2 => pieces[at].insert(0, ' '),
                _ => {
                    let other = random.below(pieces.len());
                    pieces.swap(at, other);
                }
            },
        }
        if pieces.is_empty() {
            break;
        }
    }
    pieces.concat()
}

#[test]
fn mutated_files_agree_with_the_reference() {
    let headers = [
        SMALL.to_string(),
        r#"{"b":{"dtype":"U32","shape":[1,1],"data_offsets":[4,8]},"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}"#.into(),
        r#"{ "__metadata__" : { "a" : "b" , "c" : "" } , "t" : { "shape" : [ 2 , 1 , 1 ] , "dtype" : "F32" , "data_offsets" : [ 0 , 8 ] } } "#.into(),
    ];
    let mut random = Random(1);
    let mut accepted = 0;
    for i in 0..30_000 {
        let mut data = vec![1, 2, 3, 4, 5, 6, 7, 8];
        let header = mutate(&headers[i % headers.len()], &mut data, &mut random);
        accepted += usize::from(agrees_with_the_reference(&assemble(&header, &data)));
    }
    assert!((1_000..29_000).contains(&accepted), "{accepted} accepted: the test has become blunt");
}

fn int8_model() -> ModelFile {
    let layers = vec![
        conv(3, 16, "relu"),
        Layer::MaxPool { size: 2, ceil: true },
        conv(2, 16, "tanh"),
        Layer::Pool("max+avg"),
        dense(3, "sigmoid"),
        dense(1, ""),
    ];
    let input = Input::Bytes { max: 32, tables: "bytes+parts" };
    crate::support::int8::build(&Architecture { input, width: 4, layers, output: "logit" }, 1)
}

/// A mutated model never panics, and scores if it loads; an int8 one alike on all backends.
#[test]
fn mutated_models_do_not_panic() {
    let mut random = Random(2);
    for (model, int8) in [
        (bytes_model(), false),
        (chars_model(), false),
        (int8_model(), true),
        (ngrams_model(false), false),
        (ngrams_model(true), true),
    ] {
        let mut loaded = 0;
        for _ in 0..1_500 {
            let mut data = model.data();
            let header = mutate(&model.header(), &mut data, &mut random);
            let file = assemble(&header, &data);
            agrees_with_the_reference(&file);
            let Ok(model) = Model::load(&file) else { continue };
            loaded += 1;
            let mut scratch = crate::scratch(&model);
            let scratch = phishcnn_core::as_bytes_mut(&mut scratch);
            let mut logits = crate::int8::backends().into_iter().map(|backend| {
                let model = model.clone().with_backend(backend).unwrap();
                model.score(b"http://a.b/c", scratch).unwrap().logit.to_bits()
            });
            let first = logits.next().unwrap();
            assert!(logits.all(|bits| bits == first || !int8));
        }
        assert!(loaded > 30, "{loaded} loaded: the test has become blunt");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(header in "[{].{0,80}", data in prop::collection::vec(any::<u8>(), 0..20)) {
        let file = assemble(&header, &data);
        agrees_with_the_reference(&file);
        prop_assert!(Model::load(&file).is_err());
    }
}
