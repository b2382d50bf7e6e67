//! The bounded way from the workers to the tasks that resolve.
//!
//! Two bounds: what waits and is being resolved in all, and how much of it one client may hold, so that one machine gone mad (or a
//! scanner behind it) cannot keep the others from being resolved. Full means that the query is dropped and counted: the client asks
//! again, and by then the answer is often there; a SERVFAIL would make it ask elsewhere or give up.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counters of clients; two that meet in one share it.
const CLIENTS: usize = 4096;
/// The part of all places that one client may hold is one in this many.
const SHARE: usize = 8;

/// Places for queries that are waiting or being resolved.
pub(super) struct Places {
    all: Arc<Semaphore>,
    total: usize,
    share: u32,
    clients: Arc<[AtomicU32]>,
    key: ahash::RandomState,
}

/// One place; given back when dropped.
pub(super) struct Place {
    clients: Arc<[AtomicU32]>,
    client: usize,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(total: usize) -> Places {
        let clients = (0..CLIENTS).map(|_| AtomicU32::new(0)).collect();
        let share = (total / SHARE).max(1) as u32;
        Places { all: Arc::new(Semaphore::new(total)), total, share, clients, key: ahash::RandomState::new() }
    }

    /// A place for a query of `client`, if there is one; never waits.
    pub(super) fn take(&self, client: IpAddr) -> Option<Place> {
        let permit = self.all.clone().try_acquire_owned().ok()?;
        let client = self.key.hash_one(host(client)) as usize % CLIENTS;
        if self.clients[client].fetch_add(1, Relaxed) >= self.share {
            self.clients[client].fetch_sub(1, Relaxed);
            return None;
        }
        Some(Place { clients: self.clients.clone(), client, _permit: permit })
    }

    /// Places taken.
    pub(super) fn taken(&self) -> usize {
        self.total - self.all.available_permits()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients[self.client].fetch_sub(1, Relaxed);
    }
}

/// What counts as one client: an IPv4 address, an IPv6 /64.
fn host(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_gets_an_eighth_and_all_together_get_the_whole() {
        let places = Places::new(80);
        let client = |i: u8| IpAddr::from([10, 0, 0, i]);
        let greedy: Vec<_> = (0..80).map_while(|_| places.take(client(1))).collect();
        assert_eq!(greedy.len(), 10);
        // The same /64 is the same client.
        let v6: Vec<_> = (0..20u16).map_while(|i| places.take(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, i]))).collect();
        assert_eq!(v6.len(), 10);
        let others: Vec<_> = (2..200).filter_map(|i| places.take(client(i))).collect();
        assert_eq!((others.len(), places.taken()), (60, 80));
        drop(greedy);
        assert!(places.take(client(1)).is_some() && places.taken() == 70);
    }
}
