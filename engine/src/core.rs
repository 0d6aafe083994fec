//! The shard with its log before it and its sessions behind it: an input is recorded, applied, and its messages are
//! in the streams. Both the live engine and a recovery go through here, so that they cannot differ.

use crate::inputs::{Input, MAX_ENCODED, Messages, SessionId, kind};
use crate::log::Lsn;
use crate::log::error::AppendError;
use crate::log::writer::Log;
use crate::session::Sessions;
use crate::shard::{ApplyError, Shard};
use streams::Run;

pub struct Core<L: Log> {
    pub shard: Shard,
    pub sessions: Sessions,
    pub log: L,
    /// Last record appended.
    pub last: Lsn,
    /// Why the shard must stop: the journal takes no more. Nothing is applied after it.
    pub failure: Option<CoreError>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum CoreError {
    #[error("the journal cannot take the input, so it was not applied: {0}")]
    Append(#[from] AppendError),
    #[error("{0}")]
    Apply(#[from] ApplyError),
    #[error("the shard is stopping: its journal takes no more")]
    Stopped,
}

impl<L: Log> Core<L> {
    /// Records and applies upstream messages: the order path.
    #[inline]
    pub fn messages(&mut self, session: SessionId, run: &Run<'_>, timestamp_ns: u64) {
        if self.failure.is_some() {
            return;
        }
        let messages = Messages { session, first_sequence: run.first, count: run.count, blocks: run.blocks };
        if let Err(error) = self.shard.would_take(&messages) {
            self.failure = Some(error.into());
            return;
        }
        match self.log.append_parts(kind::MESSAGES, timestamp_ns, &[&messages.prefix(), run.blocks]) {
            Ok(lsn) => self.last = lsn,
            Err(error) => {
                self.failure = Some(error.into());
                return;
            }
        }
        if let Err(error) = self.shard.messages(&messages, timestamp_ns, &mut self.sessions) {
            self.failure = Some(error.into());
        }
        debug_assert_eq!(
            self.shard.trader(session).map(|trader| trader.next_upstream),
            Some(run.first + u64::from(run.count)),
            "what is recorded is what was applied"
        );
    }

    /// Records and applies any other input.
    ///
    /// # Errors
    /// It does not follow from the state, or the journal does not take it. Nothing was recorded and nothing changed.
    pub fn input(&mut self, input: &Input<'_>, timestamp_ns: u64) -> Result<(), CoreError> {
        if self.failure.is_some() {
            return Err(CoreError::Stopped);
        }
        self.shard.would_apply(input)?;
        self.record(input, timestamp_ns)
    }

    /// Records and applies what the shard has said it would apply.
    fn record(&mut self, input: &Input<'_>, timestamp_ns: u64) -> Result<(), CoreError> {
        let mut buffer = [0; MAX_ENCODED];
        let length = input.encode(&mut buffer);
        match self.log.append_parts(input.kind(), timestamp_ns, &[&buffer[..length], input.tail()]) {
            Ok(lsn) => self.last = lsn,
            Err(error) => {
                self.failure = Some(error.clone().into());
                return Err(error.into());
            }
        }
        Ok(self.apply(input, timestamp_ns)?)
    }

    /// As [`Core::input`] for an operator's command, which may name what is not there. Returns what there is to say about it
    /// beyond that it was done, often nothing.
    ///
    /// # Errors
    /// See [`Core::input`].
    pub fn operate(&mut self, input: &Input<'_>, timestamp_ns: u64) -> Result<String, CoreError> {
        let remark = self.would_operate(input)?;
        self.record(input, timestamp_ns)?;
        Ok(remark)
    }

    /// What [`Core::operate`] would answer, short of the journal's own refusal. Changes nothing.
    ///
    /// # Errors
    /// See [`Core::input`].
    pub fn would_operate(&self, input: &Input<'_>) -> Result<String, CoreError> {
        self.shard.would_obey(input)?;
        if self.failure.is_some() {
            return Err(CoreError::Stopped);
        }
        self.shard.would_apply(input)?;
        Ok(self.shard.remark(input))
    }

    /// Applies an input that is recorded already.
    ///
    /// # Errors
    /// It does not follow from the state, which is then unchanged.
    pub fn apply(&mut self, input: &Input<'_>, timestamp_ns: u64) -> Result<(), ApplyError> {
        // A session that the shard refuses has no stream either.
        if let Input::SessionOpened(opened) = input
            && opened.session as usize == self.sessions.len()
            && self.shard.would_apply(input).is_ok()
        {
            self.sessions.add(opened.name, 1, 1);
        }
        let applied = self.shard.apply(input, timestamp_ns, &mut self.sessions);
        debug_assert_eq!(self.sessions.len(), self.shard.sessions(), "each session has its streams");
        applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{Genesis, KillScope};
    use book::TradingState;

    /// Takes nothing.
    struct Full;

    impl Log for Full {
        fn append_parts(&mut self, _: u8, _: u64, _: &[&[u8]]) -> Result<Lsn, AppendError> {
            Err(AppendError::Kind(0))
        }

        fn releasable(&self) -> Lsn {
            Lsn(0)
        }
    }

    #[test]
    fn what_the_journal_did_not_take_is_not_done() {
        let genesis = Genesis {
            shard: 0,
            utc_offset_seconds: 0,
            max_orders: 4,
            max_price_levels: 4,
            max_sessions: 4,
            max_instruments: 4,
            feed_session: *b"FAAAAAAAAA",
        };
        let sessions = Sessions::new(4096, crate::log::Durability::Process);
        let mut core = Core { shard: Shard::new(genesis), sessions, log: Full, last: Lsn(1), failure: None };
        let halt = Input::SetState { symbol: None, state: TradingState::Halted };
        assert!(matches!(core.operate(&halt, 1), Err(CoreError::Append(_))));
        assert!(matches!(core.operate(&halt, 1), Err(CoreError::Stopped)), "and nothing after it");
        let unknown = Input::KillSwitch { scope: KillScope::Firm(*b"TYPO"), engaged: true };
        assert!(matches!(core.operate(&unknown, 1), Err(CoreError::Apply(ApplyError::UnknownFirm(_)))));
    }
}
