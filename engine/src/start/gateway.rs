//! Starts a shard's TCP gateway, if anything listens. What it does is `crate::gateway`'s business.

use super::Engine;
use crate::config::Config;
use crate::gateway::{self, GatewayLink};
use std::time::Duration;

impl Engine {
    /// The shard's end of its gateway.
    pub(super) fn start_gateway(
        &mut self,
        config: &Config,
        shard: usize,
    ) -> anyhow::Result<Option<GatewayLink>> {
        if config.gateway.listen.is_none() && config.gateway.drop_copy_listen.is_none() {
            return Ok(None);
        }
        let (shard_end, gateway_end) = gateway::rings();
        let timeout = Duration::from_secs(config.session.timeout_seconds);
        self.gateways.push(gateway::start(&config.gateway, shard, timeout, gateway_end)?);
        Ok(Some(shard_end))
    }
}
