//! Being written.

/// Set.
#[derive(Clone, Debug, Default)]
pub struct Set;
impl Set {
    /// n
    pub fn len(&self) -> usize {
        0
    }
    /// e
    pub fn encoding(&self) -> &'static str {
        ""
    }
    /// e
    pub fn is_empty(&self) -> bool {
        true
    }
}
