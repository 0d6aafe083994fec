//! The end of what a worker measures: at its time, or because it stopped by itself, and then why.

use netio::Port;

use super::Worker;
use crate::clock::Clock;
use crate::participant::Participant;

/// A closed loop that has sent nothing for this long, or for half of its time if that is shorter, has stopped.
const STOPPED_NS: u64 = 1_000_000_000;

impl<P: Port, C: Clock> Worker<'_, P, C> {
    pub(super) fn end_measurement(&mut self, now_ns: u64) {
        self.stopped = self.explain_stop(now_ns);
        self.measure_until_ns = now_ns + 1;
        for participant in &mut self.participants {
            participant.account.measure_until(self.measure_until_ns);
        }
    }

    fn has_sent_lately(&self, now_ns: u64) -> bool {
        let limit_ns = STOPPED_NS.min(self.settings.duration_ns / 2);
        self.settings.pace.is_open() || self.orders_left == 0 || now_ns - self.sent_at_ns < limit_ns
    }

    /// No client of a closed loop can ever send again.
    pub(super) fn has_stopped_for_good(&self, now_ns: u64) -> bool {
        !self.has_sent_lately(now_ns)
            && self
                .participants
                .iter()
                .all(|participant| participant.account.obstacle().is_some_and(|it| it.is_final()))
    }

    /// What keeps a closed loop from sending that has sent nothing for a while.
    fn explain_stop(&self, now_ns: u64) -> Option<String> {
        if self.has_sent_lately(now_ns) {
            return None;
        }
        let kept: Vec<(&Participant, String)> = self
            .participants
            .iter()
            .filter_map(|participant| Some((participant, participant.obstacle(now_ns)?)))
            .collect();
        let silent = (now_ns - self.sent_at_ns) as f64 / 1e9;
        let (count, clients) = (kept.len(), self.participants.len());
        Some(match kept.first() {
            Some((participant, obstacle)) => format!(
                "nothing was sent for the last {silent:.1} s, {count} of {clients} clients cannot: {} because {obstacle}",
                participant.client.credentials().user()
            ),
            None => format!(
                "nothing was sent for the last {silent:.1} s, although each of {clients} clients could: a fault of the generator"
            ),
        })
    }
}
