//! What the end-to-end suites share: hosts to run on. The suites themselves are in `tests/`.

pub mod ping;
pub mod veth;
