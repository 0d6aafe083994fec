//! OUCH 5.0 by the crate slouch and by ours: what it encodes we decode, and what we encode it decodes, message by message.

use slouch::msg::{
    AccountQuery, CancelOrder, DisableOrderEntry, EnableOrderEntry, EnterOrder, MassCancel, ModifyOrder,
    OuchRequest, OuchResponse, ReplaceOrder, TagValue,
};
use slouch::types::{
    Capacity, CrossType, Display, EventCode, Mpid, OrderToken, Price, Side, StockSymbol, TimeInForce,
    UserRefNum,
};
use wire::ouch::{AppendageBuilder, Inbound, outbound, tag};

fn number(value: u32) -> UserRefNum {
    let mut number = UserRefNum::new();
    while number.val() < value {
        number.increment();
    }
    number
}

#[test]
fn we_decode_what_slouch_encodes() {
    let enter = OuchRequest::EnterOrder(EnterOrder::assert_new(
        number(7),
        Side::Sell,
        1200,
        StockSymbol::from("AAPL").expect("symbol"),
        Price::new(1_500_100).expect("price"),
        TimeInForce::Day,
        Display::Visible,
        Capacity::Agency,
        false,
        CrossType::ContinuousMarket,
        OrderToken::from("TOKEN 7").expect("token"),
    ));
    let bytes = enter.encode();
    let Ok(Inbound::EnterOrder(order)) = Inbound::decode(&bytes) else { panic!("{bytes:02x?}") };
    assert_eq!(order.user_ref_num(), 7);
    assert_eq!((order.side(), order.quantity(), order.price()), (b'S', 1200, 1_500_100));
    assert_eq!(&order.symbol(), b"AAPL    ");
    assert_eq!(&order.cl_ord_id(), b"TOKEN 7       ");
    assert!(order.appendage().is_empty());

    let replace = ReplaceOrder::new(
        number(7),
        number(8),
        900,
        Price::new(1_499_900).expect("price"),
        TimeInForce::Day,
        Display::Hidden,
        false,
        OrderToken::from("TOKEN 8").expect("token"),
    );
    let bytes = OuchRequest::ReplaceOrder(replace.expect("valid")).encode();
    let Ok(Inbound::ReplaceOrder(order)) = Inbound::decode(&bytes) else { panic!("{bytes:02x?}") };
    assert_eq!((order.orig_user_ref_num(), order.user_ref_num(), order.quantity()), (7, 8, 900));
    assert_eq!((order.price(), order.display()), (1_499_900, b'N'));

    let bytes = OuchRequest::CancelOrder(CancelOrder::new(number(8), 0).expect("valid")).encode();
    let Ok(Inbound::CancelOrder(order)) = Inbound::decode(&bytes) else { panic!("{bytes:02x?}") };
    assert_eq!((order.user_ref_num(), order.quantity()), (8, 0));

    let bytes =
        OuchRequest::ModifyOrder(ModifyOrder::new(number(8), Side::Sell, 50).expect("valid")).encode();
    let Ok(Inbound::ModifyOrder(order)) = Inbound::decode(&bytes) else { panic!("{bytes:02x?}") };
    assert_eq!((order.user_ref_num(), order.side(), order.quantity()), (8, b'S', 50));

    let firm = || Mpid::from("DEMO").expect("firm");
    let symbol = StockSymbol::from("MSFT").expect("symbol");
    let bytes = OuchRequest::MassCancel(MassCancel::new(number(9), firm(), symbol)).encode();
    let Ok(Inbound::MassCancel(order)) = Inbound::decode(&bytes) else { panic!("{bytes:02x?}") };
    assert_eq!((order.user_ref_num(), &order.firm(), &order.symbol()), (9, b"DEMO", b"MSFT    "));

    let bytes = OuchRequest::DisableOrderEntry(DisableOrderEntry::new(number(10), firm())).encode();
    assert!(
        matches!(Inbound::decode(&bytes), Ok(Inbound::DisableOrderEntry(order)) if order.user_ref_num() == 10)
    );
    let bytes = OuchRequest::EnableOrderEntry(EnableOrderEntry::new(number(11), firm())).encode();
    assert!(
        matches!(Inbound::decode(&bytes), Ok(Inbound::EnableOrderEntry(order)) if order.user_ref_num() == 11)
    );
    let bytes = OuchRequest::AccountQuery(AccountQuery::new()).encode();
    assert!(matches!(Inbound::decode(&bytes), Ok(Inbound::AccountQuery(_))));
}

/// What slouch makes of a message of ours; all of it must be read. Of an empty appendage it leaves the length, two zeros,
/// where it stands.
fn parsed(bytes: &[u8]) -> OuchResponse {
    match OuchResponse::parse(bytes) {
        Ok((rest, response)) => {
            assert!(matches!(rest, [] | [0, 0]), "{} bytes left of {bytes:02x?}", rest.len());
            response
        }
        Err(error) => panic!("slouch cannot read {bytes:02x?}: {error:?}"),
    }
}

#[test]
fn slouch_decodes_what_we_encode() {
    let mut out = [0; 256];
    // Its parser wants the appendage length that the specification leaves out of some messages without an appendage:
    // for those an appendage is given, the order-flow channel.
    let channel = [2, tag::USER_REF_IDX, 1];
    let accepted = outbound::OrderAccepted {
        timestamp: 34_200_000_000_000,
        user_ref_num: 7,
        side: b'B',
        quantity: 100,
        symbol: *b"AAPL    ",
        price: 1_500_000,
        time_in_force: b'0',
        display: b'Y',
        order_reference_number: 99,
        capacity: b'A',
        inter_market_sweep_eligibility: b'N',
        cross_type: b'N',
        order_state: b'L',
        cl_ord_id: *b"TOKEN         ",
    };
    let length = accepted.write(&[], &mut out);
    let OuchResponse::OrderAccepted(message) = parsed(&out[..length]) else { panic!("another type") };
    assert_eq!((message.user_ref_num().val(), message.quantity(), message.side()), (7, 100, Side::Buy));

    let executed = outbound::OrderExecuted {
        timestamp: 34_200_000_000_001,
        user_ref_num: 7,
        quantity: 40,
        price: 1_500_000,
        liquidity_flag: b'A',
        match_number: 12,
    };
    let length = executed.write(&[], &mut out);
    let OuchResponse::OrderExecuted(message) = parsed(&out[..length]) else { panic!("another type") };
    assert_eq!((message.user_ref_num().val(), message.quantity(), message.match_number()), (7, 40, 12));

    let canceled = outbound::OrderCanceled {
        timestamp: 34_200_000_000_002,
        user_ref_num: 7,
        quantity: 60,
        reason: b'U',
    };
    let length = canceled.write(&channel, &mut out);
    let OuchResponse::OrderCanceled(message) = parsed(&out[..length]) else { panic!("another type") };
    assert_eq!((message.user_ref_num().val(), message.quantity()), (7, 60));

    let replaced = outbound::OrderReplaced {
        timestamp: 34_200_000_000_003,
        orig_user_ref_num: 7,
        user_ref_num: 8,
        side: b'B',
        quantity: 50,
        symbol: *b"AAPL    ",
        price: 1_499_900,
        time_in_force: b'0',
        display: b'Y',
        order_reference_number: 100,
        capacity: b'A',
        inter_market_sweep_eligibility: b'N',
        cross_type: b'N',
        order_state: b'L',
        cl_ord_id: *b"TOKEN 8       ",
    };
    let length = replaced.write(&[], &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::OrderReplaced(message) if message.quantity() == 50)
    );

    let rejected = outbound::OrderRejected {
        timestamp: 34_200_000_000_004,
        user_ref_num: 9,
        reason: 0x17,
        cl_ord_id: *b"TOKEN 9       ",
    };
    let length = rejected.write(&channel, &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::OrderRejected(message) if message.user_ref_num().val() == 9)
    );

    let modified =
        outbound::OrderModified { timestamp: 34_200_000_000_005, user_ref_num: 8, side: b'S', quantity: 20 };
    let length = modified.write(&channel, &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::OrderModified(message) if message.quantity() == 20)
    );

    let restated = outbound::OrderRestated { timestamp: 34_200_000_000_006, user_ref_num: 8, reason: b'R' };
    let length = restated.write(&[], &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::OrderRestated(message) if message.user_ref_num().val() == 8)
    );
}

/// What the first test of this direction leaves: the rest of the messages that the engine, or a venue like it, may send.
#[test]
fn slouch_decodes_the_other_messages_that_we_encode() {
    let mut out = [0; 256];
    let channel = [2, tag::USER_REF_IDX, 1];
    let timestamp = 34_200_000_000_007;

    let length = outbound::SystemEvent { timestamp, event_code: b'S' }.write(&mut out);
    let OuchResponse::SystemEvent(message) = parsed(&out[..length]) else { panic!("another type") };
    assert_eq!(message.event_code(), EventCode::StartOfDay);

    let prevented = outbound::AiqCanceled {
        timestamp,
        user_ref_num: 8,
        decrement_shares: 30,
        reason: b'Q',
        quantity_prevented_from_trading: 40,
        execution_price: 1_500_000,
        liquidity_flag: b'A',
        aiq_strategy: b'O',
    };
    let length = prevented.write(&channel, &mut out);
    let OuchResponse::AiqCanceled(message) = parsed(&out[..length]) else { panic!("another type") };
    assert_eq!((message.decrement_shares(), message.quantity_prevented()), (30, 40));
    assert_eq!(message.user_ref_num().val(), 8);

    let broken = outbound::BrokenTrade {
        timestamp,
        user_ref_num: 8,
        match_number: 12,
        reason: b'S',
        cl_ord_id: *b"TOKEN 8       ",
    };
    let length = broken.write(&channel, &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::BrokenTrade(message) if message.match_number() == 12)
    );

    let length = outbound::CancelPending { timestamp, user_ref_num: 9 }.write(&channel, &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::CancelPending(message) if message.user_ref_num().val() == 9)
    );
    let length = outbound::CancelReject { timestamp, user_ref_num: 10 }.write(&channel, &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::CancelRejected(message) if message.user_ref_num().val() == 10)
    );

    let priority = outbound::OrderPriorityUpdate {
        timestamp,
        user_ref_num: 11,
        price: 1_499_900,
        display: b'Y',
        order_reference_number: 101,
    };
    let length = priority.write(&channel, &mut out);
    let OuchResponse::OrderPriorityUpdate(message) = parsed(&out[..length]) else { panic!("another type") };
    assert_eq!((message.user_ref_num().val(), message.order_ref_num()), (11, 101));

    let all =
        outbound::MassCancelResponse { timestamp, user_ref_num: 12, firm: *b"DEMO", symbol: *b"MSFT    " };
    let length = all.write(&[], &mut out);
    let OuchResponse::MassCancelResponse(message) = parsed(&out[..length]) else { panic!("another type") };
    assert_eq!(message.user_ref_num().val(), 12);
    assert_eq!(message.firm(), Mpid::from("DEMO").expect("firm"));
    assert_eq!(message.symbol(), StockSymbol::from("MSFT").expect("symbol"));

    let firm = *b"DEMO";
    let length =
        outbound::DisableOrderEntryResponse { timestamp, user_ref_num: 13, firm }.write(&[], &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::DisableOrderEntryResponse(message) if message.user_ref_num().val() == 13)
    );
    let length =
        outbound::EnableOrderEntryResponse { timestamp, user_ref_num: 14, firm }.write(&[], &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::EnableOrderEntryResponse(message) if message.user_ref_num().val() == 14)
    );

    let length =
        outbound::AccountQueryResponse { timestamp, next_user_ref_num: 15 }.write(&channel, &mut out);
    assert!(
        matches!(parsed(&out[..length]), OuchResponse::AccountQueryResponse(message) if message.next_user_ref_num().val() == 15)
    );
}

/// Optional fields both ways: what follows the fixed part of a message.
#[test]
fn appendages_are_read_alike_by_both() {
    let mut order = EnterOrder::assert_new(
        number(3),
        Side::Buy,
        1000,
        StockSymbol::from("AAPL").expect("symbol"),
        Price::new(1_500_000).expect("price"),
        TimeInForce::Day,
        Display::Visible,
        Capacity::Agency,
        false,
        CrossType::ContinuousMarket,
        OrderToken::from("TOKEN 3").expect("token"),
    );
    let options = [
        TagValue::Firm(Mpid::from("DEMO").expect("firm")),
        TagValue::MinQty(200),
        TagValue::MaxFloor(100),
        TagValue::PostOnly(true),
        TagValue::GroupId(7),
        TagValue::SharesLocated(true),
        TagValue::UserRefIndex(5),
    ];
    for option in options {
        order.add_option(option).expect("an option of Enter Order");
    }
    let bytes = OuchRequest::EnterOrder(order).encode();
    let Ok(Inbound::EnterOrder(order)) = Inbound::decode(&bytes) else { panic!("{bytes:02x?}") };
    let appendage = order.appendage();
    assert_eq!(appendage.get_alpha4(tag::FIRM), Some(*b"DEMO"));
    assert_eq!((appendage.get_u32(tag::MIN_QTY), appendage.get_u32(tag::MAX_FLOOR)), (Some(200), Some(100)));
    assert_eq!((appendage.get_u8(tag::POST_ONLY), appendage.get_u16(tag::GROUP_ID)), (Some(b'P'), Some(7)));
    assert_eq!(
        (appendage.get_u8(tag::SHARES_LOCATED), appendage.get_u8(tag::USER_REF_IDX)),
        (Some(b'Y'), Some(5))
    );

    // Its parser stops after the first element, so each comes alone.
    let elements = [
        (
            AppendageBuilder::new().u64(tag::SECONDARY_ORD_REF_NUM, 77).as_bytes().to_vec(),
            TagValue::SecondaryOrdRefNum(77),
        ),
        (
            AppendageBuilder::new().u32(tag::DISPLAY_QUANTITY, 100).as_bytes().to_vec(),
            TagValue::DisplayQuantity(100),
        ),
        (AppendageBuilder::new().u8(tag::USER_REF_IDX, 5).as_bytes().to_vec(), TagValue::UserRefIndex(5)),
    ];
    for (ours, theirs) in elements {
        let restated =
            outbound::OrderRestated { timestamp: 34_200_000_000_008, user_ref_num: 3, reason: b'R' };
        let mut out = [0; 256];
        let length = restated.write(&ours, &mut out);
        let OuchResponse::OrderRestated(message) = parsed(&out[..length]) else { panic!("another type") };
        assert_eq!(message.options(), &[theirs]);
    }
}
