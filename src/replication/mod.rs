//! PSYNC in both directions.
