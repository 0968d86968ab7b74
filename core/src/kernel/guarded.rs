//! Each kernel on each backend of this machine, each of its slices beside a page that may not be
//! touched. (valgrind would see steps out of a slice, too, but has no AVX-512.)

#[allow(unreachable_pub)]
#[path = "../../tests/support/guard.rs"]
mod guard;

use super::{Backend, Convolve, Kernels, Product, Residual};
use crate::layers::Activation;
use core::array::from_fn;
use core::num::NonZeroUsize;
pub(super) use guard::{EDGES, Guarded};
use std::{vec, vec::Vec};

/// The same numbers everywhere from a seed (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    fn integers(&mut self, count: usize) -> Vec<[u8; 4]> {
        (0..count).map(|_| (self.below(1 << 24) as u32).to_le_bytes()).collect()
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect()
    }

    fn weights(&mut self, count: usize) -> Vec<[u8; 4]> {
        self.floats(count).into_iter().map(f32::to_le_bytes).collect()
    }

    /// Most of them zero, in groups of four, or hardly any.
    fn activations(&mut self, count: usize, sparse: bool) -> Vec<u8> {
        let mut values: Vec<_> = (0..count).map(|_| self.below(128) as u8).collect();
        for group in values.chunks_mut(4) {
            if sparse && self.below(8) > 0 {
                group.fill(0);
            }
        }
        values
    }
}

fn all() -> impl Iterator<Item = (Kernels, guard::Edge)> {
    let kernels = Backend::ALL.into_iter().filter_map(Kernels::new);
    kernels.flat_map(|kernels| EDGES.map(|edge| (kernels, edge)))
}

/// Columns up to more than any tile's, rows up to more than are looked through at once.
#[test]
fn convolutions() {
    let random = &mut Random(1);
    for blocks in 1..=9 {
        for inputs in [4, 16, 32, 36, 112, 16 * blocks] {
            for (kernel, dilation) in [(1, 1), (3, 1), (5, 1), (2, 7)] {
                for sparse in [false, true] {
                    convolution(random, 16 * blocks, inputs, kernel, dilation, sparse);
                }
            }
        }
    }
}

fn convolution(
    random: &mut Random,
    columns: usize,
    stride: usize,
    kernel: usize,
    dilation: usize,
    sparse: bool,
) {
    let pool = NonZeroUsize::MIN.saturating_add(random.below(2));
    let rows = pool.get() * (1 + random.below(40));
    let add = columns == stride && random.below(2) == 0;
    let taps = if dilation == 1 { 1 } else { kernel };
    let x = random.activations((rows + (kernel - 1) * dilation) * stride, sparse);
    let centre = random.activations(rows * columns, false);
    let weight = random.bytes(kernel * stride * columns);
    let [bias, multiplier, factor, offset] = from_fn(|_| random.integers(columns));
    let job = Convolve {
        x: &x,
        stride,
        rows,
        pool,
        taps,
        tap_stride: dilation * stride,
        groups: kernel * stride / taps / 4,
        weight: weight.as_chunks().0,
        bias: &bias,
        multiplier: &multiplier,
        columns: NonZeroUsize::new(columns).unwrap(),
        relu: random.below(2) == 0,
        residual: add.then_some(Residual { centre: &centre, factor: &factor, offset: &offset }),
        zero: random.below(128) as u8,
        indices: random.below(4) == 0,
    };
    let mut want = vec![0; rows / pool * columns];
    Kernels::new(Backend::Portable).unwrap().convolve(&job, &mut want).unwrap();
    for (kernels, edge) in all() {
        let [x, centre] = [&x, &centre].map(|values| Guarded::new(values, edge));
        let weight = Guarded::new(job.weight, edge);
        let [bias, multiplier, factor, offset] =
            [&bias, &multiplier, &factor, &offset].map(|values| Guarded::new(values, edge));
        let job = Convolve {
            x: &x,
            weight: &weight,
            bias: &bias,
            multiplier: &multiplier,
            residual: add.then_some(Residual { centre: &centre, factor: &factor, offset: &offset }),
            ..job
        };
        let mut y = Guarded::new(&vec![0; want.len()], edge);
        kernels.convolve(&job, &mut y).unwrap();
        assert!(*y == want, "{kernels:?} {edge:?} {columns} {stride} {kernel} {dilation} {sparse}");
        if pool.get() == 2 {
            // Half a pair, a defect of the caller, reads nothing that was not listed for it.
            assert_eq!(kernels.convolve(&Convolve { rows: rows - 1, ..job }, &mut y), None);
        }
    }
}

#[test]
fn products() {
    use Activation::{Linear, Relu, Sigmoid, Softmax, Tanh};
    let random = &mut Random(2);
    for columns in [1, 2, 7, 8, 15, 16, 31, 47, 48, 63, 64, 111, 112, 113, 137, 200] {
        for stride in [1, 3, 8, 32, 33, 112] {
            for (kernel, dilation) in [(1, 1), (3, 1), (5, 1), (2, 7)] {
                let activation = [Linear, Relu, Tanh, Sigmoid, Softmax][random.below(5)];
                for sparse in [false, true] {
                    product(random, columns, stride, (kernel, dilation), sparse, activation);
                }
            }
        }
    }
}

fn product(
    random: &mut Random,
    columns: usize,
    stride: usize,
    (kernel, dilation): (usize, usize),
    sparse: bool,
    activation: Activation,
) {
    let rows = 1 + random.below(80);
    let taps = if dilation == 1 { 1 } else { kernel };
    let mut x = random.floats((rows + (kernel - 1) * dilation) * stride);
    if sparse {
        x.iter_mut().for_each(|x| *x = if random.below(4) > 0 { 0.0 } else { *x });
    }
    let w = random.weights(kernel * stride * columns);
    let bias = random.weights(columns);
    let product = Product {
        x: &x,
        stride,
        rows,
        taps: NonZeroUsize::new(taps).unwrap(),
        tap_stride: dilation * stride,
        w: &w,
        bias: &bias,
        columns: NonZeroUsize::new(columns).unwrap(),
        activation,
    };
    for (kernels, edge) in all() {
        let mut want = vec![0.0; rows * columns];
        kernels.multiply_add(&product, &mut want).unwrap();
        let x = Guarded::new(&x, edge);
        let [w, bias] = [&w, &bias].map(|values| Guarded::new(values, edge));
        let mut y = Guarded::new(&vec![0.0; want.len()], edge);
        kernels.multiply_add(&Product { x: &x, w: &w, bias: &bias, ..product }, &mut y).unwrap();
        assert!(*y == want, "{kernels:?} {edge:?} {columns} {stride} {kernel} {dilation} {sparse}");
    }
}

#[test]
fn dots() {
    let random = &mut Random(3);
    for length in 0..=130 {
        for rows in 1..=4 {
            let x: Vec<_> = (0..length).map(|_| random.below(1 << 16) as i16).collect();
            let w = random.bytes(rows * length);
            let want = Kernels::new(Backend::Portable).unwrap().dots(&x, &w);
            for (kernels, edge) in all() {
                let (x, w) = (Guarded::new(&x, edge), Guarded::new(&w, edge));
                assert_eq!(kernels.dots(&x, &w), want, "{kernels:?} {edge:?} {length} {rows}");
            }
        }
    }
}

#[test]
fn tables() {
    let random = &mut Random(4);
    let table = random.bytes(256);
    for length in 0..=130 {
        let values = random.bytes(length);
        let want: Vec<_> = values.iter().map(|v| table[usize::from(*v)]).collect();
        let want: Vec<_> = want.into_iter().map(|v| (v as i8).max(0) as u8).collect();
        for (kernels, edge) in all() {
            let table = Guarded::new(&table, edge);
            let mut values = Guarded::new(&values, edge);
            kernels.look_up(table.first_chunk().unwrap(), &mut values);
            assert_eq!(*values, want, "{kernels:?} {edge:?}");
        }
    }
}

#[test]
fn pools() {
    let random = &mut Random(5);
    for channels in 0..=130 {
        for rows in [0, 1, 2, 3, 17] {
            let values = random.bytes(rows * channels);
            let (maxima, sums) = (random.bytes(channels), vec![u32::MAX; channels]);
            let (mut largest, mut totals) = (maxima.clone(), sums.clone());
            Kernels::new(Backend::Portable).unwrap().pool(&values, &mut largest, &mut totals);
            for (kernels, edge) in all() {
                let rows = Guarded::new(&values, edge);
                let mut maxima = Guarded::new(&maxima, edge);
                let mut sums = Guarded::new(&sums, edge);
                kernels.pool(&rows, &mut maxima, &mut sums);
                assert!(*maxima == largest && *sums == totals, "{kernels:?} {edge:?} {channels}");
            }
        }
    }
}
