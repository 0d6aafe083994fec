//! The commands: from parsed arguments to an exit code. Each has a plan carried out, and shows what came out.

pub mod profile;
pub mod report;
pub mod run;
pub mod search;
pub mod series;
