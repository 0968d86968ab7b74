//! Memory beside pages that may not be touched: a step out of it ends the process (SIGSEGV). The
//! core's own tests use it, too.

use std::ops::{Deref, DerefMut};
use std::{ptr, slice};

/// Which end of the values lies at such a page. (At both could lie whole pages alone.)
#[derive(Clone, Copy, Debug)]
pub enum Edge {
    Start,
    End,
}

pub const EDGES: [Edge; 2] = [Edge::End, Edge::Start];

/// A copy of values, between two such pages.
pub struct Guarded<T> {
    mapping: *mut libc::c_void,
    size: usize,
    first: *mut T,
    length: usize,
}

impl<T: Copy> Guarded<T> {
    pub fn new(values: &[T], edge: Edge) -> Self {
        let bytes = size_of_val(values);
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let inside = bytes.next_multiple_of(page).max(page);
        let size = page + inside + page;
        // SAFETY: a mapping of its own, that nothing else lies in; what is made accessible lies in
        // it, and the values fit. A page is aligned for all that is copied here, and so is what lies
        // whole values in front of its end.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let mapping = libc::mmap(ptr::null_mut(), size, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED);
            let start = mapping.byte_add(page);
            assert_eq!(libc::mprotect(start, inside, libc::PROT_READ | libc::PROT_WRITE), 0);
            let first = match edge {
                Edge::Start => start,
                Edge::End => start.byte_add(inside - bytes),
            };
            let first: *mut T = first.cast();
            assert!(first.is_aligned());
            first.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self { mapping, size, first, length: values.len() }
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` has written them, and nobody else has the mapping.
        unsafe { slice::from_raw_parts(self.first, self.length) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.first, self.length) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, whose borrows have ended.
        assert_eq!(unsafe { libc::munmap(self.mapping, self.size) }, 0);
    }
}
