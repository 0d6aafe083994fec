//! Everything that can happen to a shard, as the journal keeps it: one table, and what follows from it. Not how it is acted
//! on: `Shard::apply` does that. An input with its timestamp is all a replay needs, so nothing here refers to configuration,
//! addresses or clocks.

pub mod command;
mod fields;
#[macro_use]
mod input_macro;
mod rights;
mod table;

pub use rights::{FirmRight, FirmRights};
pub use table::*;

/// A journal record that is not an input of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("record type {0} is not known to this version")]
    UnknownKind(u8),
    #[error("record of type {kind} has {found} bytes, expected {expected}")]
    Length { kind: u8, found: usize, expected: usize },
    #[error("record of type {kind}: {field} has the undefined value {value}")]
    Value { kind: u8, field: &'static str, value: u64 },
}

/// The name of a record type, for people.
pub fn name_of(kind: u8) -> &'static str {
    KINDS.iter().find(|(found, ..)| *found == kind).map_or("unknown", |(_, name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::TradingState;

    const INSTRUMENT: InstrumentInput = InstrumentInput {
        symbol: *b"AAPL    ",
        tick: 100,
        lot: 1,
        max_quantity: 999_999,
        reference_price: 1_000_000,
        collar_basis_points: 0,
        state: TradingState::Open,
    };

    fn record(input: &Input<'_>) -> Vec<u8> {
        let mut buffer = [0; MAX_ENCODED];
        let length = input.encode(&mut buffer);
        [&buffer[..length], input.tail()].concat()
    }

    #[test]
    fn an_instrument_and_what_firms_may_in_it_are_one_record() {
        let rights = [
            FirmRight { firm: *b"AAAA", restricted: true, role: Role::Trader },
            FirmRight { firm: *b"BBBB", restricted: false, role: Role::PrimaryMarketMaker },
        ];
        let mut bytes = Vec::new();
        rights.iter().for_each(|&right| FirmRights::push(&mut bytes, right));
        let input = Input::Instrument(INSTRUMENT, FirmRights::new(&bytes).unwrap());
        let record = record(&input);
        assert_eq!(Input::decode(input.kind(), &record), Ok(input));
        let Ok(Input::Instrument(_, found)) = Input::decode(kind::INSTRUMENT, &record) else { panic!() };
        assert_eq!(found.iter().collect::<Vec<_>>(), rights);
    }

    #[test]
    fn rights_that_are_none_are_refused() {
        let mut bytes = record(&Input::Instrument(INSTRUMENT, FirmRights::NONE));
        let bare = bytes.len();
        bytes.extend(*b"AAAA");
        let length = InputError::Length { kind: kind::INSTRUMENT, found: bare + 4, expected: bare + 5 };
        assert_eq!(Input::decode(kind::INSTRUMENT, &bytes), Err(length));
        bytes.push(3);
        let role = InputError::Value { kind: kind::INSTRUMENT, field: "role", value: 3 };
        assert_eq!(Input::decode(kind::INSTRUMENT, &bytes), Err(role));
        assert!(Input::decode(kind::INSTRUMENT, &bytes[..bare]).is_ok(), "as the first version wrote it");
    }

    /// The seeds are of the versions that wrote them, so this also holds the bytes of a kind that journals have to what they were.
    /// `PITLANE_WRITE_SEEDS=1` writes one for a kind that has none.
    #[test]
    fn every_kind_has_a_fuzz_seed_and_encodes_to_it() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/input");
        let mut seen = Vec::new();
        for file in std::fs::read_dir(&folder).expect("seeds") {
            let file = file.expect("a seed").path();
            let bytes = std::fs::read(&file).expect("a seed");
            let input = Input::decode(bytes[0], &bytes[1..]).expect("a seed is an input");
            assert_eq!(record(&input), bytes[1..], "{}", file.display());
            seen.push(bytes[0]);
        }
        for input in Input::samples() {
            let bytes = record(&input);
            assert_eq!(Input::decode(input.kind(), &bytes), Ok(input));
            if std::env::var_os("PITLANE_WRITE_SEEDS").is_some() && !seen.contains(&input.kind()) {
                let file = folder.join(input.name().replace(' ', "-"));
                std::fs::write(file, [&[input.kind()], bytes.as_slice()].concat()).expect("a seed");
                seen.push(input.kind());
            }
            assert!(seen.contains(&input.kind()), "fuzz/seeds/input has none of {:?}", input.name());
        }
    }

    #[test]
    fn an_input_reads_as_its_name_and_its_fields() {
        let shown: Vec<_> = Input::samples().iter().map(Input::to_string).collect();
        for text in [
            "trading state symbol=AAAAAAAA state=pre-open",
            "kill switch firm=AAAA engaged=true",
            "registration firm=AAAA symbol=AAAAAAAA role=trader",
            "session closed session=1 reason=logout",
            "timer",
        ] {
            assert!(shown.iter().any(|found| found == text), "{text:?} is not in {shown:#?}");
        }
        let everyone = Input::SetState { symbol: None, state: TradingState::Halted };
        assert_eq!(everyone.to_string(), "trading state everyone state=halted");
    }
}
