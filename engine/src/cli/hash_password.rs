//! `pitlane hash-password`.

use clap::Args;
use engine::accounts::password::hash_password;
use std::io::{BufRead, Write};

#[derive(Args)]
pub struct HashPasswordArgs {
    /// Memory that one verification takes. The default is OWASP's for Argon2id; load tests with many sessions may want 8.
    #[arg(long, default_value_t = 19_456, value_name = "KIB")]
    memory_kib: u32,
    /// Passes over that memory.
    #[arg(long, default_value_t = 2)]
    iterations: u32,
}

pub fn execute(args: &HashPasswordArgs) -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let hash = hash_password(line.trim_end_matches(['\r', '\n']), args.memory_kib, args.iterations)?;
    writeln!(std::io::stdout(), "{hash}")?;
    Ok(())
}
