//! Operator commands as they are typed: names and parameters, read whole or refused with what was expected. Not who may give
//! them, nor which shards they reach.

use super::{COMMANDS, Input, KINDS, KillScope, RiskConfig, Role, SessionId};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One command of the table.
pub struct Command {
    pub name: &'static str,
    /// Type of the record that it becomes.
    pub kind: u8,
    pub effect: &'static str,
    /// Of each field of its input: how it is read; none where the command itself says it.
    pub(super) parameters: &'static [Option<&'static Description>],
    pub(super) read: fn(&Given) -> Result<Input<'static>, CommandError>,
}

/// Parameters that say one thing together.
pub struct Description {
    names: &'static [&'static str],
    /// For documentation and errors.
    text: &'static str,
}

/// Why a command is not carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("unknown command {found:?}; expected {expected}")]
    UnknownCommand { found: String, expected: String },
    #[error("{command} has no parameter {found:?}; expected {expected}")]
    UnknownParameter { command: String, found: String, expected: String },
    #[error("{command} does not take these parameters together; expected {expected}")]
    Together { command: String, expected: String },
    #[error("parameter {0} is given twice")]
    Twice(String),
    #[error("{command} needs to be told {missing}; expected {expected}")]
    Missing { command: String, missing: &'static str, expected: String },
    #[error("{parameter} is {found:?}; expected {expected}")]
    Value { parameter: &'static str, found: String, expected: String },
}

/// A command with its parameters as they came.
#[derive(Debug)]
pub struct Given {
    command: String,
    parameters: BTreeMap<String, String>,
}

impl Given {
    /// # Errors
    /// A parameter that is given twice: which one was meant?
    pub fn new(command: String, pairs: Vec<(String, String)>) -> Result<Self, CommandError> {
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.insert(name.clone(), value).is_some() {
                return Err(CommandError::Twice(name));
            }
        }
        Ok(Self { command, parameters })
    }

    pub fn command(&self) -> &str {
        &self.command
    }

    /// The input that was asked for.
    ///
    /// # Errors
    /// Whatever is not exactly a command of the table: nothing is guessed, cut or passed over.
    pub fn input(&self) -> Result<Input<'static>, CommandError> {
        let rows: Vec<&Command> = COMMANDS.iter().filter(|row| row.name == self.command).collect();
        if rows.is_empty() {
            return Err(self.unknown());
        }
        if let Some(row) = rows.iter().find(|row| self.parameters.keys().all(|name| row.takes(name))) {
            return (row.read)(self);
        }
        let (command, expected) = (self.command.clone(), self.usage());
        Err(match self.parameters.keys().find(|name| !rows.iter().any(|row| row.takes(name))) {
            Some(found) => CommandError::UnknownParameter { command, found: found.clone(), expected },
            None => CommandError::Together { command, expected },
        })
    }

    /// For a command that takes nothing.
    ///
    /// # Errors
    /// It was given something.
    pub fn nothing(&self) -> Result<(), CommandError> {
        match self.parameters.keys().next() {
            None => Ok(()),
            Some(found) => Err(CommandError::UnknownParameter {
                command: self.command.clone(),
                found: found.clone(),
                expected: "none".to_owned(),
            }),
        }
    }

    /// The symbol that was named, if one was.
    pub fn symbol(&self) -> Option<[u8; 8]> {
        self.parameters.get("symbol").and_then(|text| padded(text))
    }

    /// The shard that was named, if one was. Sessions are numbered in each shard.
    pub fn shard(&self) -> Result<Option<usize>, CommandError> {
        self.parameters.contains_key("shard").then(|| self.number("shard", 0, usize::MAX)).transpose()
    }

    fn unknown(&self) -> CommandError {
        let mut expected: Vec<&str> = Vec::new();
        for row in COMMANDS {
            if !expected.contains(&row.name) {
                expected.push(row.name);
            }
        }
        CommandError::UnknownCommand {
            found: self.command.clone(),
            expected: expected.join(", ") + " or " + SNAPSHOT.name,
        }
    }

    fn usage(&self) -> String {
        let rows = COMMANDS.iter().filter(|row| row.name == self.command);
        rows.map(Command::usage).collect::<Vec<_>>().join("; or ").replace('`', "")
    }

    fn missing(&self, missing: &'static str) -> CommandError {
        CommandError::Missing { command: self.command.clone(), missing, expected: self.usage() }
    }

    fn required(&self, name: &'static str) -> Result<&str, CommandError> {
        self.parameters.get(name).map(String::as_str).ok_or_else(|| self.missing(name))
    }

    fn name<const N: usize>(&self, parameter: &'static str) -> Result<[u8; N], CommandError> {
        let text = self.required(parameter)?;
        padded(text).ok_or_else(|| CommandError::Value {
            parameter,
            found: text.to_owned(),
            expected: format!("1 to {N} printable characters without spaces"),
        })
    }

    fn number<T>(&self, parameter: &'static str, least: T, most: T) -> Result<T, CommandError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let text = self.required(parameter)?;
        // Digits alone: no sign, no space.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && (&least..=&most).contains(&number)).ok_or_else(|| {
            CommandError::Value {
                parameter,
                found: text.to_owned(),
                expected: format!("a number from {least} to {most}"),
            }
        })
    }

    fn flag(&self, parameter: &'static str) -> Result<bool, CommandError> {
        match self.parameters.get(parameter).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(found) => Err(CommandError::Value {
                parameter,
                found: found.to_owned(),
                expected: "true or false".to_owned(),
            }),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.parameters.contains_key(name)
    }
}

/// Beside any command's parameters: `true` asks what would come of it, and changes nothing.
pub const DRY_RUN: &str = "dry_run";

/// Parameters that are said or not: on a command line they have no value.
pub const FLAGS: &[&str] = &["everyone", "primary"];

impl Command {
    /// The names of its parameters, each with the words that say what is expected together with it.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let described = self.parameters.iter().flatten();
        described.flat_map(|described| described.names.iter().map(|&name| (name, described.text)))
    }

    fn takes(&self, name: &str) -> bool {
        self.parameters.iter().flatten().any(|parameter| parameter.names.contains(&name))
    }

    fn usage(&self) -> String {
        self.parameters.iter().flatten().map(|parameter| parameter.text).collect::<Vec<_>>().join(", ")
    }
}

/// Upper case and padded with spaces, as the protocols carry names; none if it would not be the whole name.
fn padded<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.is_empty() || text.len() > N || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut out = [b' '; N];
    out[..text.len()].copy_from_slice(text.as_bytes());
    out.make_ascii_uppercase();
    Some(out)
}

/// How one field of an input is read from parameters.
pub(super) trait Parameter {
    type Value;
    const DESCRIPTION: Description;
    fn read(given: &Given) -> Result<Self::Value, CommandError>;
}

macro_rules! parameters {
    ($($reader:ident: $value:ty, [$($name:literal)+], $text:literal, |$given:ident| $read:expr;)+) => {
        $(pub(super) struct $reader;

        impl Parameter for $reader {
            type Value = $value;
            const DESCRIPTION: Description = Description { names: &[$($name),+], text: $text };

            fn read($given: &Given) -> Result<$value, CommandError> {
                $read
            }
        })+
    };
}

parameters! {
    Symbol: [u8; 8], ["symbol"], "`symbol`", |given| given.name("symbol");
    SymbolOrEveryone: Option<[u8; 8]>, ["symbol" "everyone"], "`symbol` or `everyone=true`", |given| {
        match (given.has("symbol"), given.flag("everyone")?) {
            (true, false) => given.name("symbol").map(Some),
            (false, true) => Ok(None),
            _ => Err(given.missing("whom it is for")),
        }
    };
    // The steps of the trading day are the whole venue's unless an instrument is named.
    SymbolOrVenue: Option<[u8; 8]>, ["symbol" "everyone"], "`symbol` (none, or `everyone=true`: the whole venue)", |given| {
        if given.parameters.is_empty() { Ok(None) } else { SymbolOrEveryone::read(given) }
    };
    Firm: [u8; 4], ["firm"], "`firm`", |given| given.name("firm");
    Session: SessionId, ["session" "shard"], "`session` (with several shards also `shard`)", |given| {
        given.number("session", 0, SessionId::MAX)
    };
    Scope: KillScope, ["firm" "session" "shard" "everyone"],
        "`firm`, `session` (with several shards also `shard`) or `everyone=true`", |given| {
        match (given.has("firm"), given.has("session"), given.flag("everyone")?) {
            _ if given.has("shard") && !given.has("session") => Err(given.missing("the session")),
            (true, false, false) => given.name("firm").map(KillScope::Firm),
            (false, true, false) => Session::read(given).map(KillScope::Session),
            (false, false, true) => Ok(KillScope::All),
            _ => Err(given.missing("whom it is for")),
        }
    };
    Price: u64, ["price"], "`price` (4 decimals, integer; 0: unknown)", |given| given.number("price", 0, wire::ouch::MAX_PRICE);
    MarketMaker: Role, ["primary"], "`primary=true` (none: not the primary one)", |given| {
        Ok(if given.flag("primary")? { Role::PrimaryMarketMaker } else { Role::MarketMaker })
    };
    Limits: RiskConfig,
        ["max_order_quantity" "max_order_notional" "max_open_orders" "max_gross_exposure" "max_messages_per_second" "collar_basis_points"],
        "at least one of `max_order_quantity`, `max_order_notional`, `max_open_orders`, `max_gross_exposure`, \
         `max_messages_per_second`, `collar_basis_points` (0: no limit)", |given| {
        if !Self::DESCRIPTION.names.iter().any(|name| given.has(name)) {
            return Err(given.missing("a limit"));
        }
        let small = |name| if given.has(name) { given.number(name, 0, u32::MAX) } else { Ok(0) };
        let large = |name| if given.has(name) { given.number(name, 0, u64::MAX) } else { Ok(0) };
        Ok(RiskConfig {
            max_order_quantity: small("max_order_quantity")?,
            max_order_notional: large("max_order_notional")?,
            max_open_orders: small("max_open_orders")?,
            max_gross_exposure: large("max_gross_exposure")?,
            max_messages_per_second: small("max_messages_per_second")?,
            collar_basis_points: small("collar_basis_points")?,
        })
    };
}

/// The one command that is no input: it changes no shard.
pub const SNAPSHOT: Command = Command {
    name: "snapshot",
    kind: 0,
    effect: "take a snapshot of every shard; 202, and the log says when they are taken",
    parameters: &[],
    read: |given| Err(given.unknown()),
};

/// The rows of the two tables in docs/operations.md: commands, and what becomes of everything in the journal.
pub fn documentation() -> (String, String) {
    let commands = COMMANDS.iter().chain([&SNAPSHOT]);
    let commands =
        commands.map(|row| format!("| `{}` | {} | {} |\n", row.name, row.usage(), row.effect)).collect();
    let kinds = KINDS.iter().map(|&(kind, name, meaning)| {
        let mut of = COMMANDS
            .iter()
            .filter(|row| row.kind == kind)
            .map(|row| format!("`{}`", row.name))
            .collect::<Vec<_>>();
        of.dedup();
        format!("| {kind} | {name} |{meaning} | {} |\n", of.join(", "))
    });
    (commands, kinds.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::TradingState;

    fn read(command: &str, parameters: &str) -> Result<Input<'static>, CommandError> {
        let pairs = parameters.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Given::new(command.to_owned(), pairs)?.input()
    }

    #[test]
    fn commands_become_inputs() {
        let halt = |symbol| Ok(Input::SetState { symbol, state: TradingState::Halted });
        assert_eq!(read("halt", "symbol=AAPL"), halt(Some(*b"AAPL    ")));
        assert_eq!(read("halt", "everyone=true"), halt(None));
        let close = |symbol| Ok(Input::SetState { symbol, state: TradingState::Closed });
        assert_eq!(read("close", ""), close(None));
        assert_eq!(read("close", "everyone=true"), close(None));
        assert_eq!(read("close", "symbol=AAPL"), close(Some(*b"AAPL    ")));
        let kill = |scope| Ok(Input::KillSwitch { scope, engaged: true });
        assert_eq!(read("kill", "firm=DEMO"), kill(KillScope::Firm(*b"DEMO")));
        assert_eq!(read("kill", "session=3&shard=1"), kill(KillScope::Session(3)));
        assert_eq!(read("kill", "everyone=true"), kill(KillScope::All));
        let role = |role| Ok(Input::Registration { firm: *b"DEMO", symbol: *b"AAPL    ", role });
        assert_eq!(read("register", "firm=DEMO&symbol=AAPL&primary=true"), role(Role::PrimaryMarketMaker));
        assert_eq!(read("register", "firm=DEMO&symbol=AAPL"), role(Role::MarketMaker));
        assert_eq!(read("deregister", "firm=DEMO&symbol=AAPL"), role(Role::Trader));
        let risk = RiskConfig { max_open_orders: 5, ..RiskConfig::default() };
        assert_eq!(read("risk", "firm=DEMO&max_open_orders=5"), Ok(Input::Firm { firm: *b"DEMO", risk }));
        assert_eq!(read("risk", "session=0&max_open_orders=5"), Ok(Input::SessionRisk { session: 0, risk }));
    }

    /// What is not exactly a command is none, and the answer says what was expected.
    #[test]
    fn slips_are_refused() {
        for (command, parameters, said) in [
            ("explode", "", "pre-open, open"),
            ("kill", "frm=FB", "\"frm\"; expected firm, session"),
            ("kill", "", "everyone=true"),
            ("kill", "everyone=yes", "true or false"),
            ("kill", "everyone=false", "whom it is for"),
            ("kill", "firm=A&everyone=true", "whom it is for"),
            ("kill", "firm=DEMO2", "firm is \"DEMO2\"; expected 1 to 4"),
            ("kill", "firm=A&shard=0", "session"),
            ("kill", "session=+1", "a number from 0 to 4294967295"),
            ("kill", "firm=A&firm=B", "firm is given twice"),
            ("halt", "", "symbol or everyone=true"),
            ("halt", "symbol=", "1 to 8"),
            ("close", "symbol=", "1 to 8"),
            ("close", "everyone=false", "whom it is for"),
            ("close", "symbl=AAPL", "\"symbl\""),
            ("halt", "symbol=AAPL%20", "1 to 8 printable"),
            ("halt", "symbl=AAPL", "\"symbl\""),
            ("halt", "symbol=ABCDEFGHI", "1 to 8"),
            ("restrict", "firm=DEMO", "symbol"),
            ("deregister", "firm=A&symbol=B&primary=true", "\"primary\""),
            ("register", "firm=A&symbol=B&primary=1", "true or false"),
            ("reference-price", "symbol=A&price=2000000000", "0 to 1999999900"),
            ("reference-price", "symbol=A&price=4295967296", "0 to 1999999900"),
            ("reference-price", "symbol=A&price=-1", "0 to 1999999900"),
            ("risk", "firm=DEMO", "a limit"),
            ("risk", "max_open_orders=5", "firm"),
            ("risk", "firm=A&session=1&max_open_orders=5", "together"),
            ("risk", "firm=A&max_open_order=5", "\"max_open_order\""),
            ("risk", "firm=A&max_open_orders=4294967296", "0 to 4294967295"),
        ] {
            let parameters = parameters.replace("%20", " ");
            let error = read(command, &parameters).expect_err(&parameters).to_string();
            assert!(error.contains(said), "{command}?{parameters}: {error}");
        }
    }

    #[test]
    fn the_documentation_has_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let text = std::fs::read_to_string(path).expect("docs/operations.md");
        let (commands, kinds) = documentation();
        for rows in [commands, kinds] {
            assert!(text.contains(&rows), "docs/operations.md is without exactly these rows:\n{rows}");
        }
    }
}
