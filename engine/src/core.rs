//! The shard with its journal before it and its streams behind it: an input is recorded, applied, and its messages are
//! in the streams. Both the live engine and a recovery go through here, so that they cannot differ.

use crate::inputs::{Input, MAX_ENCODED, Messages, SessionId, kind};
use crate::log::Lsn;
use crate::log::error::AppendError;
use crate::log::writer::Log;
use crate::session::downstream::Egress;
use crate::shard::{ApplyError, Shard};
use streams::Run;

pub struct Core<L: Log> {
    pub shard: Shard,
    pub egress: Egress,
    pub log: L,
    /// Last record appended.
    pub last: Lsn,
    /// Why the shard must stop: the journal takes no more. Nothing is applied after it.
    pub failure: Option<CoreError>,
}

#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("the journal cannot take the input, so it was not applied: {0}")]
    Append(#[from] AppendError),
    #[error("{0}")]
    Apply(#[from] ApplyError),
}

impl<L: Log> Core<L> {
    /// Records and applies upstream messages: the order path.
    #[inline]
    pub fn messages(&mut self, session: SessionId, run: &Run<'_>, timestamp_ns: u64) {
        if self.failure.is_some() {
            return;
        }
        let messages = Messages { session, first_sequence: run.first, count: run.count, blocks: run.blocks };
        match self.log.append_parts(kind::MESSAGES, timestamp_ns, &[&messages.prefix(), run.blocks]) {
            Ok(lsn) => self.last = lsn,
            Err(error) => {
                self.failure = Some(error.into());
                return;
            }
        }
        if let Err(error) = self.shard.messages(&messages, timestamp_ns, &mut self.egress) {
            self.failure = Some(error.into());
        }
    }

    /// Records and applies any other input. The caller has made sure that it follows from the state; if it does not, it
    /// is in the journal all the same, and a replay will refuse it as the live shard did.
    pub fn input(&mut self, input: &Input<'_>, timestamp_ns: u64) -> Result<(), ApplyError> {
        if self.failure.is_some() {
            return Ok(());
        }
        let mut buffer = [0; MAX_ENCODED];
        let length = input.encode(&mut buffer);
        match self.log.append_parts(input.kind(), timestamp_ns, &[&buffer[..length], input.tail()]) {
            Ok(lsn) => self.last = lsn,
            Err(error) => {
                self.failure = Some(error.into());
                return Ok(());
            }
        }
        self.apply(input, timestamp_ns)
    }

    /// As [`Core::input`] for an operator's command, which may ask for what is not possible: that is answered, not recorded.
    pub fn operate(&mut self, input: &Input<'_>, timestamp_ns: u64) -> Result<(), ApplyError> {
        self.shard.would_apply(input)?;
        self.input(input, timestamp_ns)
    }

    /// Applies an input that is recorded already.
    pub fn apply(&mut self, input: &Input<'_>, timestamp_ns: u64) -> Result<(), ApplyError> {
        if let Input::SessionOpened(opened) = input
            && opened.session as usize == self.egress.sessions()
        {
            self.egress.add_session(opened.name, 1);
        }
        self.shard.apply(input, timestamp_ns, &mut self.egress)
    }
}
