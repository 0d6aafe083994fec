//! SoupBinTCP bodies and frames: the exact bytes of a login, and everything that is none.

use crate::{property, table};
use proptest::prelude::*;
use wire::DecodeError;
use wire::soupbintcp::{
    LoginAccepted, LoginRequest, Packet, canonical, format_number, login_reject_reason, pad_left, pad_right,
    parse_number, split_frame,
};

const LOGIN: LoginRequest = LoginRequest {
    username: *b"alice ",
    password: *b"secret    ",
    requested_session: *b"          ",
    requested_sequence: 17,
};

fn body(packet: Packet<'_>) -> Vec<u8> {
    let mut out = [0; 200];
    let length = packet.write(&mut out);
    out[..length].to_vec()
}

#[test]
fn login_bodies_have_the_specified_bytes() {
    let expected = [&b"L"[..], b"alice ", b"secret    ", &[b' '; 10], &[b' '; 18], b"17"].concat();
    assert_eq!(body(Packet::LoginRequest(LOGIN)), expected);
    assert_eq!(expected.len(), LoginRequest::LENGTH);
    let accepted = LoginAccepted { session: *b"   DABCDEF", sequence: 1 };
    assert_eq!(body(Packet::LoginAccepted(accepted)), [&b"A   DABCDEF"[..], &[b' '; 19], b"1"].concat());
    assert_eq!(body(Packet::LoginRejected { reason: login_reject_reason::NOT_AUTHORIZED }), b"JA");
}

#[test]
fn every_packet_decodes_to_itself() {
    let packets = [
        Packet::Debug(b"text"),
        Packet::LoginRequest(LOGIN),
        Packet::LoginAccepted(LoginAccepted { session: *b"D123456789", sequence: u64::MAX }),
        Packet::LoginRejected { reason: login_reject_reason::SESSION_NOT_AVAILABLE },
        Packet::SequencedData(b"message"),
        Packet::UnsequencedData(b""),
        Packet::ServerHeartbeat,
        Packet::ClientHeartbeat,
        Packet::EndOfSession,
        Packet::LogoutRequest,
    ];
    for packet in packets {
        let body = body(packet);
        assert_eq!(Packet::decode(&body), Ok(packet));
        for room in 0..body.len() {
            assert_eq!(packet.write(&mut vec![0; room]), 0, "{packet:?} into {room}");
            assert_eq!(packet.write_frame(&mut vec![0; room + 2]), 0, "{packet:?} into {room} + 2");
        }
        let mut frame = vec![0; body.len() + 2];
        assert_eq!(packet.write_frame(&mut frame), frame.len());
        assert_eq!(split_frame(&frame, 1000), Ok(Some((&body[..], frame.len()))));
        let fixed =
            !matches!(packet, Packet::Debug(_) | Packet::SequencedData(_) | Packet::UnsequencedData(_));
        let longer = [&body[..], &[0]].concat();
        assert_eq!(Packet::decode(&longer).is_err(), fixed, "{packet:?} with a byte more");
        assert!(Packet::decode(&body[..body.len() - 1]).is_err() == (fixed || body.len() == 1), "{packet:?}");
    }
}

#[test]
fn unknown_and_empty_bodies_are_refused() {
    assert_eq!(Packet::decode(b"?"), Err(DecodeError::UnknownType(b'?')));
    assert_eq!(
        Packet::decode(b""),
        Err(DecodeError::TooShort { what: "SoupBinTCP packet", need: 1, got: 0 })
    );
    let known =
        (0..=u8::MAX).filter(|first| Packet::decode(&[*first]) != Err(DecodeError::UnknownType(*first)));
    assert_eq!(known.collect::<Vec<_>>(), b"+AHJLORSUZ");
}

#[test]
fn a_sequence_that_is_no_number_is_refused() {
    let mut login = body(Packet::LoginRequest(LOGIN));
    login[30] = b'x';
    let expected = DecodeError::BadField { what: "LoginRequest", field: "requested sequence number" };
    assert_eq!(Packet::decode(&login), Err(expected));
    let mut accepted = body(Packet::LoginAccepted(LoginAccepted { session: *b"D123456789", sequence: 1 }));
    accepted[30] = b' ';
    let expected = DecodeError::BadField { what: "LoginAccepted", field: "sequence number" };
    assert_eq!(Packet::decode(&accepted), Err(expected));
}

#[test]
fn numbers_are_ascii_with_spaces_around_them() {
    for (text, number) in [
        ("                   0", Some(0)),
        ("42                  ", Some(42)),
        ("        42          ", Some(42)),
        ("00000000000000000042", Some(42)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("99999999999999999999", None),
        ("                    ", None),
        ("                  -1", None),
        ("                  +1", None),
        ("                 4 2", None),
        ("                  \x002", None),
    ] {
        assert_eq!(parse_number(text.as_bytes()), number, "{text:?}");
    }
    property::check(2000, any::<u64>().prop_flat_map(|n| (0..64u32).prop_map(move |by| n >> by)), |number| {
        prop_assert_eq!(format_number(number).to_vec(), format!("{number:>20}").into_bytes());
        prop_assert_eq!(parse_number(&format_number(number)), Some(number));
        Ok(())
    });
}

#[test]
fn names_are_compared_without_case_and_padding() {
    assert_eq!(canonical(*b"ALICE "), *b"alice ");
    assert_eq!(canonical(*b" Alice"), *b"alice ");
    assert_ne!(canonical(*b"al ice"), canonical(*b"alice "));
    assert_eq!(pad_right::<6>("bob"), Some(*b"bob   "));
    assert_eq!(pad_left::<6>("bob"), Some(*b"   bob"));
    assert_eq!(pad_right::<2>("bob"), None);
    assert_eq!(pad_left::<2>("bob"), None);
    assert_eq!(pad_right::<6>("b\u{f6}b"), None);
    assert_eq!(pad_left::<6>("b\nb"), None);
}

#[test]
fn the_password_is_not_printed() {
    let printed = format!("{:?}", Packet::LoginRequest(LOGIN));
    assert!(printed.contains("alice") && !printed.contains("secret"), "{printed}");
}

#[test]
fn frames_wait_for_their_last_byte() {
    let stream = b"\x00\x03Uab\x00\x01R";
    for length in 0..5 {
        assert_eq!(split_frame(&stream[..length], 100), Ok(None), "{length} bytes");
    }
    assert_eq!(split_frame(stream, 100), Ok(Some((&b"Uab"[..], 5))));
    assert_eq!(split_frame(&stream[5..], 100), Ok(Some((&b"R"[..], 3))));
}

#[test]
fn a_frame_without_type_or_beyond_the_readers_buffer_is_refused() {
    let empty = DecodeError::TooShort { what: "SoupBinTCP frame", need: 1, got: 0 };
    assert_eq!(split_frame(b"\x00\x00", 100), Err(empty));
    let long = DecodeError::BadLength { what: "SoupBinTCP frame", need: 101, got: 100 };
    assert_eq!(split_frame(b"\x00\x65", 100), Err(long));
    assert_eq!(split_frame(b"\x00\x64", 100), Ok(None));
}

#[test]
fn any_bytes_are_refused_or_decode_again_after_encoding() {
    let login =
        (any::<[u8; 6]>(), any::<[u8; 10]>(), any::<u64>()).prop_map(|(username, password, number)| {
            body(Packet::LoginRequest(LoginRequest {
                username,
                password,
                requested_sequence: number,
                ..LOGIN
            }))
        });
    let accepted = (any::<[u8; 10]>(), any::<u64>())
        .prop_map(|(session, sequence)| body(Packet::LoginAccepted(LoginAccepted { session, sequence })));
    let any = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        (prop::sample::select(&b"+AHJLORSUZ"[..]), prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(first, rest)| [&[first], &rest[..]].concat()),
        login.clone(),
        accepted.clone(),
        table::nearly(login),
        table::nearly(accepted),
    ];
    property::check(20_000, any, |bytes| {
        if let Ok(packet) = Packet::decode(&bytes) {
            let encoded = body(packet);
            prop_assert_eq!(encoded.len(), bytes.len());
            prop_assert_eq!(Packet::decode(&encoded), Ok(packet));
        }
        if let Ok(Some((body, consumed))) = split_frame(&bytes, 50) {
            prop_assert_eq!(body.len() + 2, consumed);
            prop_assert!(consumed <= bytes.len() && body.len() <= 50);
        }
        Ok(())
    });
}
