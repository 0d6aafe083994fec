//! `pitlane-loadgen profile`: measures the order flow of a file, for `run --profile`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::ProfileArgs;
use crate::output::{print, write_json};
use crate::profile::Profiler;
use crate::replay::command::open;

pub fn execute(args: &ProfileArgs) -> Result<ExitCode> {
    let mut source = open(&args.file, args.format, args.symbol.as_deref())?;
    let name = args.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let profile = Profiler::new(args.tick).read(&mut source, args.events.unwrap_or(u64::MAX), name)?;
    print(&profile.render());
    write_json(args.json.as_deref(), &profile)?;
    Ok(ExitCode::SUCCESS)
}
