//! Instruments: inline tables or a CSV or TOML file with the same column names. Prices are integers with 4 decimals.

use super::ConfigError;
use serde::Deserialize;
use std::path::Path;
use wire::ouch::{MAX_PRICE, MAX_QUANTITY};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentConfig {
    pub symbol: String,
    /// Smallest price step; limit prices are multiples of it.
    #[serde(default = "default_tick")]
    pub tick: u64,
    #[serde(default = "default_lot")]
    pub lot: u32,
    #[serde(default = "default_max_quantity")]
    pub max_quantity: u32,
    /// Where collars and auctions start from; 0 is unknown.
    #[serde(default)]
    pub reference_price: u64,
    /// Widest deviation of a limit price from the reference price, in basis points; 0 is none.
    #[serde(default)]
    pub collar_basis_points: u32,
    #[serde(default)]
    pub shard: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstrumentFile {
    #[serde(rename = "instrument")]
    instruments: Vec<InstrumentConfig>,
}

fn default_tick() -> u64 {
    100
}

fn default_lot() -> u32 {
    1
}

fn default_max_quantity() -> u32 {
    MAX_QUANTITY
}

/// Reads an instrument file; the ending tells CSV (with a header line) from TOML.
pub fn read_file(path: &Path) -> Result<Vec<InstrumentConfig>, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        let file: InstrumentFile =
            toml::from_str(&text).map_err(|error| ConfigError::syntax(path, &text, &error))?;
        return Ok(file.instruments);
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    reader
        .deserialize()
        .map(|row| {
            row.map_err(|cause: csv::Error| ConfigError::Row {
                path: path.to_owned(),
                line: cause.position().map_or(0, csv::Position::line),
                column: "row".to_owned(),
                found: cause.to_string(),
                expected: "symbol,tick,lot,max_quantity,reference_price,collar_basis_points,shard".to_owned(),
            })
        })
        .collect()
}

impl InstrumentConfig {
    /// The first thing wrong with this instrument: key, what was found, what was expected.
    pub fn problem(&self, shards: usize) -> Option<(&'static str, String, String)> {
        let wrong = |key, found: &dyn std::fmt::Display, expected: &str| {
            Some((key, found.to_string(), expected.to_owned()))
        };
        if self.symbol.is_empty()
            || self.symbol.len() > 8
            || !self.symbol.bytes().all(|b| b.is_ascii_graphic())
        {
            return wrong(
                "symbol",
                &format!("{:?}", self.symbol),
                "1 to 8 printable characters without spaces",
            );
        }
        if self.tick == 0 || self.tick > MAX_PRICE {
            return wrong("tick", &self.tick, "1 to 1999999900 (4 decimals: 100 is one cent)");
        }
        if self.lot == 0 || self.lot > MAX_QUANTITY {
            return wrong("lot", &self.lot, "1 to 999999");
        }
        if self.max_quantity < self.lot || self.max_quantity > MAX_QUANTITY {
            return wrong("max_quantity", &self.max_quantity, "between the lot and 999999");
        }
        if self.reference_price > MAX_PRICE {
            return wrong("reference_price", &self.reference_price, "0 (unknown) to 1999999900 (4 decimals)");
        }
        if self.collar_basis_points != 0 && self.reference_price == 0 {
            return wrong("collar_basis_points", &self.collar_basis_points, "a reference_price beside it");
        }
        match self.shard {
            Some(shard) if shard >= shards => {
                wrong("shard", &shard, &format!("less than engine.shards = {shards}"))
            }
            _ => None,
        }
    }
}
