//! Values that do not share cache lines with their neighbours.

use std::ops::Deref;

/// A value on cache lines of its own: what one thread writes often, and others would wait for when
/// they read what lies beside it. Two lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(pub T);

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
