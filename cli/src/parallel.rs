//! Work on several threads, results in the order of the input, bounded memory.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::failure::Failure;

/// Batches that may wait in front of and behind each worker.
const QUEUE: usize = 4;

/// The number of threads when the user names none.
pub fn default_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Runs `batches` through workers and hands the results to `sink` in order.
///
/// Batch `i` goes to worker `i mod threads` and its result is fetched from there, so order needs
/// no numbering and each queue's bound limits the memory. The threads are not scoped: when `sink`
/// fails (a closed pipe), the command ends although the reader may still wait for its input.
pub fn in_order<B, R, W>(
    batches: impl Iterator<Item = B> + Send + 'static,
    threads: NonZeroUsize,
    mut worker: impl FnMut() -> W,
    mut sink: impl FnMut(R) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    B: Send + 'static,
    R: Send + 'static,
    W: FnMut(B) -> R + Send + 'static,
{
    let mut handles = Vec::new();
    let (mut inputs, mut outputs): (Vec<SyncSender<B>>, Vec<Receiver<R>>) = (vec![], vec![]);
    for _ in 0..threads.get() {
        let (batch_in, batch_out) = sync_channel(QUEUE);
        let (result_in, result_out) = sync_channel(QUEUE);
        let mut work = worker();
        handles.push(thread::spawn(move || {
            for batch in batch_out {
                if result_in.send(work(batch)).is_err() {
                    break;
                }
            }
        }));
        inputs.push(batch_in);
        outputs.push(result_out);
    }
    handles.push(thread::spawn(move || {
        for (batch, input) in batches.zip(inputs.iter().cycle()) {
            if input.send(batch).is_err() {
                break;
            }
        }
    }));
    for output in outputs.iter().cycle() {
        match output.recv() {
            Ok(result) => sink(result)?,
            Err(_) => break,
        }
    }
    // A thread that panicked must not look like the end of the input.
    for handle in handles {
        if handle.join().is_err() {
            return Err(Failure::Input("901: internal error in a worker thread".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn order_is_kept_when_workers_differ_in_speed() {
        for threads in [1, 2, 7] {
            let mut seen = Vec::new();
            let work = || {
                |i: u64| {
                    thread::sleep(Duration::from_micros(i * 37 % 500));
                    i * 2
                }
            };
            let threads = NonZeroUsize::new(threads).unwrap();
            in_order(0..200, threads, work, |r| {
                seen.push(r);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, (0..200).map(|i| i * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_is_not_the_end_of_the_input() {
        let work = || |i: u64| if i == 5 { panic!("test") } else { i };
        let result = in_order(0..10, NonZeroUsize::new(2).unwrap(), work, |_| Ok(()));
        assert!(matches!(result, Err(Failure::Input(_))));
    }

    #[test]
    fn a_full_sink_ends_the_work() {
        let result = in_order(
            0..,
            NonZeroUsize::MIN,
            || |i: u64| i,
            |i| {
                if i < 3 { Ok(()) } else { Err(Failure::Input("enough".to_owned())) }
            },
        );
        assert!(matches!(result, Err(Failure::Input(_))));
    }
}
