//! The thread of each shard, and the core it is kept on. What runs on it is `crate::runner`'s business.

use super::Engine;
use crate::log::writer::Log;
use crate::runner::Runner;
use anyhow::Context;
use netio::Port;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Engine {
    pub(super) fn spawn<P: Port + Send + 'static, L: Log + Send + 'static>(
        &mut self,
        shard: usize,
        core: Option<usize>,
        mut runner: Runner<P, L>,
    ) -> anyhow::Result<()> {
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(move || {
                if let Some(core) = core {
                    pin(core);
                }
                let ended = runner.run();
                if let Err(error) = &ended {
                    tracing::error!(shard, %error, "the shard stops, and the engine with it");
                    stop.store(true, Ordering::Release);
                }
                ended
            })
            .with_context(|| format!("cannot start the thread of shard {shard}"))?;
        self.threads.push(thread);
        Ok(())
    }
}

/// Keeps the calling thread on one CPU; without the permission it runs where it may, and says so.
pub fn pin(core: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(core).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(core, %error, "cannot pin the shard's thread to its core");
    }
}
