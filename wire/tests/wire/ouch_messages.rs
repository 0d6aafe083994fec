//! Every OUCH message against its table: positions, lengths, appendage rules; and bytes that are no message at all.

use crate::property;
use crate::table::{self, Message, OUCH, Rule, TAG_WIDTHS, Table, described, width};
use proptest::prelude::*;
use wire::ouch::{
    Appendage, AppendageBuilder, Inbound, MAX_MESSAGE_LENGTH, Outbound, TagSet, cancel_reason, reject_reason,
    tag,
};
use wire::{AppendageFault, DecodeError};

/// What is the same in both directions, so that one test serves both.
struct Decoded {
    description: String,
    rewritten: Vec<u8>,
}

fn decode(direction: &str, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut out = [0; MAX_MESSAGE_LENGTH];
    let (description, length) = match direction {
        "in" => Inbound::decode(bytes).map(|message| (format!("{message:?}"), message.rewrite(&mut out))),
        "out" => Outbound::decode(bytes).map(|message| (format!("{message:?}"), message.rewrite(&mut out))),
        other => panic!("direction {other}"),
    }?;
    Ok(Decoded { description, rewritten: out[..length].to_vec() })
}

fn fault(result: Result<Decoded, DecodeError>) -> Option<(u8, AppendageFault)> {
    match result {
        Err(DecodeError::BadAppendage { tag, fault, .. }) => Some((tag, fault)),
        _ => None,
    }
}

fn with_appendage() -> impl Iterator<Item = Table> {
    table::read(OUCH).into_iter().filter(|table| table.appendage != Rule::None)
}

#[test]
fn there_are_8_messages_in_and_17_out() {
    let tables = table::read(OUCH);
    assert_eq!(tables.iter().filter(|table| table.direction == "in").count(), 8);
    assert_eq!(tables.iter().filter(|table| table.direction == "out").count(), 17);
    for direction in ["in", "out"] {
        let known = (0..=u8::MAX).filter(|&first| {
            !matches!(decode(direction, &[first; 200]), Err(DecodeError::UnknownType(found)) if found == first)
        });
        let mut listed: Vec<u8> = tables
            .iter()
            .filter(|table| table.direction == direction)
            .map(|table| table.message_type)
            .collect();
        listed.sort_unstable();
        assert_eq!(known.collect::<Vec<_>>(), listed, "{direction}");
    }
}

#[test]
fn every_legal_message_decodes_to_its_table_and_encodes_to_the_same_bytes() {
    property::check(4000, table::any_message(table::read(OUCH)), |Message { table, bytes }| {
        let decoded =
            decode(table.direction, &bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let expected = format!("{}({}", table.name, described(&table, &bytes));
        prop_assert!(decoded.description.starts_with(&expected), "{} is not {expected}", decoded.description);
        prop_assert_eq!(decoded.rewritten, bytes);
        Ok(())
    });
}

#[test]
fn the_appendage_gives_every_element_in_wire_order() {
    let accepted: Vec<Table> =
        table::read(OUCH).into_iter().filter(|table| table.name == "OrderAccepted").collect();
    property::check(500, table::any_message(accepted), |Message { bytes, .. }| {
        let Ok(Outbound::OrderAccepted(view)) = Outbound::decode(&bytes) else {
            return Err(TestCaseError::fail("not an Accepted"));
        };
        let appendage = view.appendage();
        let mut copy = AppendageBuilder::new();
        for (tag, value) in appendage {
            prop_assert_eq!(value.len(), width(tag));
            let zero_or = |found: bool, width| if found { width } else { 0 };
            let widths = [
                zero_or(appendage.get_u8(tag).map(|v| v.to_be_bytes() == value) == Some(true), 1),
                zero_or(appendage.get_u16(tag).map(|v| v.to_be_bytes() == value) == Some(true), 2),
                zero_or(appendage.get_u32(tag).map(|v| v.to_be_bytes() == value) == Some(true), 4),
                zero_or(appendage.get_u64(tag).map(|v| v.to_be_bytes() == value) == Some(true), 8),
            ];
            prop_assert_eq!(widths.iter().sum::<usize>(), value.len());
            prop_assert_eq!(appendage.get_i32(tag).is_some(), value.len() == 4);
            prop_assert_eq!(appendage.get_alpha4(tag).is_some_and(|v| v == value), value.len() == 4);
            prop_assert_eq!(appendage.get_alpha2(tag).is_some_and(|v| v == value), value.len() == 2);
        }
        copy.echo(appendage, wire::ouch::outbound::OrderAccepted::ALLOWED_TAGS);
        prop_assert_eq!(copy.as_bytes(), appendage.bytes());
        copy.clear();
        copy.echo(appendage, TagSet::of(&[tag::FIRM]));
        prop_assert_eq!(copy.as_bytes().len(), if appendage.get_u32(tag::FIRM).is_some() { 6 } else { 0 });
        Ok(())
    });
}

#[test]
fn every_other_length_is_refused() {
    for table in table::read(OUCH) {
        let legal = table.message(&[], &[]);
        for length in 0..=MAX_MESSAGE_LENGTH {
            let mut bytes = legal.clone();
            bytes.resize(length, 0);
            let accepted = decode(table.direction, &bytes).is_ok();
            let expected =
                length == legal.len() || table.appendage == Rule::Optional && length == table.length;
            assert_eq!(accepted, expected, "{} with {length} bytes", table.name);
        }
    }
}

#[test]
fn the_appendage_length_must_be_that_of_the_appendage() {
    for table in with_appendage() {
        let element = (28, vec![1]);
        let tag_allowed = table.tags.contains(&28);
        assert!(tag_allowed, "every table with an appendage has UserRefIdx");
        let legal = table.message(&[], &[element]);
        assert!(decode(table.direction, &legal).is_ok(), "{}", table.name);
        for claimed in (0..600).filter(|claimed| *claimed != 3) {
            let mut bytes = legal.clone();
            bytes[table.fixed()..table.fixed() + 2].copy_from_slice(&u16::to_be_bytes(claimed));
            let need = table.length + usize::from(claimed);
            let refused = decode(table.direction, &bytes).err();
            let expected = DecodeError::BadLength { what: table.name, need, got: legal.len() };
            assert_eq!(refused, Some(expected), "{} claiming {claimed}", table.name);
        }
    }
}

#[test]
fn a_tag_that_the_table_does_not_list_is_refused_by_name() {
    for table in with_appendage() {
        for tag in 0..=u8::MAX {
            let known = TAG_WIDTHS.iter().any(|(known, _)| *known == tag);
            let value = vec![0; if known { width(tag) } else { 1 }];
            let expected = match (table.tags.contains(&tag), known) {
                (true, _) => None,
                (false, true) => Some((tag, AppendageFault::ForbiddenTag)),
                (false, false) => Some((tag, AppendageFault::UnknownTag)),
            };
            let result = decode(table.direction, &table.message(&[], &[(tag, value)]));
            assert_eq!(result.is_ok(), expected.is_none(), "{} tag {tag}", table.name);
            assert_eq!(fault(result), expected, "{} tag {tag}", table.name);
        }
    }
}

#[test]
fn a_value_of_another_length_is_refused_by_name() {
    for table in with_appendage() {
        for &tag in &table.tags {
            for length in (0..20).filter(|&length| length != width(tag)) {
                let result = decode(table.direction, &table.message(&[], &[(tag, vec![0; length])]));
                let expected = Some((tag, AppendageFault::ValueLength));
                assert_eq!(fault(result), expected, "{} tag {tag} with {length} bytes", table.name);
            }
        }
    }
}

#[test]
fn a_tag_that_occurs_twice_is_refused_by_name() {
    for table in with_appendage() {
        for &tag in &table.tags {
            let element = (tag, vec![0; width(tag)]);
            let result = decode(table.direction, &table.message(&[], &[element.clone(), element]));
            assert_eq!(fault(result), Some((tag, AppendageFault::DuplicateTag)), "{} tag {tag}", table.name);
        }
    }
}

#[test]
fn an_element_that_runs_past_the_end_or_has_no_tag_is_refused() {
    let allowed = TagSet::of(&[tag::FIRM]);
    let parse = |bytes| Appendage::parse("test", bytes, allowed);
    let refused = |tag, fault| Err(DecodeError::BadAppendage { what: "test", tag, fault });
    assert_eq!(parse(&[]), Ok(Appendage::EMPTY));
    assert!(parse(&[5, tag::FIRM, 1, 2, 3, 4]).is_ok());
    assert_eq!(parse(&[5, tag::FIRM, 1, 2, 3]), refused(tag::FIRM, AppendageFault::Truncated));
    assert_eq!(parse(&[5, tag::FIRM]), refused(tag::FIRM, AppendageFault::Truncated));
    assert_eq!(parse(&[5]), refused(0, AppendageFault::Truncated));
    assert_eq!(parse(&[0]), refused(0, AppendageFault::NoTag));
    assert_eq!(parse(&[5, tag::FIRM, 1, 2, 3, 4, 0, 9]), refused(0, AppendageFault::NoTag));
    assert_eq!(parse(&[255; 255]), refused(255, AppendageFault::Truncated));
}

#[test]
fn any_bytes_are_refused_or_encode_to_themselves() {
    let legal = table::any_message(table::read(OUCH)).prop_map(|message| message.bytes);
    let any = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), table::nearly(legal.boxed()),];
    property::check(20_000, any, |bytes| {
        for direction in ["in", "out"] {
            if let Ok(decoded) = decode(direction, &bytes) {
                let short = decoded.rewritten.len() + 2 == bytes.len() && bytes.ends_with(&[0, 0]);
                let expected = if short { &bytes[..bytes.len() - 2] } else { &bytes[..] };
                prop_assert_eq!(&decoded.rewritten[..], expected);
            }
        }
        Ok(())
    });
}

#[test]
fn a_buffer_that_is_too_short_gets_no_message() {
    for table in with_appendage() {
        let bytes = table.message(&[], &[(28, vec![1])]);
        for room in 0..=bytes.len() {
            let mut out = vec![0; room];
            let written = match table.direction {
                "in" => Inbound::decode(&bytes).unwrap().rewrite(&mut out),
                _ => Outbound::decode(&bytes).unwrap().rewrite(&mut out),
            };
            assert_eq!(written, if room == bytes.len() { room } else { 0 }, "{} into {room}", table.name);
        }
    }
}

#[test]
fn codes_have_names() {
    assert_eq!(reject_reason::name(reject_reason::RISK_FAT_FINGER), "Risk: Fat Finger");
    assert_eq!(reject_reason::name(0x0034), "Unknown");
    assert_eq!((0..=u16::MAX).filter(|code| reject_reason::name(*code) != "Unknown").count(), 52);
    assert_eq!(cancel_reason::name(b'U'), "User");
    assert_eq!(tag::name(tag::USER_REF_IDX), "USER_REF_IDX");
    assert_eq!((0..=u8::MAX).filter(|tag| tag::name(*tag) != "unknown").count(), TAG_WIDTHS.len());
}
