//! The figures of this repository, a file for each place they come from.

mod ports;

use super::Suite;

/// In the order of the page.
pub fn all() -> Vec<Suite> {
    vec![ports::suite()]
}
