//! Forwarding: one question to the servers of a route, with RD=1 and CD=1, because validation happens here (RFC 6840 section 5.9).
//!
//! A forwarder for one zone is believed about that zone only: what its answers say of other names is dropped by `scrub`, and aliases
//! that lead out of the zone are resolved by their own way (the MaginotDNS attack plants them otherwise).

use std::net::SocketAddr;

use super::ask::NoAnswer;
use super::iterate::least_suspect;
use super::scrub::{self, Class, Mode};
use super::settings::{Policy, Route};
use super::store::Found;
use super::task::{Failure, Task};
use super::{Clock, Exchange, Resolver};
use crate::wire::{Flags, Question};

/// Rounds over all servers of a route when they stay silent.
const ROUNDS: usize = 2;

impl<E: Exchange, C: Clock> Resolver<E, C> {
    /// Asks the route's servers until one answers.
    pub(super) async fn forward(&self, task: &Task, route: &Route, question: &Question) -> Result<Found, Failure> {
        let mut failure = Failure { zone: Some(route.zone.clone()), ..Failure::default() };
        let mut done: Vec<SocketAddr> = Vec::new();
        for _ in 0..ROUNDS {
            let mut round: Vec<SocketAddr> =
                route.servers.iter().filter(|s| !done.contains(s) && !task.avoids(**s, question)).copied().collect();
            while let Some(server) = self.next_forwarder(route, &least_suspect(task, round.clone())) {
                round.retain(|s| *s != server);
                match self.ask(task, server, &route.zone, question, Flags::RD | Flags::CD).await {
                    Err(NoAnswer::Spent) => return Err(Failure { spent: true, ..failure }),
                    Err(NoAnswer::Silent) => failure.silent = true,
                    Err(NoAnswer::Garbled) => {
                        failure.garbled = true;
                        done.push(server);
                    }
                    Ok(message) => match scrub::classify(question, &route.zone, &message, Mode::Forward) {
                        Class::Answer(steps) | Class::Doubtful(_, steps) => {
                            return Ok(Found { steps, zone: route.zone.clone(), zone_known: false, from: server });
                        }
                        Class::Failed(rcode) => {
                            failure.refused = Some((server, rcode));
                            failure.ede.extend(message.edns.iter().flat_map(|e| e.extended_errors()).take(2));
                            failure.ede.truncate(4);
                            done.push(server);
                        }
                        Class::Referral(_) | Class::Lame(_) | Class::Unusable => {
                            failure.garbled = true;
                            done.push(server);
                        }
                    },
                }
            }
        }
        Err(failure)
    }

    /// The next server by the route's policy. Under "first working" a server that is silent lately waits behind the others.
    fn next_forwarder(&self, route: &Route, left: &[SocketAddr]) -> Option<SocketAddr> {
        let now = self.clock.now();
        match route.policy {
            Policy::Fastest => self.servers.choose(left, &route.zone, now, &self.dice),
            Policy::FirstWorking => left.iter().find(|s| !self.servers.is_silent(**s, now)).or(left.first()).copied(),
        }
    }
}
