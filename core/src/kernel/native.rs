//! A processor with no kernels of its own.

use super::{Backend, Convolve, Kernels, Product};

pub(super) fn available() -> &'static [Backend] {
    &[]
}

pub(super) fn multiply_add(_: Kernels, _: &Product<'_>, _: &mut [f32]) -> Option<()> {
    None
}

pub(super) fn convolve(_: Kernels, _: &Convolve<'_>, _: &mut [u8]) -> Option<()> {
    None
}
