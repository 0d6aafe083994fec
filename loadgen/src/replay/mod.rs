//! Historical order flow against the engine, with every answer checked against what the file implies.

pub mod event;
pub mod flow;
pub mod itch;
pub mod lobster;
pub mod model;
pub mod plan;
pub mod verify;

#[cfg(test)]
mod matcher;
#[cfg(test)]
mod tests;
