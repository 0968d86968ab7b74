//! Checks the embedded model and derives its constants, so that none is written by hand.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::{env, error, fs, path::Path};

const MODEL: &str = "models/phishcnn-compact.safetensors";

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed={MODEL}");
    let file = fs::read(MODEL).map_err(|e| format!("{MODEL}: {e}"))?;
    let model = phishcnn_core::Model::load(&file).map_err(|e| format!("{MODEL}: {e}"))?;
    let mut digest = String::new();
    for byte in Sha256::digest(&file) {
        write!(digest, "{byte:02x}")?;
    }
    let target = |key| env::var(key).unwrap_or_default();
    let bare_metal =
        target("CARGO_CFG_TARGET_OS") == "none" && target("CARGO_CFG_TARGET_ARCH") != "wasm32";
    let scratch_len = if bare_metal { model.bare_metal_scratch_len() } else { model.scratch_len() };
    let constants = format!(
        "/// Bytes of scratch memory that the embedded model needs.\n\
         pub const COMPACT_SCRATCH_LEN: usize = {};\n\
         /// SHA-256 of the embedded model's file, in hexadecimal: its identity.\n\
         pub const COMPACT_SHA256: &str = \"{digest}\";\n\
         const COMPACT_LEN: usize = {};\n",
        scratch_len,
        file.len(),
    );
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("constants.rs"), constants)?;
    Ok(())
}
