//! Tools of the C library that need the core.
//!
//!     phishcnn-ffi-tools header          writes ../include/phishcnn.h
//!     phishcnn-ffi-tools header --check  fails when the committed header is not what it would write
//!     phishcnn-ffi-tools vectors         prints the core's answers to the golden vectors' URLs,
//!                                        for the C tests to compare bit by bit

mod header;
mod vectors;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["header"] => header::write(),
        ["header", "--check"] => header::check(),
        ["vectors"] => vectors::print(),
        _ => Err("usage: header [--check] | vectors".into()),
    }
}
