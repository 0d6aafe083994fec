//! Who may log in: accounts and the verification of their passwords. Not sessions: `crate::session` has those.

pub mod verify;
