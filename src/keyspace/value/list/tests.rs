//! Lists against a deque.
