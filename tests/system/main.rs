//! Russet as a process: beside its clients, its replicas and real servers, and after a crash.
//!
//! These tests know nothing of Russet's inside. Each would hold of any server that is right, and
//! `RUSSET_TEST_SERVER=redis-server cargo test --test system` shows that it holds of Redis.
#![cfg(test)]

mod aof;
mod aof_tail;
mod broken_sync;
mod chain;
mod clients;
mod crash;
mod crowd;
mod differential;
mod full_disk;
mod interop;
mod large_reads;
mod neighbours;
mod one_key;
mod pair;
mod restart;
mod slow_clients;
mod snapshot;
mod sorting;
mod standstill;
mod storing;
mod support;
mod two_channels;
mod workload;
