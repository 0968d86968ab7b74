//! Any bytes as a safetensors file: what the core's reader accepts, the reference crate accepts,
//! with the same content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phishcnn_core::file::{Dtype, File};
use safetensors::SafeTensors;
use std::collections::HashMap;

fuzz_target!(|file: &[u8]| {
    let Ok(ours) = File::read(file) else { return };
    let theirs = SafeTensors::deserialize(file).expect("accepted by the core only");
    assert_eq!(ours.tensors.len(), theirs.len());
    for tensor in &ours.tensors {
        let view = theirs.tensor(tensor.name).expect("a tensor of this name");
        let dtype = match tensor.dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::U32 => safetensors::Dtype::U32,
            Dtype::I32 => safetensors::Dtype::I32,
            Dtype::I8 => safetensors::Dtype::I8,
        };
        assert_eq!(dtype, view.dtype());
        assert_eq!(&tensor.shape[..], view.shape());
        assert_eq!(tensor.data, view.data());
    }
    let (_, theirs) = SafeTensors::read_metadata(file).expect("just read");
    let theirs = theirs.metadata().clone().unwrap_or_default();
    let ours: HashMap<_, _> = ours.metadata.iter().map(|(k, v)| (k.into(), v.into())).collect();
    assert_eq!(ours, theirs);
});
