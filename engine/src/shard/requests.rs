//! The requests that are not orders: cancel, modify, mass cancel, disable and enable order entry, account query.

use super::encoder::{ChannelAppendage, Echo};
use super::entry::parse_side;
use super::{Outputs, Shard, Turn};
use book::{CancelReason, MassCancel, OrderKey};
use wire::ouch::inbound::{CancelOrderView, MassCancelView, ModifyOrderView};
use wire::ouch::outbound::{
    AccountQueryResponse, DisableOrderEntryResponse, EnableOrderEntryResponse, MassCancelResponse,
};
use wire::ouch::{Appendage, AppendageBuilder, RejectReason, tag};

const BLANK_FIRM: [u8; 4] = [b' '; 4];
const BLANK_SYMBOL: [u8; 8] = [b' '; 8];

pub(super) fn channel_of(appendage: Appendage<'_>) -> u8 {
    appendage.get_u8(tag::USER_REF_IDX).unwrap_or(0)
}

impl Shard {
    /// The answer is Canceled, or silence: an order that is gone, or already as small, needs none.
    pub(super) fn cancel(
        &mut self,
        session: u32,
        request: &CancelOrderView<'_>,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let key = OrderKey::new(session, channel_of(request.appendage()), request.user_ref_num());
        let (market, mut encoder) = self.encoder(turn);
        if !market.cancel(key, request.quantity(), &mut encoder) {
            self.counters.superfluous_cancels += 1;
        }
    }

    pub(super) fn modify(
        &mut self,
        session: u32,
        request: &ModifyOrderView<'_>,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let key = OrderKey::new(session, channel_of(request.appendage()), request.user_ref_num());
        let Ok(side) = parse_side(request.side()) else {
            self.counters.superfluous_cancels += 1;
            return;
        };
        let (market, mut encoder) = self.encoder(turn);
        encoder.echo = Echo { appendage: request.appendage(), ..Echo::NONE };
        if !market.modify(key, side, request.quantity(), &mut encoder) {
            self.counters.superfluous_cancels += 1;
        }
    }

    /// Answered first, then one Canceled for each order, in the order they were entered.
    pub(super) fn mass_cancel(
        &mut self,
        session: u32,
        request: &MassCancelView<'_>,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let appendage = request.appendage();
        let channel = channel_of(appendage);
        if !self.traders[session as usize].take_user_ref(channel, request.user_ref_num()) {
            self.counters.repeated_requests += 1;
            return;
        }
        let key = OrderKey::new(session, channel, request.user_ref_num());
        let side = appendage.get_u8(tag::SIDE).map(parse_side).transpose();
        let instrument = match request.symbol() {
            BLANK_SYMBOL => Ok(None),
            symbol => self.symbols.get(&symbol).map(Some).ok_or(RejectReason::INVALID_SYMBOL),
        };
        let (side, instrument) = match (side, instrument, self.is_own_firm(session, request.firm())) {
            (Ok(side), Ok(instrument), true) => (side, instrument),
            (_, _, false) => {
                return self.reject(key, RejectReason::FIRM_NOT_AUTHORIZED, [b' '; 14], turn);
            }
            (Err(reason), ..) | (_, Err(reason), _) => {
                return self.reject(key, reason, [b' '; 14], turn);
            }
        };
        let filter = MassCancel {
            firm: None,
            instrument,
            side,
            group_id: appendage.get_u16(tag::GROUP_ID).filter(|&group| group != 0),
            channel: appendage.get_u8(tag::USER_REF_IDX),
        };
        let (market, mut encoder) = self.encoder(turn);
        let answer = MassCancelResponse {
            timestamp: encoder.time_of_day,
            user_ref_num: request.user_ref_num(),
            firm: request.firm(),
            symbol: request.symbol(),
        };
        encoder.send(session, |out| {
            let mut echoed = AppendageBuilder::new();
            answer.write(echoed.echo(appendage, MassCancelResponse::ALLOWED_TAGS).as_bytes(), out)
        });
        market.cancel_owner(session, &filter, CancelReason::User, &mut encoder);
    }

    /// Disable (`enable` false) or enable order entry of the session; open orders stay.
    pub(super) fn set_order_entry(
        &mut self,
        session: u32,
        user_ref_num: u32,
        firm: [u8; 4],
        appendage: Appendage<'_>,
        enable: bool,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let channel = channel_of(appendage);
        if !self.traders[session as usize].take_user_ref(channel, user_ref_num) {
            self.counters.repeated_requests += 1;
            return;
        }
        if !self.is_own_firm(session, firm) {
            let key = OrderKey::new(session, channel, user_ref_num);
            return self.reject(key, RejectReason::FIRM_NOT_AUTHORIZED, [b' '; 14], turn);
        }
        self.traders[session as usize].disabled = !enable;
        let (_, mut encoder) = self.encoder(turn);
        let timestamp = encoder.time_of_day;
        let channel = ChannelAppendage::for_channel(channel);
        encoder.send(session, |out| {
            if enable {
                EnableOrderEntryResponse { timestamp, user_ref_num, firm }.write(channel.bytes(), out)
            } else {
                DisableOrderEntryResponse { timestamp, user_ref_num, firm }.write(channel.bytes(), out)
            }
        });
    }

    /// The lowest UserRefNum that a new request may carry; 0, which none may, when the day's numbers are used up.
    pub(super) fn account_query(
        &mut self,
        session: u32,
        appendage: Appendage<'_>,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let channel = channel_of(appendage);
        let last = self.traders[session as usize].last_user_ref[usize::from(channel)];
        // The first version of the rules offered the last number again.
        let used_up = if self.rules.version >= 2 { 0 } else { u32::MAX };
        let next_user_ref_num = last.checked_add(1).unwrap_or(used_up);
        let (_, mut encoder) = self.encoder(turn);
        let answer = AccountQueryResponse { timestamp: encoder.time_of_day, next_user_ref_num };
        let channel = ChannelAppendage::for_channel(channel);
        encoder.send(session, |out| answer.write(channel.bytes(), out));
    }

    fn is_own_firm(&self, session: u32, named: [u8; 4]) -> bool {
        let firm = self.traders[session as usize].firm;
        named == BLANK_FIRM || named == self.firms[usize::from(firm)].name
    }
}
