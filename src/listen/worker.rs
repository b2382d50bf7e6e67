//! One thread, one UDP socket: batches in, batches out.
//!
//! The kernel spreads clients over the workers of an address (`SO_REUSEPORT`). A worker answers what the fast half of the service can
//! and hands the rest to tasks, which answer over the same socket later. It reads the clock twice a batch, and never a packet.

use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::runtime::Handle;

use super::queue::{Place, Places};
use super::service::{Answer, Packet, Service, Step, Why};
use crate::sys::{self, Batch, Datagram};
use crate::telemetry::count::Worker as Counters;
use crate::telemetry::label::{Dropped, Served, Transport};

/// Room for the longest UDP answer that any setting allows.
pub(super) const REPLY_MAX: usize = 4096;

/// What a worker thread needs.
pub(super) struct Worker {
    pub(super) service: Arc<Service>,
    pub(super) socket: Arc<UdpSocket>,
    pub(super) places: Arc<Places>,
    pub(super) tasks: Handle,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) counters: Counters,
}

impl Worker {
    /// Serves until told to stop.
    pub(super) fn run(self) {
        // Prefetches are started from here, as tasks.
        let _tasks = self.tasks.enter();
        let mut batch = Batch::new(REPLY_MAX);
        while !self.stop.load(Relaxed) {
            // An error is an ICMP report of an earlier answer or memory running short; neither ends the service.
            let Ok(count) = batch.receive(&self.socket) else { continue };
            if count == 0 {
                continue;
            }
            // A defect found by one packet must not take the resolver from everybody: the batch is lost, the worker goes on.
            if catch_unwind(AssertUnwindSafe(|| self.serve(&mut batch, count))).is_err() {
                self.counters.dropped(Dropped::Malformed);
            }
        }
    }

    fn serve(&self, batch: &mut Batch, count: usize) {
        let (now, rules) = (self.service.now(), self.service.rules());
        let (mut hits, mut blocks) = (0, 0);
        for index in 0..count {
            let (datagram, reply) = batch.slot(index);
            let packet = Packet { bytes: datagram.bytes, from: datagram.from, transport: Transport::Udp, cut: datagram.cut };
            match self.service.answer_now(&rules, &packet, &now, reply, &self.counters) {
                Step::Reply(Served::Blocked) => blocks += 1,
                Step::Reply(_) => hits += 1,
                Step::Error | Step::Dropped => {}
                Step::Slow(why) => match self.places.take(datagram.from.ip()) {
                    Some(place) => self.pass_on(&datagram, why, now.monotonic, place),
                    None => {
                        // Counted there; what it took is not worth a histogram's line.
                        let _ = self.service.answer_without_place(&rules, &packet, why, &now, reply, &self.counters);
                    }
                },
            }
        }
        for _ in 0..batch.send(&self.socket).failed {
            self.counters.dropped(Dropped::SendFailed);
        }
        if hits + blocks > 0 {
            let took = self.service.now().monotonic.saturating_sub(now.monotonic);
            (0..hits).for_each(|_| self.counters.latency(Served::Hit, took));
            (0..blocks).for_each(|_| self.counters.latency(Served::Blocked, took));
        }
    }

    fn pass_on(&self, datagram: &Datagram<'_>, why: Why, started: std::time::Duration, place: Place) {
        let (service, socket) = (self.service.clone(), self.socket.clone());
        let (bytes, from, local) = (Box::<[u8]>::from(datagram.bytes), datagram.from, datagram.local);
        self.tasks.spawn(async move {
            let packet = Packet { bytes: &bytes, from, transport: Transport::Udp, cut: false };
            if let Answer::Reply(reply) = service.answer_slowly(&packet, why, started).await
                && sys::send_to(&socket, &reply, from, local).is_err()
            {
                service.counters().dropped(Dropped::SendFailed);
            }
            drop(place);
        });
    }
}
