//! Ground floor: what every other folder may use and what uses nothing of ours.

pub mod args;
pub mod clock;
pub mod crc;
pub mod glob;
pub mod long_double;
pub mod lzf;
pub mod num;
pub mod padded;
pub mod preemption;
pub mod random;
pub mod sip;
pub mod text;

mod bignum;
mod grisu;
mod literal;
