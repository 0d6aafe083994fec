//! Reads LOBSTER message files (CSV, gzipped or not) into events. It does not judge whether they make sense together.
//!
//! Columns: seconds after midnight, type, order, size, price in 1/10000 dollar, direction of the resting order (1 buy, -1 sell).

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::event::{EventKind, EventSource, FileEvent, ReadError};
use crate::mix::Side;

const COLUMNS: usize = 6;
/// More digits than a 64-bit float of this size can have.
const DECIMALS_MAX: usize = 18;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a file; gzip is recognised by its first bytes and decompressed on the fly.
pub fn open_decompressed(path: &Path) -> Result<Box<dyn Read>, ReadError> {
    let error = |source| ReadError::Io { file: path.display().to_string(), source };
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(error)?);
    let gzipped = reader.fill_buf().map_err(error)?.starts_with(&GZIP_MAGIC);
    Ok(if gzipped { Box::new(BufReader::new(MultiGzDecoder::new(reader))) } else { Box::new(reader) })
}

/// The events of one LOBSTER message file. The file does not name its instrument: the caller does.
pub struct LobsterReader {
    name: String,
    symbol: [u8; 8],
    reader: csv::Reader<Box<dyn Read>>,
    record: csv::StringRecord,
    row: u64,
}

impl LobsterReader {
    pub fn open(path: &Path, symbol: [u8; 8]) -> Result<Self, ReadError> {
        Ok(Self::new(open_decompressed(path)?, path.display().to_string(), symbol))
    }

    pub fn new(reader: Box<dyn Read>, name: String, symbol: [u8; 8]) -> Self {
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
        LobsterReader { name, symbol, reader, record: csv::StringRecord::new(), row: 0 }
    }

    fn error(&self, reason: String) -> ReadError {
        ReadError::Row { file: self.name.clone(), row: self.row, reason }
    }

    fn number(&self, column: usize, what: &str) -> Result<i64, ReadError> {
        let text = self.record.get(column).unwrap_or_default().trim();
        text.parse()
            .map_err(|_| self.error(format!("{what} `{text}` (column {}) is no whole number", column + 1)))
    }

    fn positive(&self, column: usize, what: &str) -> Result<u64, ReadError> {
        let value = self.number(column, what)?;
        u64::try_from(value).map_err(|_| self.error(format!("{what} {value} is negative")))
    }
}

/// `34200.004241176` to nanoseconds. The files were written from floats: more than nine decimals are noise, rounded away.
fn parse_time(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > DECIMALS_MAX || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let picoseconds: u64 = format!("{fraction:0<12}").get(..12)?.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add((picoseconds + 500) / 1000)
}

impl EventSource for LobsterReader {
    fn next_event(&mut self) -> Result<Option<FileEvent>, ReadError> {
        self.row += 1;
        match self.reader.read_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(self.error(error.to_string())),
        }
        if self.record.len() < COLUMNS {
            return Err(self.error(format!(
                "{} columns, expected {COLUMNS}: time, type, order, size, price, direction",
                self.record.len()
            )));
        }
        let text = self.record.get(0).unwrap_or_default().trim();
        let time_ns = parse_time(text).ok_or_else(|| {
            self.error(format!("time `{text}` is not seconds after midnight with decimals"))
        })?;
        let kind = self.number(1, "type")?;
        let kind = match kind {
            1..=4 => {
                let order = self.positive(2, "order")?;
                let quantity = self.positive(3, "size")?;
                let price = self.positive(4, "price")?;
                let side = match self.number(5, "direction")? {
                    1 => Side::Buy,
                    -1 => Side::Sell,
                    other => {
                        return Err(self.error(format!("direction {other}: expected 1 (buy) or -1 (sell)")));
                    }
                };
                match kind {
                    1 => EventKind::Submit { order, symbol: self.symbol, side, quantity, price },
                    2 => EventKind::Reduce { order, quantity },
                    3 => EventKind::Delete { order, quantity: Some(quantity) },
                    _ => EventKind::Execute { order, quantity, price: Some(price) },
                }
            }
            5 => EventKind::HiddenExecution { quantity: self.positive(3, "size")? },
            6 => EventKind::Cross { quantity: self.positive(3, "size")? },
            7 => EventKind::Halt,
            other => return Err(self.error(format!("type {other}: expected 1 to 7"))),
        };
        Ok(Some(FileEvent { row: self.row, time_ns, kind }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(text: &'static str) -> Result<Vec<FileEvent>, ReadError> {
        let mut reader = LobsterReader::new(Box::new(text.as_bytes()), "test.csv".into(), *b"AAPL    ");
        let mut events = Vec::new();
        while let Some(event) = reader.next_event()? {
            events.push(event);
        }
        Ok(events)
    }

    #[test]
    fn every_type_is_read() {
        let events = read(
            "34200.004241176,1,16113575,18,5853300,1\n34200.5,2,1,3,4,-1\n34201,3,7,8,9,1\n34201.1,4,7,8,9,1\n\
             34201.1,5,0,8,9,1\n34201.1,6,0,8,9,1\n34201.1,7,0,0,-1,-1\n",
        )
        .unwrap();
        assert_eq!(events[0].time_ns, 34_200_004_241_176);
        assert_eq!(
            events[0].kind,
            EventKind::Submit {
                order: 16_113_575,
                symbol: *b"AAPL    ",
                side: Side::Buy,
                quantity: 18,
                price: 5_853_300
            }
        );
        assert_eq!(events[1].kind, EventKind::Reduce { order: 1, quantity: 3 });
        assert_eq!(events[2].kind, EventKind::Delete { order: 7, quantity: Some(8) });
        assert_eq!(events[3].kind, EventKind::Execute { order: 7, quantity: 8, price: Some(9) });
        assert_eq!(events[4].kind, EventKind::HiddenExecution { quantity: 8 });
        assert_eq!(events[5].kind, EventKind::Cross { quantity: 8 });
        assert_eq!((events[6].kind, events[6].row), (EventKind::Halt, 7));
    }

    #[test]
    fn times_written_from_floats_are_rounded_to_nanoseconds() {
        for (text, expected) in
            [("1.088778456004", 1_088_778_456), ("1.0887784559996", 1_088_778_456), ("2", 2_000_000_000)]
        {
            assert_eq!(parse_time(text), Some(expected), "{text}");
        }
        assert_eq!((parse_time("1.2.3"), parse_time("1e5"), parse_time("-1")), (None, None, None));
    }

    #[test]
    fn a_bad_row_is_named() {
        for (text, expected) in [
            ("1.0,1,2,3,4,1\n1.0,9,2,3,4,1\n", "row 2: type 9"),
            ("x,1,2,3,4,1\n", "row 1: time `x`"),
            ("1,1,2,3,4,5\n", "row 1: direction 5"),
            ("1,1,2,-3,4,1\n", "row 1: size -3"),
            ("1,1,2\n", "row 1: 3 columns"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn gzipped_files_are_decompressed_on_the_fly() {
        let path = std::env::temp_dir().join(format!("pitlane-lobster-{}.csv.gz", std::process::id()));
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"1.5,1,2,3,4,1\n").unwrap();
        encoder.finish().unwrap();
        let mut reader = LobsterReader::open(&path, *b"AAPL    ").unwrap();
        let event = reader.next_event().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(event.unwrap().time_ns, 1_500_000_000);
    }
}
