//! The engine as a library: what the `pitlane` binary is made of, in the order an order travels.

pub mod config;

pub mod accounts;
pub mod session;

pub mod core;
pub mod inputs;
pub mod runner;
pub mod shard;

pub mod history;
pub mod log;

pub mod counter;
pub mod doors;
pub mod feed;
pub mod gateway;
pub mod soup;

pub mod admin;
pub mod assembly;
pub mod clock;
#[cfg(feature = "publish")]
pub mod publish;
pub mod sandbox;
pub mod simulation;
pub mod start;
