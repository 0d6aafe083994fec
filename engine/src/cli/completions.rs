//! `pitlane completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

#[derive(Args)]
pub struct CompletionsArgs {
    /// For which shell; with bash, put the output into /etc/bash_completion.d/pitlane or `source` it.
    shell: Shell,
}

pub fn execute(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut command = super::Cli::command();
    clap_complete::generate(args.shell, &mut command, "pitlane", &mut std::io::stdout());
    Ok(())
}
