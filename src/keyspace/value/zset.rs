//! Being written.

/// Zset.
#[derive(Clone, Debug, Default)]
pub struct Zset;
impl Zset {
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
