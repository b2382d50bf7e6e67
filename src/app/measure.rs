//! The network as the resolver asks it, counted on the way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::resolve::{Exchange, ExchangeError, Transport};
use crate::telemetry::{Shared, label};
use crate::wire::Message;

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
            Ok(reply) if !is_message(reply) => self.counters.upstream_error(label::UpstreamError::Malformed),
            Ok(_) => self.counters.upstream(via, start.elapsed()),
            Err(error) => self.counters.upstream_error((*error).into()),
        }
        result
    }
}

/// Whether the reply can be read. A truncated one may end anywhere: it is asked for again over a stream.
fn is_message(reply: &[u8]) -> bool {
    const TC: u8 = 2;
    reply.get(2).is_some_and(|flags| flags & TC != 0) || Message::parse(reply).is_ok()
}
