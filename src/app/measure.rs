//! The network as the resolver asks it, counted on the way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::resolve::{Exchange, ExchangeError, Transport};
use crate::telemetry::{Shared, label};

/// A network whose exchanges are counted.
pub(super) struct Measured<E> {
    network: E,
    counters: Shared,
}

impl<E> Measured<E> {
    pub(super) fn new(network: E, counters: Shared) -> Measured<E> {
        Measured { network, counters }
    }
}

impl<E: Exchange> Exchange for Measured<E> {
    async fn exchange(&self, to: SocketAddr, via: Transport, query: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        let start = Instant::now();
        let result = self.network.exchange(to, via, query, timeout).await;
        let via = match via {
            Transport::Udp => label::Transport::Udp,
            Transport::Tcp => label::Transport::Tcp,
        };
        match &result {
            Ok(_) => self.counters.upstream(via, start.elapsed()),
            Err(error) => self.counters.upstream_error((*error).into()),
        }
        result
    }
}
