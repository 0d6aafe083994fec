//! What the log can be turned back into: a shard (recovery, replica), its state as a file (snapshot), messages that the
//! resend windows no longer hold (replay). Reads the log; never writes it.

pub mod recovery;
pub mod replay;
pub mod replica;
pub mod snapshot;
pub mod source;
