//! The figures of this repository, a file for each place they come from.

mod book;
mod clients;
mod feed;
mod flood;
mod gateway;
mod journal;
mod ports;
mod shard;

use super::Suite;

/// In the order of the page.
pub fn all() -> Vec<Suite> {
    vec![
        ports::suite(),
        clients::suite(),
        gateway::suite(),
        feed::suite(),
        flood::suite(),
        journal::suite(),
        shard::suite(),
        book::suite(),
    ]
}
