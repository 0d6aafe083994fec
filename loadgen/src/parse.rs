//! The notations of the command line: durations, symbol lists, mixes, ranges, targets. Each error says what was expected.

use std::net::{SocketAddr, ToSocketAddrs};

/// Most instruments of one run.
const SYMBOLS_MAX: usize = 65_536;

/// `250us`, `10ms`, `1.5s`, `2m` to nanoseconds; a bare number is seconds.
pub fn duration(text: &str) -> Result<u64, String> {
    let is_bare = text.parse::<f64>().is_ok();
    let with_unit = if is_bare { format!("{text}s") } else { text.to_owned() };
    humantime::parse_duration(&with_unit)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
        .ok_or_else(|| format!("`{text}`: expected a duration such as 250us, 10ms, 1.5s or 2m"))
}

/// `100` or `100-500`.
pub fn range(text: &str) -> Result<(u32, u32), String> {
    let parse = |part: &str| part.trim().parse::<u32>().map_err(|_| format!("`{text}`: expected N or N-M"));
    match text.split_once('-') {
        Some((low, high)) => Ok((parse(low)?, parse(high)?)),
        None => parse(text).map(|both| (both, both)),
    }
}

/// `50,40,10`: the weights of entering, cancelling and replacing.
pub fn mix(text: &str) -> Result<(u32, u32, u32), String> {
    let weights: Option<Vec<u32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match weights.as_deref() {
        Some(&[enter, cancel, replace])
            if [enter, cancel, replace].iter().all(|&weight| weight <= 1_000_000) =>
        {
            Ok((enter, cancel, replace))
        }
        _ => Err(format!(
            "`{text}`: expected three weights up to 1000000: ENTER,CANCEL,REPLACE, such as 50,40,10"
        )),
    }
}

pub fn symbol(text: &str) -> Result<[u8; 8], String> {
    let field = if text.is_empty() { None } else { wire::soupbintcp::pad_right(text) };
    field.ok_or_else(|| format!("symbol `{text}`: expected one to eight printable characters"))
}

/// `AAPL,MSFT` or ranges that count upwards, `S0001..S0500`, or both.
pub fn symbols(text: &str) -> Result<Vec<[u8; 8]>, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.trim().split_once("..") {
            None => all.push(symbol(part.trim())?),
            Some((first, last)) => symbol_range(first.trim(), last.trim(), &mut all)?,
        }
        if all.len() > SYMBOLS_MAX {
            return Err(format!("more than {SYMBOLS_MAX} symbols"));
        }
    }
    Ok(all)
}

fn symbol_range(first: &str, last: &str, all: &mut Vec<[u8; 8]>) -> Result<(), String> {
    let wrong = || {
        format!(
            "`{first}..{last}`: expected two symbols that end in numbers of one length, such as S001..S500"
        )
    };
    let digits = first.len() - first.trim_end_matches(|character: char| character.is_ascii_digit()).len();
    let (prefix, from) = first.split_at(first.len() - digits);
    let until = last.strip_prefix(prefix).ok_or_else(wrong)?;
    let (from, until): (u64, u64) = match (from.parse(), until.parse()) {
        (Ok(from), Ok(until)) if last.len() == first.len() && from <= until => (from, until),
        _ => return Err(wrong()),
    };
    if until - from >= SYMBOLS_MAX as u64 {
        return Err(format!("`{first}..{last}`: more than {SYMBOLS_MAX} symbols"));
    }
    for number in from..=until {
        all.push(symbol(&format!("{prefix}{number:0digits$}"))?);
    }
    Ok(())
}

/// Instrument i of a list is on shard i mod shards, as the engine has it where its configuration does not say otherwise.
pub fn symbols_by_shard(symbols: &[[u8; 8]], shards: usize) -> Vec<Vec<[u8; 8]>> {
    let mut by_shard = vec![Vec::new(); shards];
    for (index, symbol) in symbols.iter().enumerate() {
        by_shard[index % shards].push(*symbol);
    }
    by_shard
}

/// `HOST:PORT` to the addresses of the shards: shard k is on port PORT + k.
pub fn targets(text: &str, shards: usize) -> Result<Vec<SocketAddr>, String> {
    let base = text
        .to_socket_addrs()
        .map_err(|error| format!("--target {text}: {error}; expected HOST:PORT, such as 127.0.0.1:26400"))?
        .next()
        .ok_or_else(|| format!("--target {text}: the name has no address"))?;
    (0..shards)
        .map(|shard| {
            let port = u16::try_from(usize::from(base.port()) + shard).map_err(|_| {
                format!("--target {text}: port {} + shard {shard} is beyond 65535", base.port())
            })?;
            Ok(SocketAddr::new(base.ip(), port))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_ranges_and_mixes_are_read_and_refused_by_name() {
        assert_eq!(
            (duration("250us"), duration("1.5s"), duration("2")),
            (Ok(250_000), Ok(1_500_000_000), Ok(2_000_000_000))
        );
        for wrong in ["-1s", "s", "5 parsecs", "", "1e400", "NaN", "900000years"] {
            assert!(duration(wrong).unwrap_err().contains("expected a duration"), "{wrong}");
        }
        assert_eq!((range("100"), range("100-500")), (Ok((100, 100)), Ok((100, 500))));
        assert_eq!(mix("50,40,10"), Ok((50, 40, 10)));
        assert!(mix("50,40").unwrap_err().contains("ENTER,CANCEL,REPLACE"));
    }

    #[test]
    fn symbols_come_as_lists_and_counted_ranges() {
        let list = symbols("AAPL, S08..S11").unwrap();
        let names: Vec<String> =
            list.iter().map(|name| String::from_utf8_lossy(name).trim_end().to_owned()).collect();
        assert_eq!(names, ["AAPL", "S08", "S09", "S10", "S11"]);
        for wrong in ["", "TOOLONGNAME", "S1..S10", "A1..B2", "S9..S1", "X..Y", "S00000..S99999"] {
            assert!(symbols(wrong).is_err(), "{wrong}");
        }
        assert_eq!(symbols_by_shard(&list, 2)[1], [*b"S08     ", *b"S10     "]);
    }

    #[test]
    fn shards_are_on_consecutive_ports() {
        let addresses = targets("127.0.0.1:26000", 3).unwrap();
        assert_eq!(addresses[2].to_string(), "127.0.0.1:26002");
        assert!(targets("127.0.0.1", 1).unwrap_err().contains("expected HOST:PORT"));
        assert!(targets("127.0.0.1:65535", 2).unwrap_err().contains("beyond 65535"));
    }
}
