//! Market makers: which firms the venue has registered in which instruments, and what the feed says of them (ITCH `L`).
//! Not who may trade: a registration gives no rights, and a firm without one trades all the same.

use super::encoder::Encoder;
use super::trader::FirmIndex;
use super::{Outputs, Shard, Turn, feed};
use crate::inputs::Role;

/// ITCH market participant states that arise here.
const ACTIVE: u8 = b'A';
const SUSPENDED: u8 = b'S';
const DELETED: u8 = b'D';

/// A firm in an instrument as the feed shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    firm: FirmIndex,
    instrument: u32,
    primary: bool,
    state: u8,
}

impl Shard {
    /// Every registration with its present state, by firm and instrument.
    pub(super) fn positions(&self) -> Vec<Position> {
        (0..self.firms.len() as FirmIndex)
            .flat_map(|firm| {
                let registered = &self.firms[usize::from(firm)].registered;
                registered.iter().map(move |&(instrument, primary)| (firm, instrument, primary))
            })
            .map(|(firm, instrument, primary)| self.position(firm, instrument, primary))
            .collect()
    }

    /// Suspended is a firm whose orders the venue refuses in this instrument. A session that disabled its own order entry
    /// does not count: the firm's other sessions go on.
    fn position(&self, firm: FirmIndex, instrument: u32, primary: bool) -> Position {
        let of_firm = &self.firms[usize::from(firm)];
        let refused = self.killed || of_firm.killed || of_firm.is_restricted(instrument);
        Position { firm, instrument, primary, state: if refused { SUSPENDED } else { ACTIVE } }
    }

    /// Publishes what has changed since `before`; the registrations are the same.
    pub(super) fn publish_changes(&mut self, before: &[Position], turn: &mut Turn<'_, impl Outputs>) {
        let after = self.positions();
        let (_, mut encoder) = self.encoder(turn);
        for (_, position) in before.iter().zip(&after).filter(|(before, after)| before != after) {
            encoder.position(position);
        }
    }

    /// Registers a firm, changes what it is registered as, or ends it. What is so already is not said again.
    pub(super) fn register(
        &mut self,
        firm: FirmIndex,
        instrument: u32,
        role: Role,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let registered = &mut self.firms[usize::from(firm)].registered;
        let place = registered.binary_search_by_key(&instrument, |&(instrument, _)| instrument);
        let primary = role == Role::PrimaryMarketMaker;
        let position = match (place, role) {
            (Err(_), Role::Trader) => return,
            (Ok(place), Role::Trader) => {
                let (_, primary) = registered.remove(place);
                Position { firm, instrument, primary, state: DELETED }
            }
            (Ok(place), _) if registered[place].1 == primary => return,
            (Ok(place), _) => {
                registered[place].1 = primary;
                self.position(firm, instrument, primary)
            }
            (Err(place), _) => {
                registered.insert(place, (instrument, primary));
                self.position(firm, instrument, primary)
            }
        };
        let (_, mut encoder) = self.encoder(turn);
        encoder.position(&position);
    }
}

impl<O: Outputs> Encoder<'_, O> {
    fn position(&mut self, position: &Position) {
        let Position { firm, instrument, primary, state } = *position;
        let mpid = self.firms[usize::from(firm)].name;
        let symbol = self.instruments[instrument as usize].symbol;
        let timestamp = self.time_of_day;
        self.publish(|out| {
            feed::participant_position(out, instrument, symbol, mpid, primary, state, timestamp)
        });
    }
}
