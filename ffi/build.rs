//! Gives the shared library its soname. Before 1.0 a minor version may change the ABI, so the
//! soname carries it: `libphishcnn.so.0.1`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_default();
    let elf = variable("CARGO_CFG_TARGET_FAMILY") == "unix"
        && variable("CARGO_CFG_TARGET_VENDOR") != "apple";
    if elf {
        let (major, minor) =
            (variable("CARGO_PKG_VERSION_MAJOR"), variable("CARGO_PKG_VERSION_MINOR"));
        let abi = if major == "0" { format!("0.{minor}") } else { major };
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libphishcnn.so.{abi}");
    }
}
