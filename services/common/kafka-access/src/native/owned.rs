//! Something of librdkafka's that is ours to destroy.

use std::ptr::NonNull;

/// Destroyed when dropped.
pub(super) struct Owned<T> {
    ptr: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` for null.
    ///
    /// # Safety
    ///
    /// `ptr` must be null, or ours to destroy once with `destroy` at any later time.
    pub(super) unsafe fn new(
        ptr: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
    ) -> Option<Owned<T>> {
        NonNull::new(ptr).map(|ptr| Owned { ptr, destroy })
    }

    /// Valid for as long as `self` is.
    pub(super) fn ptr(&self) -> *mut T {
        self.ptr.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: as `new` was promised, and this runs once.
        unsafe { (self.destroy)(self.ptr()) }
    }
}
