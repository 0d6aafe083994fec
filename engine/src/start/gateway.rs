//! Starts a shard's TCP gateway, if anything listens. What it does is `crate::gateway`'s business.

use super::Engine;
use crate::config::Config;
use crate::gateway;
use crate::session::Ingress;
use std::time::Duration;

impl Engine {
    pub(super) fn start_gateway(
        &mut self,
        config: &Config,
        shard: usize,
        ingress: &mut Ingress,
    ) -> anyhow::Result<()> {
        if config.gateway.listen.is_none() && config.gateway.drop_copy_listen.is_none() {
            return Ok(());
        }
        let (shard_end, gateway_end) = gateway::rings();
        let timeout = Duration::from_secs(config.session.timeout_seconds);
        self.gateways.push(gateway::start(&config.gateway, shard, timeout, gateway_end)?);
        ingress.set_gateway(shard_end, config.gateway.max_connections);
        Ok(())
    }
}
