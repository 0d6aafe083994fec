//! `pitlane admin`: an operator's command to a running engine. Which commands there are, and what they take, is the table's in
//! `engine::inputs`; whether one is right is the engine's to say.

use super::http::{Authorization, Target};
use anyhow::bail;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use engine::inputs::COMMANDS;
use engine::inputs::command::{DRY_RUN, FLAGS, SNAPSHOT};
use std::collections::BTreeMap;
use std::io::Write;

#[derive(Args)]
pub struct AdminArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    authorization: Authorization,
    /// Only ask the engine what would come of it: it checks the command against its state and changes nothing.
    #[arg(long, global = true)]
    dry_run: bool,
    #[command(subcommand)]
    command: Given,
}

/// A command of the table with what was given.
struct Given {
    name: String,
    parameters: Vec<(String, String)>,
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (name, given) =
            matches.subcommand().ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))?;
        let mut parameters = Vec::new();
        for parameter in table().remove(name).into_iter().flat_map(|row| row.parameters.into_keys()) {
            if FLAGS.contains(&parameter) {
                if given.get_flag(parameter) {
                    parameters.push((parameter.to_owned(), "true".to_owned()));
                }
            } else if let Some(value) = given.get_one::<String>(parameter) {
                parameters.push((parameter.to_owned(), value.clone()));
            }
        }
        Ok(Self { name: name.to_owned(), parameters })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Given {
    fn augment_subcommands(command: Command) -> Command {
        table().into_iter().fold(command, |command, (name, row)| {
            let arguments = row.parameters.into_iter().map(|(name, help)| argument(name, help));
            command.subcommand(Command::new(name).about(row.effect.replace('`', "")).args(arguments))
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        table().contains_key(name)
    }
}

/// A command as it is typed: two rows of the table that share a name are one.
struct Row {
    effect: String,
    parameters: BTreeMap<&'static str, &'static str>,
}

fn table() -> BTreeMap<&'static str, Row> {
    let mut table: BTreeMap<&str, Row> = BTreeMap::new();
    for command in COMMANDS.iter().chain([&SNAPSHOT]) {
        let row = table
            .entry(command.name)
            .or_insert_with(|| Row { effect: String::new(), parameters: BTreeMap::new() });
        if !row.effect.is_empty() {
            row.effect.push_str("; or ");
        }
        row.effect.push_str(command.effect);
        row.parameters.extend(command.parameters());
    }
    table
}

/// `max_open_orders` is typed `--max-open-orders`.
fn argument(name: &'static str, help: &'static str) -> Arg {
    let argument = Arg::new(name).long(name.replace('_', "-")).help(help.replace('`', ""));
    if FLAGS.contains(&name) {
        argument.action(ArgAction::SetTrue)
    } else {
        argument.value_name(name.to_ascii_uppercase())
    }
}

impl Given {
    /// Path and query of the request.
    fn address(&self, dry_run: bool) -> String {
        let mut address = format!("/commands/{}", self.name);
        let dry_run = dry_run.then(|| (DRY_RUN.to_owned(), "true".to_owned()));
        for (at, (name, value)) in self.parameters.iter().chain(&dry_run).enumerate() {
            address.push(if at == 0 { '?' } else { '&' });
            address.push_str(name);
            address.push('=');
            escape(value, &mut address);
        }
        address
    }
}

/// A value as a query holds it (RFC 3986 section 2.3).
fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

pub fn execute(args: &AdminArgs) -> anyhow::Result<()> {
    let answer = args.target.post(&args.command.address(args.dry_run), &args.authorization)?;
    match answer.status {
        200 | 202 => Ok(write!(std::io::stdout(), "{}", answer.body)?),
        status => bail!("{} ({status})", answer.body.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    fn address(words: &str) -> String {
        #[derive(Parser)]
        struct Typed {
            #[command(flatten)]
            admin: AdminArgs,
        }
        let typed = Typed::try_parse_from(words.split(' ')).expect("words that are taken");
        typed.admin.command.address(typed.admin.dry_run)
    }

    #[test]
    fn every_command_of_the_table_can_be_typed() {
        for (words, expected) in [
            ("admin halt --symbol AAPL", "/commands/halt?symbol=AAPL"),
            ("admin kill --everyone", "/commands/kill?everyone=true"),
            ("admin kill --session 3 --shard 1 --dry-run", "/commands/kill?session=3&shard=1&dry_run=true"),
            (
                "admin --dry-run risk --firm A&B --max-open-orders 5",
                "/commands/risk?firm=A%26B&max_open_orders=5&dry_run=true",
            ),
            ("admin snapshot", "/commands/snapshot"),
            ("admin close", "/commands/close"),
        ] {
            assert_eq!(address(words), expected);
        }
        for command in COMMANDS {
            assert!(Given::has_subcommand(command.name), "{}", command.name);
        }
    }

    #[test]
    fn the_command_line_has_no_clash() {
        super::super::Cli::command().debug_assert();
    }
}
