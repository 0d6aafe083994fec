//! The figures of this repository, a file for each place they come from.

mod book;
mod feed;
mod flood;
mod gateway;
mod journal;
mod ports;

use super::Suite;

/// In the order of the page.
pub fn all() -> Vec<Suite> {
    vec![ports::suite(), gateway::suite(), feed::suite(), flood::suite(), journal::suite(), book::suite()]
}
