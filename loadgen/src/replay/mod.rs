//! Historical order flow against the engine, with every answer checked against what the file implies.

pub mod command;
pub mod drive;
pub mod event;
pub mod flow;
pub mod itch;
pub mod lobster;
pub mod model;
pub mod plan;
pub mod report;
pub mod verify;

#[cfg(test)]
mod drive_tests;
#[cfg(test)]
pub(crate) mod matcher;
#[cfg(test)]
mod tests;
