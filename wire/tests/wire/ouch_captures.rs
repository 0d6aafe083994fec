//! OUCH messages from real captures, decoded and encoded again byte for byte.

use wire::ouch::inbound::{AccountQuery, CancelOrder, EnterOrder};
use wire::ouch::outbound::{OrderAccepted, OrderCanceled};
use wire::ouch::{AppendageBuilder, Inbound, MAX_MESSAGE_LENGTH, Outbound, tag};

/// Enter Order: sell short 225 CVLT at 63.02.
const ENTER: &str = "4f 00000071 54 000000e1 43564c5420202020 0000000000099db8 30 59 41 4e 4e
    4838465542384956202020202020 0006 05 02 4c494d45";
/// Order Accepted: buy 40 ADBE at 477.78.
const ACCEPTED: &str = "41 0000289b4d64af87 00753a8d 42 00000028 4144424520202020 000000000048e748 35 59
    000000000f56b4f5 41 4e 4e 4c 3736383237303120202020202020 0009 05024d4c524f 021230";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

#[test]
fn captured_enter_order_decodes_and_encodes() {
    let captured = bytes(ENTER);
    assert_eq!(captured.len(), 53);
    let Ok(Inbound::EnterOrder(view)) = Inbound::decode(&captured) else { panic!("not an Enter Order") };
    let expected = EnterOrder {
        user_ref_num: 113,
        side: b'T',
        quantity: 225,
        symbol: *b"CVLT    ",
        price: 630_200,
        time_in_force: b'0',
        display: b'Y',
        capacity: b'A',
        inter_market_sweep_eligibility: b'N',
        cross_type: b'N',
        cl_ord_id: *b"H8FUB8IV      ",
    };
    assert_eq!(view.to_owned(), expected);
    assert_eq!(view.appendage().get_alpha4(tag::FIRM), Some(*b"LIME"));
    assert_eq!(view.appendage().get_u32(tag::MIN_QTY), None);

    let mut appendage = AppendageBuilder::new();
    appendage.alpha4(tag::FIRM, *b"LIME");
    let mut out = [0; MAX_MESSAGE_LENGTH];
    let length = expected.write(appendage.as_bytes(), &mut out);
    assert_eq!(out[..length], captured);
}

#[test]
fn captured_order_accepted_decodes_and_encodes() {
    let captured = bytes(ACCEPTED);
    let Ok(Outbound::OrderAccepted(view)) = Outbound::decode(&captured) else { panic!("not an Accepted") };
    let expected = OrderAccepted {
        timestamp: 0x289b_4d64_af87,
        user_ref_num: 0x0075_3a8d,
        side: b'B',
        quantity: 40,
        symbol: *b"ADBE    ",
        price: 4_777_800,
        time_in_force: b'5',
        display: b'Y',
        order_reference_number: 0x0f56_b4f5,
        capacity: b'A',
        inter_market_sweep_eligibility: b'N',
        cross_type: b'N',
        order_state: b'L',
        cl_ord_id: *b"7682701       ",
    };
    assert_eq!(view.to_owned(), expected);
    assert_eq!(view.appendage().get_alpha4(tag::FIRM), Some(*b"MLRO"));
    assert_eq!(view.appendage().get_u8(tag::BBO_WEIGHT_INDICATOR), Some(b'0'));
    assert_eq!(view.appendage().iter().count(), 2);

    let mut appendage = AppendageBuilder::new();
    appendage.alpha4(tag::FIRM, *b"MLRO").u8(tag::BBO_WEIGHT_INDICATOR, b'0');
    let mut out = [0; MAX_MESSAGE_LENGTH];
    let length = expected.write(appendage.as_bytes(), &mut out);
    assert_eq!(out[..length], captured);
}

#[test]
fn cancel_is_accepted_with_and_without_appendage_length() {
    let cancel = CancelOrder { user_ref_num: 1, quantity: 0 };
    for hex in ["58 00000001 00000000", "58 00000001 00000000 0000"] {
        let captured = bytes(hex);
        let Ok(Inbound::CancelOrder(view)) = Inbound::decode(&captured) else {
            panic!("not a Cancel: {hex}")
        };
        assert_eq!(view.to_owned(), cancel);
        assert!(view.appendage().is_empty());
    }
    assert!(Inbound::decode(&bytes("58 00000001 00000000 00")).is_err());
    let mut out = [0; MAX_MESSAGE_LENGTH];
    assert_eq!(cancel.write(&[], &mut out), 9);
}

#[test]
fn account_query_is_accepted_with_and_without_appendage_length() {
    for hex in ["51", "51 0000"] {
        assert!(matches!(Inbound::decode(&bytes(hex)), Ok(Inbound::AccountQuery(_))), "{hex}");
    }
    assert!(Inbound::decode(&bytes("51 00")).is_err());
    let mut out = [0; MAX_MESSAGE_LENGTH];
    assert_eq!(AccountQuery {}.write(&[], &mut out), 1);
}

#[test]
fn canceled_has_an_appendage_only_for_an_order_flow_channel() {
    let canceled = OrderCanceled { timestamp: 1, user_ref_num: 2, quantity: 3, reason: b'U' };
    let mut out = [0; MAX_MESSAGE_LENGTH];
    assert_eq!(canceled.write(&[], &mut out), 18);
    let mut appendage = AppendageBuilder::new();
    appendage.u8(tag::USER_REF_IDX, 7);
    let length = canceled.write(appendage.as_bytes(), &mut out);
    assert_eq!(length, 23);
    assert_eq!(out[18..23], [0, 3, 2, 0x1C, 7]);
    let Ok(Outbound::OrderCanceled(view)) = Outbound::decode(&out[..length]) else {
        panic!("not a Canceled")
    };
    assert_eq!(view.appendage().get_u8(tag::USER_REF_IDX), Some(7));
}
