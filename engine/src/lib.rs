//! The engine as a library: what the `pitlane` binary is made of, in the order an order travels.

pub mod config;

pub mod core;
pub mod egress;
pub mod feed;
pub mod gateway;
pub mod ingress;
pub mod journal;
pub mod runner;
pub mod shard;
pub mod snapshot;
pub mod soup;

pub mod admin;
pub mod clock;
#[cfg(feature = "publish")]
pub mod publish;
pub mod recovery;
pub mod replays;
pub mod replica;
pub mod simulation;
pub mod snapshots;
pub mod start;
